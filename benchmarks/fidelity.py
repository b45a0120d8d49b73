"""`python -m benchmarks.fidelity`: rows of the paper that need no text, on the paper's own interactions.

The authors released `inter.txt` of Yelp and Fashion, ids alone. Put each into `data/paper-yelp/` and
`data/paper-fashion/`. Written to `results/<dataset>/fidelity/metrics.csv`, for lesson 9.
"""

import argparse

import numpy as np
import polars as pl
from llmesr import evaluate, prepare
from llmesr.devices import pick_device
from llmesr.errors import InputError
from llmesr.evaluate.groups import families
from llmesr.models.inputs import ModelInputs
from llmesr.paths import replacing, results, shown
from llmesr.runs.pool import train_all
from llmesr.runs.store import Run
from llmesr.settings import load

DATASETS = ("paper-fashion", "paper-yelp")
VARIANTS = {
    "ours": {},
    "as the authors' code": {"backbones.sasrec.causal": False, "backbones.gru4rec.objective": "last_item"},
}
"""What we do otherwise than the authors' code: a causal mask in SASRec, and GRU4Rec learns at every position."""


def main() -> None:
    """Train what is missing, and write the metrics."""
    parser = argparse.ArgumentParser(prog="benchmarks.fidelity", description="Our rows on the paper's interactions.")
    parser.add_argument("--params", default="params.yaml", help="settings file (default: %(default)s)")
    parser.add_argument("--datasets", default=",".join(DATASETS), help="by comma (default: %(default)s)")
    parser.add_argument("--backbones", default="sasrec,gru4rec,bert4rec", help="by comma (default: %(default)s)")
    parser.add_argument("--methods", default="base,cities,melt", help="by comma (default: %(default)s)")
    parser.add_argument("--seeds", default="42", help="by comma (default: %(default)s)")
    arguments = parser.parse_args()
    try:
        for dataset in arguments.datasets.split(","):
            measure(dataset, arguments)
    except InputError as error:
        parser.exit(1, f"{error}\n")


def measure(dataset: str, arguments: argparse.Namespace) -> None:
    """Measure the rows of one dataset.

    Raises:
        InputError: `inter.txt` is missing or damaged, or a run failed.
    """
    settings = load(arguments.params, dataset=dataset)
    data = prepare.run(settings)
    hidden = settings.model.hidden
    inputs = ModelInputs(
        item_embeddings=np.zeros((data.n_items + 1, 1), np.float32),  # no method here reads a text
        item_pca=np.zeros((data.n_items + 1, hidden), np.float32),
        user_embeddings=np.zeros((data.n_users, 1), np.float32),
        neighbours=np.zeros((data.n_users, 1), np.int64),
    )
    runs = {
        (variant, backbone, method, seed): Run(settings.changed(changes), backbone, method, int(seed), data, inputs)
        for variant, changes in VARIANTS.items()
        for backbone in arguments.backbones.split(",")
        for method in arguments.methods.split(",")
        for seed in arguments.seeds.split(",")
        if not changes or any(key.split(".")[1] == backbone for key in changes)
    }
    split = evaluate.read_test_split(data, pick_device(settings.train.device))
    grouped, rows = families(split.targets, data), []
    for (variant, *_), trained in zip(runs, train_all(list(runs.values()), dataset), strict=True):
        ranked = evaluate.rank_run(trained, split, data, settings)
        about = {"variant": variant, "backbone": ranked.backbone, "method": ranked.method, "seed": ranked.seed}
        for protocol, ranks in ranked.ranks.items():
            measured = evaluate.measure(ranks, grouped, settings)
            rows += [{"dataset": dataset, **about, "protocol": protocol, **row} for row in measured]
    file = results(dataset, "fidelity") / "metrics.csv"
    with replacing(file) as temporary:
        pl.DataFrame(rows).write_csv(temporary, float_precision=6)
    print(f"written: {shown(file)}")


if __name__ == "__main__":
    main()
