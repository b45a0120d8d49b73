"""What all figures share: colours, saving."""

from collections.abc import Iterable
from pathlib import Path

import matplotlib.pyplot as plt
import seaborn as sns
from matplotlib.colors import to_hex
from matplotlib.figure import Figure

from llmesr.paths import replacing

PALETTE = {
    "Base": "#8a949e",
    "CITIES": "#b5651d",
    "MELT": "#c77cba",
    "RLMRec-Con": "#5ab4ac",
    "RLMRec-Gen": "#9ccf7c",
    "LLMInit": "#e0a030",
    "LLM-ESR": "#2f6f9f",
    "DualMatch": "#1d1d1d",
}
"""The colour of each method, the same one in every figure."""
ACCENT, MARK = "#2f6f9f", "#c0392b"


LABEL = 40
"""Characters of a label that comes from the data; a longer one would make the figure as wide."""


def label(text: str) -> str:
    """Cut a title or a category to what fits beside an axis."""
    words = " ".join(text.split())
    return words if len(words) <= LABEL else words[: LABEL - 1] + "…"


def palette(methods: Iterable[str]) -> dict[str, str]:
    """Give each method its colour, and those without one of their own further colours."""
    names = list(dict.fromkeys(methods))
    others = sns.color_palette("husl", max(1, len(names)))
    return {name: PALETTE.get(name, to_hex(others[i])) for i, name in enumerate(names)}


def alone(figure: Figure) -> Figure:
    """Take the figure off pyplot's list, or a notebook would show it twice."""
    plt.close(figure)
    return figure


def save(figure: Figure, file: Path) -> None:
    """Save a figure as PNG, without the time of writing, so that the same figure has the same bytes."""
    with replacing(file) as temporary:
        figure.savefig(temporary, format="png", dpi=110, bbox_inches="tight", metadata={"Software": None})
