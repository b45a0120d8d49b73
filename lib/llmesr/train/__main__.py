"""`python -m llmesr.train`: one run from the shell, on several devices with `accelerate launch -m llmesr.train …`."""

import argparse

from llmesr import embed, retrieve, train
from llmesr.errors import InputError
from llmesr.prepare import dataset
from llmesr.settings import load


def main() -> None:
    """Train one run on what stages 01 to 03 made."""
    parser = argparse.ArgumentParser(prog="llmesr.train", description="Train one run: backbone × method × seed.")
    parser.add_argument("--params", default="params.yaml", help="settings file (default: %(default)s)")
    parser.add_argument("--backbone", required=True)
    parser.add_argument("--method", required=True)
    parser.add_argument("--seed", type=int, default=42, help="default: %(default)s")
    asked = parser.parse_args()
    try:
        settings = load(asked.params)
        for key, name in (("backbones", asked.backbone), ("methods", asked.method)):
            if name not in (known := type(getattr(settings, key)).model_fields):
                raise InputError(f"'{name}' is not among '{key}': {', '.join(known)}")
        name = settings.data.name
        given = dataset.load(name), embed.load(name), retrieve.load(name)
        train.run(settings, *given, asked.backbone, asked.method, asked.seed)
    except InputError as error:
        parser.exit(1, f"{error}\n")


if __name__ == "__main__":
    main()
