"""The page of `make demo`: choose a user or put a history together, and compare two lists and their reasons.

streamlit run lib/llmesr/tools/demo.py -- [SETTINGS]

It shows the recommenders that `dvc repro recommend` has saved, or else the one that lies in `results/`.
"""

import sys
from collections.abc import Sequence
from html import escape

import numpy as np
import polars as pl
import seaborn as sns
import streamlit as st

from llmesr import Recommender
from llmesr.errors import InputError
from llmesr.extras.diversity.measures import Catalogue
from llmesr.extras.diversity.rerank import candidates, less_popular
from llmesr.paths import results
from llmesr.prepare import dataset
from llmesr.recommend import histories, saved
from llmesr.recommend.explain import Explanation
from llmesr.report import BACKBONE_NAMES, METHOD_NAMES, dataset_name
from llmesr.report.plots.recommend import history_frame
from llmesr.settings import Settings, load
from llmesr.tools.publish import EXAMPLES

NEW = "new-item"  # id of the item that the visitor invents
CANDIDATES, TRADE = 100, 0.5  # of re-ranking: how many items it chooses from, and λ of `less_popular`
STYLE = """<style>
.list {padding-left: 1.6em; line-height: 1.35} .list li {margin-bottom: .7em}
.tail {background: #2f6f9f; color: #fff; border-radius: .6em; padding: 0 .5em; font-size: .8em; white-space: nowrap}
.small {font-size: .85em; opacity: .8}
.bar {display: flex; height: .6em; margin: .2em 0; border-radius: .3em; overflow: hidden; background: #80808033}
.bought {width: 6em; display: inline-flex; vertical-align: middle} .bought i {background: #8a949e}
.against {background-image: repeating-linear-gradient(45deg, transparent 0 3px, rgba(255, 255, 255, .8) 3px 6px)}
.key i {display: inline-block; width: .8em; height: .8em; border-radius: .2em; margin: 0 .3em 0 .8em}
</style>"""


@st.cache_resource(show_spinner="Loading the recommenders …")
def loaded(settings: Settings) -> tuple[dict[str, Recommender], dict[str, list[str]]]:
    """Load recommenders by their methods' names, and everybody's history."""
    published = results(settings.dataset, "recommend")
    folders = [saved(settings, name) for name in settings.recommend.methods]
    in_git = sorted(card.parent for card in published.glob("*/card.json"))
    if in_git and not any(folder.exists() for folder in folders):
        folders, rows = in_git, pl.read_parquet(published / EXAMPLES)
    elif not any(folder.exists() for folder in folders):
        raise InputError(f"{settings.dataset} has no recommender yet: run `make repro` (or `dvc repro recommend`)")
    else:
        rows = histories(dataset.load(settings.dataset))
    recommenders = [Recommender.load(folder) for folder in folders]
    everyone = rows.group_by("user_id", maintain_order=True).agg("item_id")
    return {METHOD_NAMES[one.about["method"]]: one for one in recommenders}, dict(everyone.iter_rows())


@st.cache_resource(show_spinner="Reading the new item …", max_entries=8)
def with_new(settings: Settings, title: str) -> dict[str, Recommender]:
    """Let every recommender know an item of that title; it is not trained on."""
    new = pl.DataFrame({"item_id": [NEW], "title": [title]})
    return {name: one.add_items(new) for name, one in loaded(settings)[0].items()}


def chosen_history(recommender: Recommender, everyone: dict[str, list[str]]) -> list[str]:
    """Let the visitor choose a user, and change what that user has had."""
    user = st.sidebar.selectbox("A user of the dataset", list(everyone), key="user")
    titles = dict(recommender.items.select("item_id", "title").iter_rows())
    return st.sidebar.multiselect(
        "History, oldest first: add and remove items",
        list(titles),
        default=everyone[user],
        format_func=lambda item: f"{titles[item]} · {item}",
        key=f"history of {user}",
    )


def listed(recommender: Recommender, history: Sequence[str], k: int, *, more_tail: bool) -> list[str]:
    """Give the ids of a list, as scored or re-ranked with popularity taken off."""
    best = recommender.recommend(history, max(k, CANDIDATES) if more_tail else k)
    if not more_tail:
        return best["item_id"].to_list()
    none = np.zeros((1, 0), np.float32)
    known = Catalogue(none, none, best["count"].to_numpy(), best["tail"].to_numpy(), n_users=0)
    columns = less_popular(candidates(best["score"].to_numpy()[None], best.height, none), k, TRADE, known)[0]
    return best["item_id"].gather(columns).to_list()


def as_html(recommender: Recommender, items: Sequence[str], reasons: Sequence[Explanation]) -> str:
    """Lay out a list: title, mark of the long tail, bar of popularity, and what the score is made of."""
    parts = list(reasons[0].parts)
    colours = dict(zip(parts, sns.color_palette("colorblind", len(parts)).as_hex(), strict=True))
    rows = [recommender.rows[item] - 1 for item in items]
    about = recommender.items[rows].select("item_id", "title", "count", "tail")
    most = np.log1p(recommender.items["count"].max())
    cards = []
    for item, title, count, tail, reason in zip(*about, reasons, strict=True):
        mark = ' <span class="tail">long tail</span>' if tail else ""
        width = 100 * np.log1p(count) / most
        popularity = f'<span class="bar bought" aria-hidden="true"><i style="width: {width:.0f}%"></i></span>'
        near, cosine = reason.nearest["title"][0], reason.nearest["cosine"][0]
        cards.append(
            f"<li><b>{escape(title)}</b>{mark}"
            f'<div class="small">bought {count:,} times {popularity} · item {escape(item)}</div>{_why(reason, colours)}'
            f'<div class="small">like {escape(near)} in the history (cosine {cosine:.2f})</div></li>'
        )
    return f'{STYLE}{_key(colours)}<ol class="list">{"".join(cards)}</ol>'


def _why(reason: Explanation, colours: dict[str, str]) -> str:
    """Draw the shares of a score as one bar; what speaks against the item is striped. One part alone needs none."""
    if len(colours) == 1:
        return ""
    said = ", ".join(f"{name} {share:+.0%}" for name, share in reason.shares.items())
    parts = "".join(
        f'<i class="{"for" if share >= 0 else "against"}" '
        f'style="width: {abs(share):.1%}; background-color: {colours[name]}"></i>'
        for name, share in reason.shares.items()
    )
    return f'<div class="bar" role="img" title="{escape(said)}" aria-label="{escape(said)}">{parts}</div>'


def _key(colours: dict[str, str]) -> str:
    """Name the colours of the bars."""
    if len(colours) == 1:
        return '<div class="small">The score of this method has one part.</div>'
    names = "".join(f'<i style="background: {colour}"></i>{escape(name)}' for name, colour in colours.items())
    return f'<div class="key small" aria-hidden="true">Score:{names}</div>'


def show_lists(recommenders: dict[str, Recommender], history: Sequence[str], k: int) -> None:
    """Show two lists beside each other, each of a method that is chosen above it."""
    names = list(recommenders)
    for place, column in enumerate(st.columns(2)):
        with column:
            name = st.selectbox(f"Method of list {place + 1}", names, index=min(place, len(names) - 1))
            more_tail = st.toggle("More from the long tail", value=place >= len(names), key=f"tail {place}")
            recommender = recommenders[name]
            items = listed(recommender, history, k, more_tail=more_tail)
            reasons = recommender.explain_all(history, items, nearest=1)
            about = recommender.items[[recommender.rows[item] - 1 for item in items]]
            st.caption(
                f"{about['tail'].mean():.0%} from the long tail, bought {about['count'].median():.0f} times (median)"
            )
            st.html(as_html(recommender, items, reasons))


def show_new_item(recommenders: dict[str, Recommender], history: Sequence[str]) -> None:
    """Show the rank for this history of an item that nobody has had, and what it is near to."""
    catalogue = next(iter(recommenders.values()))
    st.subheader("The new item")
    rows = []
    for name, recommender in recommenders.items():
        ranked = recommender.recommend(history, catalogue.items.height)
        rows.append({"method": name, "rank": ranked.filter(item_id=NEW)["rank"].item(), "of": ranked.height})
    left, right = st.columns(2)
    left.table(rows)
    right.caption("Nearest by text:")
    right.table(catalogue.similar_items(NEW, 5).select("title", "count", pl.col("cosine").round(2)).to_dicts())


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
    st.caption(
        f"{dataset_name(settings.dataset)}: {first.items.height:,} items, {BACKBONE_NAMES[first.about['backbone']]}. "
        "The latest items of a history count most. A coloured bar shows what the score is made of, "
        "compared with the average item; striped parts speak against the item."
    )
    if METHOD_NAMES["dualmatch"] in recommenders:
        st.caption("*Match by nearest text* is with the most similar past item, *match by texts* with all of them.")
    history = chosen_history(first, everyone)
    k = st.sidebar.slider("Items per list", 3, 20, settings.recommend.k)
    title = st.sidebar.text_input("Title of a new item that nobody has had", key="new")
    if not history:
        st.info("The history is empty: choose at least one item on the left.")
        return
    if title:
        recommenders = with_new(settings, title)
    show_lists(recommenders, history, k)
    if title:
        show_new_item(recommenders, history)
    st.subheader("The history, latest first")
    st.table(history_frame(first, history).to_dicts())


if __name__ == "__main__":
    page(load(*sys.argv[1:2]))
