"""What all figures share: colours, saving."""

from pathlib import Path

import matplotlib.pyplot as plt
from matplotlib.figure import Figure

from llmesr.paths import replacing

PALETTE = {"Base": "#9aa5b1", "LLMInit": "#e0a458", "LLM-ESR": "#2f6f9f", "DualMatch": "#2b2b2b"}
ACCENT, MARK = "#2f6f9f", "#c0392b"


LABEL = 40
"""Characters of a label that comes from the data; a longer one would make the figure as wide."""


def label(text: str) -> str:
    """Cut a title or a category to what fits beside an axis."""
    words = " ".join(text.split())
    return words if len(words) <= LABEL else words[: LABEL - 1] + "…"


def alone(figure: Figure) -> Figure:
    """Take the figure off pyplot's list, or a notebook would show it twice."""
    plt.close(figure)
    return figure


def save(figure: Figure, file: Path) -> None:
    """Save a figure as PNG, without the time of writing, so that the same figure has the same bytes."""
    with replacing(file) as temporary:
        figure.savefig(temporary, format="png", dpi=110, bbox_inches="tight", metadata={"Software": None})
