"""What of a score comes from where: the views of the item, and the matches with the history."""

from dataclasses import dataclass

import polars as pl


@dataclass(frozen=True)
class Explanation:
    """Why an item has its score.

    Attributes:
        parts: what each view or match gives to the item more than to the average one; may be negative.
        nearest: items of the history that are nearest by LLM embedding, with their `cosine`.
    """

    parts: dict[str, float]
    nearest: pl.DataFrame

    @property
    def score(self) -> float:
        """The item's score above the average one's: the sum of the parts."""
        return sum(self.parts.values())

    @property
    def shares(self) -> dict[str, float]:
        """Each part's share of all that speaks for or against the item; absolute values sum to one."""
        total = sum(abs(value) for value in self.parts.values()) or 1.0
        return {name: value / total for name, value in self.parts.items()}
