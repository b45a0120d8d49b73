"""A picture of the whole method."""

import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch

from llmesr.report.plotting import alone

FROZEN, LEARNED, LOSS, DATA = "#dbe4ec", "#f6e3c8", "#f3d1cd", "#ffffff"
BOXES = {
    # name: (x, y, width, height, text, colour)
    "item text": (0.0, 6.2, 2.0, 1.0, "item texts", DATA),
    "user text": (0.0, 0.5, 2.0, 1.0, "user texts", DATA),
    "language model": (2.7, 3.0, 1.5, 3.0, "language\nmodel", FROZEN),
    "semantic": (5.0, 6.2, 2.2, 1.0, "semantic table\n$E_{se}$ (V, L)", FROZEN),
    "collaborative": (5.0, 4.0, 2.2, 1.0, "ID table\n$E_{co}$ (V, D)", LEARNED),
    "adapter": (7.9, 6.2, 1.6, 1.0, "adapter", LEARNED),
    "attention": (10.2, 4.0, 1.9, 3.2, "two cross-\nattentions", LEARNED),
    "backbone": (12.8, 4.0, 1.9, 3.2, "shared\nbackbone\n(SASRec, …)", LEARNED),
    "score": (16.3, 5.5, 2.6, 1.7, "score\n$e^{se}{\\cdot}u^{se} + e^{co}{\\cdot}u^{co}$", DATA),
    "users": (5.0, 0.5, 2.2, 1.0, "user vectors\n(U, L)", FROZEN),
    "neighbours": (7.9, 0.5, 2.2, 1.0, "N nearest\nusers", FROZEN),
    "mediator": (10.8, 0.5, 3.2, 1.0, "mediator $T_u$:\nmean of their states", DATA),
    "ranking": (19.5, 5.85, 2.0, 1.0, "ranking loss", LOSS),
    "distillation": (16.3, 2.4, 2.6, 1.4, "self-distillation\n$\\|T_u - [u^{se}{:}u^{co}]\\|^2$", LOSS),
}
ARROWS = [
    # from, to, (where it leaves, where it arrives) as shares of the boxes' width and height
    ("item text", "language model", (1.0, 0.5), (0.35, 1.0)),
    ("user text", "language model", (1.0, 0.5), (0.35, 0.0)),
    ("language model", "semantic", (0.7, 1.0), (0.0, 0.5)),
    ("language model", "users", (0.7, 0.0), (0.0, 0.5)),
    ("semantic", "collaborative", (0.5, 0.0), (0.5, 1.0)),
    ("semantic", "adapter", (1.0, 0.5), (0.0, 0.5)),
    ("adapter", "attention", (1.0, 0.5), (0.0, 0.84)),
    ("collaborative", "attention", (1.0, 0.5), (0.0, 0.16)),
    ("attention", "backbone", (1.0, 0.84), (0.0, 0.84)),
    ("attention", "backbone", (1.0, 0.16), (0.0, 0.16)),
    ("backbone", "score", (1.0, 0.73), (0.0, 0.5)),
    ("score", "ranking", (1.0, 0.5), (0.0, 0.5)),
    ("backbone", "distillation", (1.0, 0.12), (0.0, 0.8)),
    ("users", "neighbours", (1.0, 0.5), (0.0, 0.5)),
    ("neighbours", "mediator", (1.0, 0.5), (0.0, 0.5)),
    ("mediator", "distillation", (1.0, 0.5), (0.0, 0.2)),
    ("backbone", "mediator", (0.3, 0.0), (0.75, 1.0)),
]
NOTES = [
    # x, y, text
    (6.25, 5.6, "initialised by PCA", "left"),
    (9.85, 6.95, "$e^{se}$", "center"),
    (8.7, 4.75, "$e^{co}$", "center"),
    (12.45, 6.95, "$\\hat{S}^{se}$", "center"),
    (12.45, 4.8, "$\\hat{S}^{co}$", "center"),
    (13.1, 8.35, "$e^{se}, e^{co}$ of the candidates", "center"),
    (15.65, 6.65, "$u^{se}, u^{co}$", "center"),
    (13.35, 2.55, "without gradient", "left"),
]
BYPASS = 8.1
"""Height at which the candidates' vectors go past attention and backbone."""
PARTS = [
    # x, y, width, height, title
    (-0.3, -0.1, 10.65, 2.3, "Retrieval"),
    (4.7, 3.5, 10.3, 4.2, "Dual view"),
]


def architecture() -> Figure:
    """Draw LLM-ESR: from texts to a score, and what is learned from it."""
    figure, axis = plt.subplots(figsize=(13.5, 5.6), layout="constrained")
    round_ = "round,pad=0,rounding_size=.15"
    for x, y, width, height, title in PARTS:
        axis.add_patch(FancyBboxPatch((x, y), width, height, boxstyle=round_, fill=False, ls=":", ec="gray"))
        axis.text(x + 0.15, y + height + 0.12, title, fontsize=13, weight="bold", va="bottom", color="#444")
    for x, y, width, height, text, colour in BOXES.values():
        axis.add_patch(FancyBboxPatch((x, y), width, height, boxstyle=round_, fc=colour, ec="#333", lw=1.2))
        axis.text(x + width / 2, y + height / 2, text, ha="center", va="center", fontsize=12)
    for start, end, leaves, arrives in ARROWS:
        _arrow(axis, _at(start, leaves), _at(end, arrives))
    (x, y), (end_x, end_y) = _at("adapter", (0.5, 1.0)), _at("score", (0.5, 1.0))
    axis.plot([x, x, end_x], [y, BYPASS, BYPASS], color="#333", lw=1.3)
    _arrow(axis, (end_x, BYPASS), (end_x, end_y))
    for x, y, text, side in NOTES:
        axis.text(x, y, text, ha=side, va="center", fontsize=11, color="#333")
    for i, (text, colour) in enumerate((("frozen", FROZEN), ("learned", LEARNED), ("loss", LOSS))):
        axis.add_patch(FancyBboxPatch((19.5, 1.9 - 0.7 * i), 0.5, 0.4, boxstyle="round,pad=0", fc=colour, ec="#333"))
        axis.text(20.2, 2.1 - 0.7 * i, text, va="center", fontsize=12)
    axis.set(xlim=(-0.4, 21.7), ylim=(-0.3, 8.9))
    axis.axis("off")
    return alone(figure)


def _at(name: str, shares: tuple[float, float]) -> tuple[float, float]:
    x, y, width, height, *_ = BOXES[name]
    return x + width * shares[0], y + height * shares[1]


def _arrow(axis: Axes, start: tuple[float, float], end: tuple[float, float]) -> None:
    axis.annotate("", xy=end, xytext=start, arrowprops={"arrowstyle": "-|>", "color": "#333", "lw": 1.3})
