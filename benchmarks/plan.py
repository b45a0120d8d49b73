"""Who is compared with whom, and what has to be said about it. Imports nothing heavy: a child's memory starts at ours.

Every room of the table is one function here; its sides are processes (`timing.py`).
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from llmesr.report import METHOD_NAMES
from llmesr.settings import Settings

from benchmarks.timing import Comparison, Side, interpreter, measure, module

OTHERS = "benchmarks/.venv-recbole"
"""The environment of RecBole and sentence-transformers."""
EPOCHS = 4
"""Of ours a measurement, the first to warm up."""
RECBOLE = {"sasrec": "SASRec", "gru4rec": "GRU4Rec", "bert4rec": "BERT4Rec"}
RECBOLE_LENGTH = 50
"""The items that RecBole reads unless told otherwise."""


@dataclass(frozen=True)
class Asked:
    """What one call of `python -m benchmarks` is about.

    Attributes:
        params: settings file.
        settings: what it says.
        folder: for what sides hand to each other.
        batches: of the reference that are timed.
        budget_seconds: of RecBole's epoch that are timed at most.
    """

    params: str
    settings: Settings
    folder: Path
    batches: int
    budget_seconds: float

    def job(self, **more: object) -> dict:
        """Write what a process of ours is told."""
        return {"params": self.params, "changes": {}, "folder": str(self.folder), **more}


def engine(asked: Asked) -> list[Comparison]:
    """LLM-ESR/SASRec, an epoch with its validation, against the plain reference."""
    found = []
    for subject, changes in (
        (
            f"zeros up to T = {asked.settings.model.max_length}, attended to (the default)",
            {"methods.llmesr.attend_padding": True},
        ),
        ("padding masked and cut to each batch's longest", {"methods.llmesr.attend_padding": False}),
    ):
        once = {**changes, "methods.llmesr.mediator_refresh": "epoch"}
        each_step = {**changes, "methods.llmesr.mediator_refresh": "step"}
        told = {"epochs": EPOCHS, "batches": asked.batches}
        sides = (
            Side("ours", module("engine"), asked.job(system="ours", **told, changes=once)),
            Side("ours, teachers every step", module("engine"), asked.job(system="ours", **told, changes=each_step)),
            Side("reference", module("engine"), asked.job(system="reference", **told, changes=each_step)),
        )
        found.append(Comparison("engine", subject, sides))
    return found


def accuracy(asked: Asked) -> list[Comparison]:
    """The same weights trained for two whole epochs by both engines: do they learn the same?"""
    told = {"epochs": 2, "batches": 0}
    changes = {"methods.llmesr.attend_padding": False, "methods.llmesr.mediator_refresh": "step"}
    sides = tuple(
        Side(name, module("engine"), asked.job(system=system, **told, changes=changes))
        for name, system in (("ours, teachers every step", "ours"), ("reference", "reference"))
    )
    return [Comparison("accuracy", "two whole epochs, padding masked", sides, once=True)]


def recbole(asked: Asked) -> list[Comparison]:
    """The plain backbones against RecBole's, with both kinds of loss, and at RecBole's own length."""
    found, T = [], asked.settings.model.max_length
    lengths = {T: ("cross_entropy", "bce"), RECBOLE_LENGTH: ("cross_entropy",)} if T > RECBOLE_LENGTH else {}
    for length, losses in (lengths or {T: ("cross_entropy", "bce")}).items():
        name = f"T{length}"
        changes = {"model.max_length": length}
        data = Side("data", module("recbole"), asked.job(system="data", name=name, changes=changes))
        longest = int(measure(data, asked.folder).values["longest"])
        for loss in losses:
            for backbone in RECBOLE:
                found.append(_against_recbole(asked, backbone, loss, length, longest, name))
    return found


def _against_recbole(asked: Asked, backbone: str, loss: str, length: int, longest: int, name: str) -> Comparison:
    changes = {"model.max_length": length, "train.loss": loss, "train.negatives": 1}
    mine = asked.job(system="ours", backbone=backbone, epochs=EPOCHS, changes=changes)
    sides = [Side("ours", module("recbole"), mine)]
    rows = {"RecBole": name}
    if backbone == "bert4rec":  # a cloze needs no row for each prefix
        rows["RecBole, one row a user"] = f"{name}-users"
    command = (interpreter(OTHERS), "-P", str(Path(__file__).with_name("recbole_side.py")))
    for system, dataset in rows.items():
        job = {
            "model": RECBOLE[backbone],
            "dataset": dataset,
            "config": _recbole_config(asked, backbone, loss, longest),
            "budget_seconds": asked.budget_seconds,
        }
        sides.append(Side(system, command, job))
    called = {"cross_entropy": "cross-entropy", "bce": "one negative"}[loss]
    return Comparison("recbole", f"{RECBOLE[backbone]}, {called}, T = {length}", tuple(sides))


def _recbole_config(asked: Asked, backbone: str, loss: str, longest: int) -> dict:
    """Say our sizes and our data in RecBole's words; the rest are RecBole's defaults."""
    settings = asked.settings
    own = getattr(settings.backbones, backbone)
    one = {"distribution": "uniform", "sample_num": 1, "alpha": 1.0, "dynamic": False, "candidate_num": 0}
    config = {
        "data_path": str(asked.folder),
        "checkpoint_dir": str(asked.folder / "saved"),
        "benchmark_filename": ["train", "valid", "valid"],  # it wants three; the test split is none of our business
        "alias_of_item_id": ["item_id_list"],
        "load_col": {"inter": ["user_id", "item_id_list", "item_id"], "item": ["item_id"]},
        "MAX_ITEM_LIST_LENGTH": longest,
        "train_batch_size": settings.train.batch_size,
        "eval_batch_size": 512,  # as many users as we rank at once
        "learning_rate": settings.train.learning_rate,
        "hidden_size": settings.model.hidden,
        "metrics": ["Hit", "NDCG"],
        "topk": [10],
        "valid_metric": "NDCG@10",
        "loss_type": "CE" if loss == "cross_entropy" else "BPR",
        "train_neg_sample_args": None if loss == "cross_entropy" else one,
        "use_gpu": False,
        "show_progress": False,
        "seed": settings.matrix.seeds[0],
    }
    if backbone == "gru4rec":  # ours has no dropout
        return {**config, "embedding_size": settings.model.hidden, "num_layers": own.layers, "dropout_prob": 0.0}
    config |= {"n_layers": own.blocks, "n_heads": own.heads, "inner_size": settings.model.hidden, "hidden_act": "relu"}
    config |= {"hidden_dropout_prob": settings.model.dropout, "attn_dropout_prob": settings.model.dropout}
    return {**config, "mask_ratio": own.mask_share} if backbone == "bert4rec" else config


def encoding(asked: Asked) -> list[Comparison]:
    """The item prompts through MiniLM, against sentence-transformers."""
    name = "minilm"
    data = measure(
        Side("data", module("encoding"), asked.job(system="data", encoder=name, dtype="float32")), asked.folder
    )
    theirs = {
        "folder": str(asked.folder),
        "model": data.note,
        "max_tokens": asked.settings.embed.encoders[name].max_tokens,
        "tokens": data.values["tokens"],
    }
    command = (interpreter(OTHERS), "-P", str(Path(__file__).with_name("encoding_side.py")))
    sides = (
        Side("ours, float32", module("encoding"), asked.job(system="ours", encoder=name, dtype="float32")),
        Side("ours, auto", module("encoding"), asked.job(system="ours", encoder=name, dtype="auto")),
        Side("sentence-transformers, float32", command, theirs),
    )
    texts, tokens = (int(data.values[key]) for key in ("texts", "tokens"))
    return [Comparison("encoding", f"{texts:,} item prompts, {tokens:,} tokens", sides)]


def retrieval(asked: Asked) -> list[Comparison]:
    """Similar users with faiss, against matrices of all cosines."""
    systems = {"ours": "ours (faiss)", "dense": "one matrix", "blocks": "matrix in blocks of 512"}
    found = []
    for users in (0, 20_000, 50_000):
        sides = tuple(
            Side(called, module("retrieval"), asked.job(system=system, users=users))
            for system, called in systems.items()
        )
        subject = f"{users:,} random vectors" if users else "the dataset's users"
        found.append(Comparison("retrieval", subject, sides))
    return found


def floor(asked: Asked) -> list[Comparison]:
    """Our epochs against what their products would take at the machine's peak."""
    return [
        Comparison(
            "floor",
            f"{RECBOLE[backbone]}, {method}",
            (Side("ours", module("floor"), asked.job(backbone=backbone, method=method, epochs=EPOCHS)),),
        )
        for method in ("none", "llmesr")
        for backbone in RECBOLE
    ]


def serving(asked: Asked) -> list[Comparison]:
    """Recommendations for a million users in blocks, against one call a user."""
    found = []
    for method in asked.settings.recommend.methods[:2]:
        job = {"method": method, "users": 1_000_000}
        sides = (
            Side("export, in blocks", module("serving"), asked.job(system="export", **job)),
            Side("one call a user", module("serving"), asked.job(system="one by one", **job)),
        )
        found.append(
            Comparison("serving", f"top {asked.settings.recommend.k}, {METHOD_NAMES[method]}", sides, once=True)
        )
    return found


ROOMS: dict[str, Callable[[Asked], list[Comparison]]] = {
    "engine": engine,
    "accuracy": accuracy,
    "recbole": recbole,
    "encoding": encoding,
    "retrieval": retrieval,
    "floor": floor,
    "serving": serving,
}
