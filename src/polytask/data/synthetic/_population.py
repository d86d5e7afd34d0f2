"""The users and items of the feed, and what each of them contributes to each outcome."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

DEVICES = ("phone", "tablet", "desktop")
GENDERS = ("female", "male", "other")
NUM_OUTCOMES = 4
"""Click, buy, like, watch: one independent factor each, mixed later to the asked correlation."""

_AGE_EDGES = (25.0, 35.0, 50.0)
_NUM_CITIES = 40
_NUM_TASTES = 4
_BRANDS_PER_CATEGORY = 5

_RANK = 1
"""Pairs of things act through one hidden trait of each and outcome, as tastes do; a model learns that from few rows."""

_SHARE = {"user": 0.16, "item": 0.55, "affinity": 0.18, "history": 0.08, "context": 0.03}
"""Share of each component in the variance of a score. Every one can be learnt from a few hundred thousand rows: the ids carry
a part that nothing else explains, the rest follows from attributes, pairs of attributes, and the history."""


@dataclass(frozen=True)
class Users:
    """Attributes by user, and the user's own part of each score."""

    popularity: Float[np.ndarray, " u"]
    gender: Int[np.ndarray, " u"]
    age: Float[np.ndarray, " u"]
    age_known: Int[np.ndarray, " u"]
    city: Int[np.ndarray, " u"]
    tenure: Float[np.ndarray, " u"]
    segment: Int[np.ndarray, " u"]
    taste: Float[np.ndarray, "u r"]
    reticence: Float[np.ndarray, " u"]
    effect: Float[np.ndarray, "u k"]


@dataclass(frozen=True)
class Items:
    """Attributes by item, and the item's own part of each score."""

    popularity: Float[np.ndarray, " i"]
    category: Int[np.ndarray, " i"]
    brand: Int[np.ndarray, " i"]
    price: Float[np.ndarray, " i"]
    effect: Float[np.ndarray, "i k"]


@dataclass(frozen=True)
class Pairs:
    """What depends on two things at once: segment and category, a past and a present category, device and hour."""

    affinity: Float[np.ndarray, "s c k"]
    history: Float[np.ndarray, "c c k"]
    context: Float[np.ndarray, "d h k"]
    category_taste: Float[np.ndarray, "c r"]


def zipf(number: int, exponent: float, rng: np.random.Generator) -> Float[np.ndarray, " n"]:
    """Probabilities that fall as a power of the rank, in a random order of ids."""
    weight = np.arange(1, number + 1, dtype=float) ** -exponent
    return rng.permutation(weight / weight.sum())


def draw_users(number: int, rng: np.random.Generator) -> Users:
    """Users whose own effect comes from city and tenure (most) and from nothing visible but the id (a third)."""
    popularity = zipf(number, 0.5, rng)
    gender = rng.choice(3, number, p=[0.48, 0.48, 0.04])
    age = np.clip(np.round(rng.gamma(6.0, 6.0, number) + 13), 13, 90)
    city = rng.integers(0, _NUM_CITIES, number)
    tenure = np.round(rng.exponential(400.0, number))
    by_city = rng.standard_normal((_NUM_CITIES, NUM_OUTCOMES))[city]
    by_tenure = np.log1p(tenure)[:, None] * rng.standard_normal(NUM_OUTCOMES)
    own = rng.standard_normal((number, NUM_OUTCOMES))
    effect = standardised(by_city + standardised(by_tenure, popularity) + 1.0 * own, popularity)
    return Users(
        popularity=popularity,
        gender=gender,
        age=age,
        age_known=(rng.random(number) >= 0.08).astype(np.int64),
        city=city,
        tenure=tenure,
        segment=gender * (len(_AGE_EDGES) + 1) + np.searchsorted(_AGE_EDGES, age, side="right"),
        taste=rng.standard_normal((number, _NUM_TASTES)),
        reticence=rng.standard_normal(number),
        effect=effect * np.sqrt(_SHARE["user"]),
    )


def draw_items(number: int, num_categories: int, exponent: float, rng: np.random.Generator) -> Items:
    """Items whose own effect comes from category, brand and price, and from nothing visible but the id."""
    popularity = zipf(number, exponent, rng)
    category = rng.integers(0, num_categories, number)
    brand = category * _BRANDS_PER_CATEGORY + rng.integers(0, _BRANDS_PER_CATEGORY, number)
    price = np.round(np.exp(3.0 + 0.5 * rng.standard_normal(num_categories)[category] + 0.7 * rng.standard_normal(number)), 2)
    by_category = rng.standard_normal((num_categories, NUM_OUTCOMES))[category]
    by_brand = rng.standard_normal((num_categories * _BRANDS_PER_CATEGORY, NUM_OUTCOMES))[brand]
    turns = np.log(price)[:, None] * 1.5 + rng.uniform(0, 2 * np.pi, NUM_OUTCOMES)
    own = rng.standard_normal((number, NUM_OUTCOMES))
    effect = standardised(by_category + 0.7 * by_brand + np.sin(turns) + 1.2 * own, popularity)
    return Items(popularity, category, brand, price, effect * np.sqrt(_SHARE["item"]))


def draw_pairs(num_categories: int, rng: np.random.Generator) -> Pairs:
    """Effects of pairs, of variance 1 before their share."""
    segments = len(GENDERS) * (len(_AGE_EDGES) + 1)
    return Pairs(
        affinity=_low_rank(segments, num_categories, rng) * np.sqrt(_SHARE["affinity"]),
        # A weighted mean over a history has a smaller variance than its terms: about a quarter, for the lengths drawn.
        history=_low_rank(num_categories, num_categories, rng) * np.sqrt(4 * _SHARE["history"]),
        context=rng.standard_normal((len(DEVICES), 24, NUM_OUTCOMES)) * np.sqrt(_SHARE["context"]),
        category_taste=rng.standard_normal((num_categories, _NUM_TASTES)),
    )


def _low_rank(rows: int, columns: int, rng: np.random.Generator) -> Float[np.ndarray, "r c k"]:
    left = rng.standard_normal((rows, NUM_OUTCOMES, _RANK))
    right = rng.standard_normal((columns, NUM_OUTCOMES, _RANK))
    product = np.einsum("akr,bkr->abk", left, right)
    return np.asarray((product - product.mean((0, 1))) / product.std((0, 1)))


def standardised(values: Float[np.ndarray, "n k"], weight: Float[np.ndarray, " n"]) -> Float[np.ndarray, "n k"]:
    """Values with mean 0 and variance 1 under the given probabilities."""
    centred = values - weight @ values
    return np.asarray(centred / np.sqrt(weight @ centred**2))
