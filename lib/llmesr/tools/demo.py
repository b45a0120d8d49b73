"""The page of `make demo`: pick a user or put a history together, and see what each method recommends and why.

streamlit run lib/llmesr/tools/demo.py -- [SETTINGS]
"""

import sys
from collections.abc import Sequence

import polars as pl
import streamlit as st

from llmesr import Recommender
from llmesr.errors import InputError
from llmesr.prepare import dataset
from llmesr.recommend import histories, saved
from llmesr.report import METHOD_NAMES
from llmesr.report.plots.recommend import history_frame, side_by_side
from llmesr.settings import Settings, load

NEW = "new-item"  # id of the item that the visitor invents
COLUMNS = 2


@st.cache_resource(show_spinner="Loading the recommenders …")
def loaded(settings: Settings) -> tuple[dict[str, Recommender], dict[str, list[str]]]:
    """Load what the stage `recommend` saved, and everybody's history."""
    recommenders = {METHOD_NAMES[name]: Recommender.load(saved(settings, name)) for name in settings.recommend.methods}
    rows = histories(dataset.load(settings.dataset)).group_by("user_id", maintain_order=True).agg("item_id")
    return recommenders, {user: list(items) for user, items in rows.iter_rows()}


@st.cache_resource(show_spinner="Reading the new item …", max_entries=8)
def with_new(settings: Settings, title: str) -> dict[str, Recommender]:
    """Let every recommender know an item of that title; it is not trained on."""
    new = pl.DataFrame({"item_id": [NEW], "title": [title]})
    return {name: one.add_items(new) for name, one in loaded(settings)[0].items()}


def chosen_history(recommender: Recommender, everyone: dict[str, list[str]]) -> list[str]:
    """Let the visitor pick a user, and change what that user has had."""
    user = st.sidebar.selectbox("A user of the dataset", list(everyone), key="user")
    titles = dict(recommender.items.select("item_id", "title").iter_rows())
    return st.sidebar.multiselect(
        "has had, oldest first (add and remove as you like)",
        list(titles),
        default=everyone[user],
        format_func=lambda item: f"{titles[item]} · {item}",
        key=f"history of {user}",
    )


def show_lists(recommenders: dict[str, Recommender], history: Sequence[str], k: int) -> None:
    """Show what each method recommends, in columns."""
    lists = list(side_by_side(recommenders, history, k).items())
    for start in range(0, len(lists), COLUMNS):
        for column, (name, listed) in zip(st.columns(COLUMNS), lists[start : start + COLUMNS], strict=False):
            column.subheader(name)
            share = (listed["long tail"] == "✓").mean() or 0.0
            column.caption(
                f"{share:.0%} from the long tail, bought {listed['bought'].median() or 0:.0f} times (median)"
            )
            column.dataframe(listed, hide_index=True, width="stretch")


def show_new_item(recommenders: dict[str, Recommender], history: Sequence[str]) -> None:
    """Show where an item that nobody has had would stand for this history."""
    catalogue = next(iter(recommenders.values()))
    st.subheader("Where it stands")
    rows = []
    for name, recommender in recommenders.items():
        listed = recommender.recommend(history, catalogue.items.height)
        rank = listed.filter(item_id=NEW)["rank"].item()
        rows.append({"method": name, "rank": rank, "of": listed.height})
    left, right = st.columns(2)
    left.dataframe(pl.DataFrame(rows), hide_index=True)
    right.caption("Nearest by text:")
    right.dataframe(catalogue.similar_items(NEW, 5).select("title", "count", "cosine"), hide_index=True)


def page(settings: Settings) -> None:
    """Lay the page out; what is wrong is said on it."""
    st.set_page_config(page_title="LLM-ESR", layout="wide")
    st.title("What would you recommend?")
    try:
        _lay_out(settings)
    except InputError as problem:
        st.error(str(problem))


def _lay_out(settings: Settings) -> None:
    recommenders, everyone = loaded(settings)
    first = next(iter(recommenders.values()))
    about = first.about
    st.caption(
        f"{about['dataset']} · {first.items.height:,} items · {about['backbone']} · what one had last counts most. "
        "*Bought* counts training purchases; the share beside a reason is that of all that speaks for or against."
    )
    history = chosen_history(first, everyone)
    k = st.sidebar.slider("Items a list", 3, 20, settings.recommend.k)
    title = st.sidebar.text_input("A new item that nobody has had: its title", key="new")
    if not history:
        st.info("The history is empty: choose at least one item on the left.")
        return
    if title:
        recommenders = with_new(settings, title)
    show_lists(recommenders, history, k)
    if title:
        show_new_item(recommenders, history)
    st.subheader("The history, latest first")
    st.dataframe(history_frame(first, history), hide_index=True)


if __name__ == "__main__":
    page(load(*sys.argv[1:2]))
