"""Users and items with embeddings: one logit an outcome for every pair of them, by tables that are looked up."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
import pyarrow as pa
from jaxtyping import Float, Int, UInt

from polytask.data.synthetic._outcomes import offset_for
from polytask.data.synthetic._population import zipf

BLOCK_ROWS = 32_768
"""What is drawn together: the vectors of a block stay in the second cache."""
LEAST = 64
"""Users, and items, that are needed: their embeddings are made uncorrelated, which few cannot be."""

_GROUPS = 20
_RANK = 2
_USER_SKEW = 0.5
_BITS = 16
_SHARE = {"user": 0.2, "item": 0.5, "together": 0.3}
"""Share of each component in the variance of a score. Half of a user's or an item's part comes from the group."""
_CALIBRATION_ROWS = 131_072
"""Rows that fix the offsets: the sampling error of a rate of 4 % is a hundredth of it."""


class Impressions(NamedTuple):
    """n pairs of a user and an item, and their logits: one row an outcome."""

    user: Int[np.ndarray, " n"]
    item: Int[np.ndarray, " n"]
    logit: Float[np.ndarray, "k n"]


@dataclass(frozen=True)
class Side:
    """Users, or items.

    Args:
        group: Segment or category of each id.
        lookup: An id for each of equally likely draws: how popular each is.
        effect: What the id adds to each outcome's score.
        embedding: What meets the other side's embedding in a product, by outcome.
    """

    group: Int[np.ndarray, " m"]
    lookup: Int[np.ndarray, " t"]
    effect: Float[np.ndarray, "k m"]
    embedding: Float[np.ndarray, "k r m"]

    @property
    def popularity(self) -> Float[np.ndarray, " m"]:
        """Probability of each id."""
        return np.bincount(self.lookup, minlength=len(self.group)) / len(self.lookup)


@dataclass(frozen=True)
class Embedded:
    """All pairs of a user and an item: `logit_k = c_k + s · score_k`, every score of mean 0 and variance 1 over impressions.

    `score_0 = f_0`, `score_k = ρ_k f_0 + √(1 - ρ_k²) f_k`, `f_k = user_k + item_k + <p_k(user), q_k(item)>`. Effects and
    embeddings are made uncorrelated under the probabilities of the ids, so the f are uncorrelated exactly.

    Args:
        users: Users.
        items: Items.
        correlation: ρ of each outcome after the first.
        steepness: Standard deviation s of every logit.
        offset: c of each outcome.
    """

    users: Side
    items: Side
    correlation: tuple[float, ...]
    steepness: float
    offset: tuple[float, ...]

    def draw(self, rng: np.random.Generator, rows: int) -> Impressions:
        """Users and items by their popularity, independently."""
        user, item = (side.lookup.take(_uniform(rng, len(side.lookup), rows)) for side in (self.users, self.items))
        return Impressions(user, item, self.logits(user, item))

    def logits(self, user: Int[np.ndarray, " n"], item: Int[np.ndarray, " n"]) -> Float[np.ndarray, "k n"]:
        """Logit of each outcome for each pair, in single precision."""
        users, items = self.users, self.items
        found = np.empty((len(self.offset), len(user)), np.float32)
        for k in range(len(found)):
            np.add(users.effect[k].take(user), items.effect[k].take(item), out=found[k])
            for of_users, of_items in zip(users.embedding[k], items.embedding[k], strict=True):
                found[k] += of_users.take(user) * of_items.take(item)
        self._mix(found)
        found *= np.float32(self.steepness)
        found += np.array(self.offset, np.float32)[:, None]
        return found

    def item_scores(self) -> Float[np.ndarray, "k m"]:
        """Each item's score over all users."""
        found = self.items.effect.copy()
        self._mix(found)
        return found

    def placed(self, offset: Sequence[float]) -> "Embedded":
        """The same pairs with these offsets."""
        return replace(self, offset=tuple(offset))

    def _mix(self, scores: Float[np.ndarray, "k n"]) -> None:
        for k, p in enumerate(self.correlation, start=1):
            scores[k] *= np.float32(math.sqrt(1 - p**2))
            scores[k] += np.float32(p) * scores[0]

    def columns(self, drawn: Impressions) -> dict[str, np.ndarray]:
        """Ids and groups, as a log shows them."""
        return {
            "user_id": drawn.user,
            "user_segment": self.users.group.take(drawn.user),
            "item_id": drawn.item,
            "item_category": self.items.group.take(drawn.item),
        }


class Rates:
    """Finds offsets one after the other, on impressions of its own: each rate is that of the rows which come so far.

    Args:
        unplaced: Pairs whose offsets are 0.
        seed: Of the impressions.
    """

    def __init__(self, unplaced: Embedded, seed: int) -> None:
        self.logit = unplaced.draw(np.random.default_rng([seed, 1]), _CALIBRATION_ROWS).logit.astype(np.float64)

    def offset(
        self, outcome: int, rate: float, reached: Float[np.ndarray, " n"] | None = None
    ) -> tuple[float, Float[np.ndarray, " n"]]:
        """Offset and probabilities of an outcome whose mean over the rows reached is `rate`.

        Args:
            outcome: Its place.
            rate: Between 0 and 1.
            reached: Probability that each row comes so far; all do where None.
        """
        logit = self.logit[outcome]
        weight = np.ones_like(logit) if reached is None else reached / reached.mean()
        offset = offset_for(rate, logit, weight, 0.0)
        return offset, probability(logit + offset)


def draw_embedded(seed: int, sizes: tuple[int, int], *, skew: float, correlation: Sequence[float], steepness: float) -> Embedded:
    """All pairs of as many users and items, their offsets 0; `skew` is the exponent of the items' popularity."""
    rng = np.random.default_rng([seed, 0])
    num_outcomes = 1 + len(correlation)
    users = _draw_side(sizes[0], _USER_SKEW, num_outcomes, rng)
    items = _draw_side(sizes[1], skew, num_outcomes, rng)
    for side, name in ((users, "user"), (items, "item")):
        side.effect[:] *= np.float32(math.sqrt(_SHARE[name]))
    users.embedding[:] *= np.float32(math.sqrt(_SHARE["together"] / _RANK))
    return Embedded(users, items, tuple(correlation), steepness, (0.0,) * num_outcomes)


def _draw_side(number: int, skew: float, num_outcomes: int, rng: np.random.Generator) -> Side:
    lookup = _lookup(zipf(number, skew, rng))
    popularity = np.bincount(lookup, minlength=number) / len(lookup)
    group = rng.integers(0, _GROUPS, number)
    width = num_outcomes * (1 + _RANK)
    raw = rng.standard_normal((_GROUPS, width))[group] + rng.standard_normal((number, width))
    raw -= popularity @ raw
    white = np.linalg.solve(np.linalg.cholesky(raw.T @ (popularity[:, None] * raw)), raw.T).astype(np.float32)
    effect, embedding = white[:num_outcomes], white[num_outcomes:].reshape(num_outcomes, _RANK, number)
    return Side(group.astype(np.int32), lookup, effect, embedding)


def _lookup(probability: Float[np.ndarray, " m"]) -> Int[np.ndarray, " t"]:
    """Ids as often as they are likely, in a table of a power of two: a draw is a look into it, no search."""
    size = 1 << max(_BITS, (len(probability) - 1).bit_length() + 4)
    upper = np.round(np.cumsum(probability) * size).astype(np.int64)
    upper[-1] = size
    return np.repeat(np.arange(len(probability), dtype=np.int32), np.diff(upper, prepend=0))


def _uniform(rng: np.random.Generator, size: int, rows: int) -> UInt[np.ndarray, " n"]:
    kind = np.uint16 if size == 1 << 16 else np.uint32
    return rng.integers(0, size, rows, dtype=kind)


def probability(logit: Float[np.ndarray, "..."]) -> Float[np.ndarray, "..."]:
    """Sigmoid in the type of the logit; a logit below -80 or so is 0 in single precision."""
    return np.asarray(1 / (1 + np.exp(-logit)))


def revealed(drawn: Int[np.ndarray, " n"], where: Int[np.ndarray, " n"]) -> pa.Array:
    """An outcome where it can be seen, null elsewhere."""
    return pa.array(drawn, mask=where == 0)
