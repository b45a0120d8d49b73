"""LLM-ESR, reproduced: one module a stage, data flowing one way (README.md has the map)."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from llmesr.recommend import Recommender

__all__ = ["Recommender"]


def __getattr__(name: str) -> object:
    """Import the recommender when it is asked for: `import llmesr` alone must not load torch."""
    if name == "Recommender":
        from llmesr.recommend import Recommender

        return Recommender
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
