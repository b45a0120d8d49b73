"""`python -m llmesr.embed`: stage 02 from the shell, on several devices with `accelerate launch -m llmesr.embed`."""

import argparse

import torch
from accelerate import PartialState

from llmesr import embed
from llmesr.errors import InputError
from llmesr.prepare import dataset
from llmesr.settings import load


def main() -> None:
    """Encode what stage 01 made: each process its share of the texts into the cache, then one writes the stage."""
    parser = argparse.ArgumentParser(prog="llmesr.embed", description="Encode all items and users.")
    parser.add_argument("--params", default="params.yaml", help="settings file (default: %(default)s)")
    asked = parser.parse_args()
    try:
        settings = load(asked.params)
        data = dataset.load(settings.dataset)
        team = PartialState(cpu=not torch.cuda.is_available())
        items, users = embed.prompts(data, settings)
        with team.split_between_processes([*items, *users]) as share:
            if share:
                embed.encode(share, settings)
        team.wait_for_everyone()
        if team.is_main_process:
            embed.run(settings, data)
    except InputError as error:
        parser.exit(1, f"{error}\n")


if __name__ == "__main__":
    main()
