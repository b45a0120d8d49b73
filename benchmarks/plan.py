"""Who is compared with whom. Every comparison is one function here; its sides are processes (`timing.py`)."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from llmesr.models.scoring import BLOCK_USERS
from llmesr.report import METHOD_NAMES
from llmesr.settings import Settings

from benchmarks import rectools
from benchmarks.timing import Comparison, Side, interpreter, measure, module

OTHERS = "benchmarks/.venv-recbole"
"""The environment of RecBole and sentence-transformers."""
EPOCHS = 4
"""Of ours a measurement, the first to warm up."""
RECBOLE = {"sasrec": "SASRec", "gru4rec": "GRU4Rec", "bert4rec": "BERT4Rec"}
LOSS_NAMES = {"cross_entropy": "cross-entropy", "bce": "one negative"}
RECBOLE_LENGTH = 50
"""The items that RecBole reads unless told otherwise."""


@dataclass(frozen=True)
class Request:
    """What one call of `python -m benchmarks` is about.

    Attributes:
        params: settings file.
        settings: its content.
        folder: for what sides hand to each other.
        budget_seconds: of RecBole's epoch that are timed at most.
    """

    params: str
    settings: Settings
    folder: Path
    budget_seconds: float

    def job(self, **more: object) -> dict:
        """Write the job of a process of ours."""
        return {"params": self.params, "changes": {}, "folder": str(self.folder), **more}


def recbole(request: Request) -> list[Comparison]:
    """The backbones alone against RecBole's, with both kinds of loss, and at RecBole's own length."""
    found, T = [], request.settings.data.max_length
    lengths = {T: ("cross_entropy", "bce"), RECBOLE_LENGTH: ("cross_entropy",)} if T > RECBOLE_LENGTH else {}
    for length, losses in (lengths or {T: ("cross_entropy", "bce")}).items():
        name = f"T{length}"
        changes = {"data.max_length": length}
        data = Side("data", module("recbole"), request.job(system="data", name=name, changes=changes))
        longest = int(measure(data, request.folder).values["longest"])
        for loss in losses:
            for backbone in RECBOLE:
                found.append(_against_recbole(request, backbone, loss, length, longest, name))
    return found


def _against_recbole(request: Request, backbone: str, loss: str, length: int, longest: int, name: str) -> Comparison:
    changes = {"data.max_length": length, "train.loss": loss, "train.negatives": 1}
    mine = request.job(system="ours", backbone=backbone, epochs=EPOCHS, changes=changes)
    sides = [Side("ours", module("recbole"), mine)]
    rows = {"RecBole": name}
    if backbone == "bert4rec":  # a cloze needs no row for each prefix
        rows["RecBole, one row a user"] = f"{name}-users"
    command = (interpreter(OTHERS), "-P", str(Path(__file__).with_name("recbole_side.py")))
    for system, dataset in rows.items():
        job = {
            "model": RECBOLE[backbone],
            "dataset": dataset,
            "config": _recbole_config(request, backbone, loss, longest),
            "budget_seconds": request.budget_seconds,
        }
        sides.append(Side(system, command, job))
    return Comparison("recbole", f"{RECBOLE[backbone]}, {LOSS_NAMES[loss]}, T = {length}", tuple(sides))


def _recbole_config(request: Request, backbone: str, loss: str, longest: int) -> dict:
    """Write our sizes and our data as RecBole's configuration; the rest are RecBole's defaults."""
    settings = request.settings
    own = getattr(settings.backbones, backbone)
    one = {"distribution": "uniform", "sample_num": 1, "alpha": 1.0, "dynamic": False, "candidate_num": 0}
    config = {
        "data_path": str(request.folder),
        "checkpoint_dir": str(request.folder / "saved"),
        "benchmark_filename": ["train", "valid", "valid"],  # it wants three; the test split is left alone
        "alias_of_item_id": ["item_id_list"],
        "load_col": {"inter": ["user_id", "item_id_list", "item_id"], "item": ["item_id"]},
        "MAX_ITEM_LIST_LENGTH": longest,
        "train_batch_size": settings.train.batch_size,
        "eval_batch_size": BLOCK_USERS,  # as many users as we rank at once
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


def against_rectools(request: Request) -> list[Comparison]:
    """SASRec against RecTools', with both kinds of loss, and at RecBole's own length."""
    found, T = [], request.settings.data.max_length
    for length in {T, min(T, RECBOLE_LENGTH)}:
        changes = {"data.max_length": length}
        folder = request.folder / f"rectools-{length}"
        folder.mkdir()
        tables = Side("data", module("rectools"), request.job(folder=str(folder), changes=changes))
        sizes = {key: int(value) for key, value in measure(tables, request.folder).values.items()}
        for loss, called in LOSS_NAMES.items():
            mine = {**changes, "train.loss": loss, "train.negatives": 1}
            sides = (
                Side("ours", module("recbole"), request.job(system="ours", epochs=EPOCHS, changes=mine)),
                rectools.side(request.settings, folder, loss, sizes, epochs=1, seed=request.settings.matrix.seeds[0]),
            )
            found.append(Comparison("rectools", f"SASRec, {called}, T = {length}", sides))
    return found


def encoding(request: Request) -> list[Comparison]:
    """The item prompts through MiniLM, against sentence-transformers."""
    name = "minilm"
    data = measure(
        Side("data", module("encoding"), request.job(system="data", encoder=name, dtype="float32")), request.folder
    )
    theirs = {
        "folder": str(request.folder),
        "model": data.note,
        "max_tokens": request.settings.embed.encoders[name].max_tokens,
        "tokens": data.values["tokens"],
    }
    command = (interpreter(OTHERS), "-P", str(Path(__file__).with_name("encoding_side.py")))
    sides = (
        Side("ours, float32", module("encoding"), request.job(system="ours", encoder=name, dtype="float32")),
        Side("ours, auto", module("encoding"), request.job(system="ours", encoder=name, dtype="auto")),
        Side("sentence-transformers, float32", command, theirs),
    )
    texts, tokens = (int(data.values[key]) for key in ("texts", "tokens"))
    return [Comparison("encoding", f"{texts:,} item prompts, {tokens:,} tokens", sides)]


def retrieval(request: Request) -> list[Comparison]:
    """Similar users with faiss, against matrices of all cosines."""
    systems = {"ours": "ours (faiss)", "dense": "one matrix", "blocks": "matrix in blocks of 512"}
    found = []
    for users in (0, 20_000, 50_000):
        sides = tuple(
            Side(called, module("retrieval"), request.job(system=system, users=users))
            for system, called in systems.items()
        )
        subject = f"{users:,} random vectors" if users else "the dataset's users"
        found.append(Comparison("retrieval", subject, sides))
    return found


def floor(request: Request) -> list[Comparison]:
    """Our epochs against what their products would take at the machine's peak."""
    return [
        Comparison(
            "floor",
            f"{RECBOLE[backbone]}, {METHOD_NAMES[method]}",
            (Side("ours", module("floor"), request.job(backbone=backbone, method=method, epochs=EPOCHS)),),
        )
        for method in ("base", "llmesr")
        for backbone in RECBOLE
    ]


def serving(request: Request) -> list[Comparison]:
    """Recommendations for a million users in blocks, against one call a user."""
    found = []
    for method in request.settings.recommend.methods[:2]:
        job = {"method": method, "users": 1_000_000}
        sides = (
            Side("export, in blocks", module("serving"), request.job(system="export", **job)),
            Side("one call a user", module("serving"), request.job(system="one by one", **job)),
        )
        found.append(
            Comparison("serving", f"top {request.settings.recommend.k}, {METHOD_NAMES[method]}", sides, once=True)
        )
    return found


COMPARISONS: dict[str, Callable[[Request], list[Comparison]]] = {
    "recbole": recbole,
    "rectools": against_rectools,
    "encoding": encoding,
    "retrieval": retrieval,
    "floor": floor,
    "serving": serving,
}
