"""Put a recommender that was trained here into `results/`, for the demo and for README's first lines.

`python -m llmesr.tools.publish`: that of LLM-ESR, with its model card, and the histories of some users.
"""

import sys

from llmesr.errors import InputError
from llmesr.paths import results, shown
from llmesr.prepare import dataset
from llmesr.prepare.dataset import save_frame
from llmesr.recommend import Recommender, histories, saved
from llmesr.settings import Settings, load

METHOD = "llmesr"
EXAMPLES = "histories.parquet"
"""Beside the recommender's folder."""
USERS = 100


def publish(settings: Settings) -> None:
    """Copy the recommender to `results/<dataset>/recommend/`, and the histories of the first users.

    Raises:
        InputError: the stage `recommend` has not run.
    """
    folder = saved(settings, METHOD)
    recommender, rows = Recommender.load(folder), histories(dataset.load(settings.dataset))
    place = results(settings.dataset, "recommend")
    recommender.save_pretrained(place / folder.name)
    first = rows["user_id"].unique(maintain_order=True).head(USERS)
    save_frame(rows.filter(rows["user_id"].is_in(first.implode())), place / EXAMPLES)
    print(f"{shown(place / folder.name)}: {recommender.items.height:,} items, {len(first)} users' histories")


if __name__ == "__main__":
    try:
        publish(load())
    except InputError as problem:
        sys.exit(str(problem))
