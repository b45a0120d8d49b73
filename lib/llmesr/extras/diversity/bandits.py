"""Exploration: what happens when a shop learns from the clicks on what it shows? A small simulation with feedback.

The recommender that shows items believes one thing, the users want another: the belief are the click probabilities
by one trained run, the truth those by another. What is learned is how much better an item does than was believed.
"""

from dataclasses import dataclass

import numpy as np
import polars as pl

from llmesr.extras.diversity.rerank import Candidates


@dataclass(frozen=True)
class World:
    """Who can be shown what.

    Attributes:
        items: (n, C) each user's candidates.
        belief: (n, C) click probabilities that the recommender starts with.
        truth: (n, C) the real ones.
        n_items: V.
    """

    items: np.ndarray
    belief: np.ndarray
    truth: np.ndarray
    n_items: int


def world(believed: Candidates, wanted: np.ndarray, n_items: int) -> World:
    """Turn scores of two runs for the same candidates into click probabilities.

    Args:
        believed: candidates with the relevance of the run that recommends.
        wanted: (n, C) scores of the other run for them.
        n_items: V.

    Returns:
        a world in which a user clicks on the best candidate half of the time, and on the worst one time in fifty.
    """
    low, high = wanted.min(1, keepdims=True), wanted.max(1, keepdims=True)
    truth = (wanted - low) / np.maximum(high - low, 1e-10)
    return World(believed.items, _clicks(believed.relevance), _clicks(truth), n_items)


def _clicks(relevance: np.ndarray) -> np.ndarray:
    return 0.02 * 25.0**relevance  # from 0.02 to 0.5


@dataclass(frozen=True)
class Learned:
    """What clicks have taught about items: row 0 is the padding's.

    Attributes:
        shown: (V + 1,) how often an item was shown.
        surplus: (V + 1,) the sum of clicks minus what was believed.
    """

    shown: np.ndarray
    surplus: np.ndarray

    def mean(self, items: np.ndarray) -> np.ndarray:
        """Mean surplus of items, as if each had been shown once more without any: it starts at zero."""
        return self.surplus[items] / (self.shown[items] + 1)

    def bonus(self, items: np.ndarray, rounds: int) -> np.ndarray:
        """The UCB1 bonus √(ln t / (n + 1)) of items (Auer et al., 2002): it shrinks as counts grow."""
        return np.sqrt(np.log(max(rounds, 1)) / (self.shown[items] + 1))


def choose(policy: str, strength: float, user: int, world: World, known: Learned, rounds: int, chance: float) -> int:
    """Choose one of a user's candidates: its column.

    Args:
        policy: `greedy` shows the best by what is known; `epsilon` does so but for a share `strength` of the rounds, in
            which any candidate is shown; `ucb` adds `strength` times the bonus.
        strength: ε, or the weight of the bonus.
        user: a row of the world.
        world: of which the truth is not looked at.
        known: what clicks have taught.
        rounds: so far.
        chance: a random number in [0, 1).
    """
    items = world.items[user]
    if policy == "epsilon" and chance < strength:
        return int(chance / strength * len(items))
    value = world.belief[user] + known.mean(items)
    if policy == "ucb":
        value = value + strength * known.bonus(items, rounds)
    return int(value.argmax())


def simulate(policy: str, strength: float, world: World, rounds: int, seed: int, points: int = 40) -> pl.DataFrame:
    """Let users come at random, show each one item, and learn from the clicks.

    Args:
        policy: as `choose` takes it.
        strength: likewise.
        world: who can be shown what.
        rounds: how many visits.
        seed: of visits, clicks and exploration; the same for every policy, so that they meet the same visitors.
        points: at how many times the state is noted.

    Returns:
        `round`, `regret` (the sum of what the best candidate's probability exceeds that of the shown one by),
        `clicks`, `coverage` (share of the catalogue that was shown).
    """
    rng = np.random.default_rng(seed)
    users = rng.integers(len(world.items), size=rounds)
    chances, clicks = rng.random(rounds), rng.random(rounds)
    known = Learned(np.zeros(world.n_items + 1), np.zeros(world.n_items + 1))
    best = world.truth.max(1)
    marks = set(np.unique(np.geomspace(1, rounds, points).astype(int)))
    regret, clicked, rows = 0.0, 0, []
    for t, user in enumerate(users, start=1):
        column = choose(policy, strength, user, world, known, t, chances[t - 1])
        item, truth = world.items[user, column], world.truth[user, column]
        click = clicks[t - 1] < truth
        known.shown[item] += 1
        known.surplus[item] += click - world.belief[user, column]
        regret, clicked = regret + best[user] - truth, clicked + int(click)
        if t in marks:
            coverage = float((known.shown > 0).sum() / world.n_items)
            rows.append({"round": t, "regret": float(regret), "clicks": clicked, "coverage": coverage})
    return pl.DataFrame(rows)
