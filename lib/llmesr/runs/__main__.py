"""`python -m llmesr.runs`: train one run from the shell, on several devices with `accelerate launch -m llmesr.runs`."""

import argparse

from llmesr import embed, retrieve, tiny
from llmesr.errors import InputError
from llmesr.models.backbones import BACKBONES
from llmesr.models.registry import METHODS
from llmesr.paths import shown
from llmesr.prepare import dataset
from llmesr.runs.inputs import model_inputs
from llmesr.runs.store import Run
from llmesr.runs.training import train
from llmesr.settings import load


def main() -> None:
    """Train one run on what stages 01 to 03 made."""
    parser = argparse.ArgumentParser(prog="llmesr.runs", description="Train one run: backbone × method × seed.")
    parser.add_argument("--params", default="params.yaml", help="settings file (default: %(default)s)")
    parser.add_argument("--backbone", required=True)
    parser.add_argument("--method", required=True)
    parser.add_argument("--seed", type=int, default=42, help="default: %(default)s")
    arguments = parser.parse_args()
    try:
        settings = load(arguments.params)
        for key, name, known in (
            ("backbones", arguments.backbone, BACKBONES),
            ("methods", arguments.method, METHODS),
        ):
            if name not in known:
                raise InputError(f"'{name}' is not among '{key}': {', '.join(known)}")
        tiny.run(settings, until="retrieve")
        data = dataset.load(settings.dataset)
        inputs = model_inputs(embed.load(data.name), retrieve.load(data.name))
        run = Run(settings, arguments.backbone, arguments.method, arguments.seed, data, inputs)
        account = train(run, progress=True).account
        print(
            f"{shown(run.folder)}: validation NDCG@10 {account['validation_NDCG@10']:.4f} in epoch "
            f"{account['best_epoch']} of {account['epochs']}"
        )
    except InputError as error:
        parser.exit(1, f"{error}\n")


if __name__ == "__main__":
    main()
