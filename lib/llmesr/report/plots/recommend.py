"""Recommendations of several methods side by side, with their reasons: for the lesson and for the page."""

from collections.abc import Sequence

import ipywidgets as widgets
import polars as pl
from IPython.display import Markdown, display

from llmesr.prepare.dataset import OF_ITEMS
from llmesr.recommend.explain import Explanation
from llmesr.recommend.recommender import Recommender


def side_by_side(recommenders: dict[str, Recommender], history: Sequence[str], k: int) -> dict[str, pl.DataFrame]:
    """List what each method recommends: name → `rank`, `title`, `why`, `bought`, `long tail`, `details`.

    Args:
        recommenders: by the name to show.
        history: item ids, oldest first.
        k: items a list.
    """
    lists = {}
    for name, recommender in recommenders.items():
        listed = recommender.recommend(history, k)
        why = [reason(one) for one in recommender.explain_all(history, listed["item_id"], nearest=1)]
        rows = [recommender.rows[item] - 1 for item in listed["item_id"]]
        about = _about(recommender.items[rows]).with_columns(listed["rank"], pl.Series("why", why, pl.String))
        lists[name] = about.select("rank", "title", "why", pl.all().exclude("rank", "title", "why"))
    return lists


def reason(why: Explanation) -> str:
    """Say in a few words what speaks most for an item, and which past item it is nearest to."""
    nearest = f"near {why.nearest['title'][0]} ({why.nearest['cosine'][0]:.2f})"
    name = max(why.parts, key=lambda part: why.parts[part])
    return nearest if len(why.parts) == 1 else f"{name} {why.shares[name]:+.0%}; {nearest}"


def history_frame(recommender: Recommender, history: Sequence[str]) -> pl.DataFrame:
    """Lay out a history, latest first: `title`, `bought`, `long tail`, `details`."""
    return _about(recommender.items[[recommender.rows[item] - 1 for item in reversed(history)]])


def as_table(frame: pl.DataFrame) -> Markdown:
    """Lay out a frame for people: all of it, without types and quotation marks."""
    markdown = {"tbl_hide_column_data_types": True, "tbl_hide_dataframe_shape": True, "tbl_formatting": "MARKDOWN"}
    complete = {"tbl_rows": -1, "tbl_cols": -1, "tbl_width_chars": -1, "fmt_str_lengths": 1000}
    with pl.Config(**markdown, **complete):
        return Markdown(str(frame.with_columns(pl.col(pl.String).str.replace_all("|", "\\|", literal=True))))


def _about(items: pl.DataFrame) -> pl.DataFrame:
    """Say of items what one wants to see."""
    attributes = [column for column in items.columns if column not in OF_ITEMS]
    details = pl.concat_str([pl.col(name).cast(pl.String) for name in attributes], separator=" · ", ignore_nulls=True)
    return items.select(
        "title",
        pl.col("count").alias("bought"),
        pl.when("tail").then(pl.lit("✓")).otherwise(pl.lit("")).alias("long tail"),
        (details if attributes else pl.lit("")).alias("details"),
    )


def browser(recommenders: dict[str, Recommender], histories: dict[str, list[str]], k: int) -> widgets.VBox:
    """Make a small window in which one picks a user, adds items by title, and watches what each method recommends.

    Args:
        recommenders: by the name to show; all of one catalogue.
        histories: user id → item ids, oldest first.
        k: items a list.
    """
    first = next(iter(recommenders.values()))
    titles = _by_title(first)
    user = widgets.Dropdown(options=list(histories), description="User")
    more = widgets.Combobox(placeholder="type a title, then choose", options=list(titles), description="Then had")
    lists = widgets.Output()

    def show(_: object = None) -> None:
        history = [*histories[user.value], *([titles[more.value]] if more.value in titles else [])]
        lists.clear_output(wait=True)
        with lists:
            _show(first, recommenders, history, k)

    for box in (user, more):
        box.observe(show, "value")
    show()
    return widgets.VBox([widgets.HBox([user, more]), lists])


def _by_title(recommender: Recommender) -> dict[str, str]:
    """Title and id, as one chooses by → item id."""
    chosen = recommender.items.select("title", "item_id").iter_rows()
    return {f"{title} · {item_id}": item_id for title, item_id in chosen}


def _show(first: Recommender, recommenders: dict[str, Recommender], history: list[str], k: int) -> None:
    display(widgets.HTML("<b>History</b>, latest first"), as_table(history_frame(first, history).head(k)))
    for name, listed in side_by_side(recommenders, history, k).items():
        display(widgets.HTML(f"<b>{name}</b>"), as_table(listed))
