"""What follows an impression, step by step: chains and trees of behaviours whose every edge has a known probability."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import final

import numpy as np
import pyarrow as pa
from jaxtyping import Float, Int

from polytask.data.synthetic._base import Simulator, require, require_named
from polytask.data.synthetic._embedded import BLOCK_ROWS, LEAST, Embedded, Rates, draw_embedded, probability, revealed
from polytask.errors import ConfigError, message, nearest

Parents = Mapping[str, Sequence[str]]
"""What each behaviour may follow, those first that others follow; nothing where it follows the impression itself."""

SHAPES: dict[str, Parents] = {
    "chain": {"click": (), "cart": ("click",), "buy": ("cart",)},
    # The graph of ESM2: a purchase may come by way of an action, or without one.
    "tree": {"click": (), "cart": ("click",), "wish": ("click",), "buy": ("cart", "wish", "click")},
}
_RATES = {
    "click": 0.05,
    "cart_after_click": 0.15,
    "wish_after_click": 0.1,
    "buy_after_cart": 0.3,
    "buy_after_wish": 0.1,
    "buy_after_click": 0.02,
}
_OTHER_RATE = 0.1
_MOST = 8
"""Behaviours, at most: totals go through all states of those that others follow."""


@final
@dataclass(frozen=True, kw_only=True)
class Behaviours(Simulator):
    """Chains and trees of behaviours after an impression: click, then cart or wish, then purchase.

    Every edge fires by itself: `buy_after_cart ~ Bern(σ(l))` where cart happened. A behaviour with several edges happens if one
    of them fires, so given what it follows its probability is `1 - Π (1 - p_edge)`; the total is the sum over all that may have
    happened before. All logits are functions of user and item, as in `EntireSpace`.

    Use it for chains of conditional tasks and for methods that take purchases apart by the actions before them. Not for delays:
    all that follows an impression is known at once. Ten million rows take about a second of one core.

    A behaviour is null where nothing happened that it may follow. The truth holds the probability of every edge
    (`true_buy_after_cart`), every total over impressions (`true_buy`), and what each edge would have done on every row
    (`drawn_buy_after_cart`), whether it was reached or not.

    Source: the behaviour graph of Wen et al. 2020 (ESM2), section 3.1.
    Differs: cart and wish may both happen, and each has its own edge to the purchase; the paper merges them to one node.

    Args:
        seed: Everything follows from it, row by row, however the rows are cut.
        num_users: Users; a few are more active than the rest.
        num_items: Items.
        item_skew: Exponent of the popularity of items (Zipf); 0 makes all equally popular.
        shape: "chain" (click, cart, buy), "tree" (cart and wish beside each other, a purchase after either or right after
            the click), or names of what each behaviour may follow: `{"click": [], "cart": ["click"]}`.
        correlation: Of each edge's logit with the first one's over impressions, in [-1, 1].
        rates: Mean of an edge where it is reached, by name: `click`, `cart_after_click`. Those not given keep theirs.
        steepness: Standard deviation of every logit.

    Raises:
        ConfigError: On an unknown name, a behaviour named before what it follows, or a number outside its range.

    Example:
        >>> simulator = Behaviours(shape="chain", rates={"cart_after_click": 0.2})
        >>> simulator.table(0, 10).column_names[-3:]
        ['click', 'cart', 'buy']
        >>> [name for name in simulator.truth(0, 10).column_names if name.startswith("true_")]
        ['true_click', 'true_cart_after_click', 'true_buy_after_cart', 'true_cart', 'true_buy']
    """

    seed: int = 0
    num_users: int = 2_000
    num_items: int = 500
    item_skew: float = 1.0
    shape: str | Parents = "tree"
    correlation: float = 0.5
    rates: Mapping[str, float] = field(default_factory=dict)
    steepness: float = 1.0

    def __post_init__(self) -> None:
        for name in ("num_users", "num_items"):
            require(getattr(self, name) >= LEAST, f"{name!r} must be at least {LEAST}.", getattr(self, name))
        require(0 <= self.item_skew <= 2, "'item_skew' must lie in [0, 2].", self.item_skew)
        require(-1 <= self.correlation <= 1, "'correlation' must lie in [-1, 1].", self.correlation)
        require(0 <= self.steepness <= 5, "'steepness' must lie in [0, 5].", self.steepness)
        if isinstance(self.shape, str) and self.shape not in SHAPES:
            raise ConfigError(message("Unknown shape.", received=repr(self.shape), way_out=nearest(self.shape, SHAPES)))
        _check_order(self.parents)
        limits = (math.nextafter(0.0, 1.0), math.nextafter(1.0, 0.0))
        require_named("rates", {**self.rates}, tuple(name for name, _ in _edges(self.parents)), limits)

    @property
    def parents(self) -> Parents:
        """What each behaviour may follow."""
        return SHAPES[self.shape] if isinstance(self.shape, str) else self.shape

    @property
    def block_rows(self) -> int:
        """Impressions that are drawn together."""
        return BLOCK_ROWS

    @cached_property
    def _pairs(self) -> Embedded:
        edges, given = list(_edges(self.parents)), _RATES | {**self.rates}
        sizes, correlation = (self.num_users, self.num_items), [self.correlation] * (len(edges) - 1)
        options = {"skew": self.item_skew, "steepness": self.steepness}
        unplaced = draw_embedded(self.seed, sizes, correlation=correlation, **options)
        found, offsets = Rates(unplaced, self.seed), []
        chance: dict[str, np.ndarray] = {}
        for place, (edge, above) in enumerate(edges):
            known = {name: value for name, value in self.parents.items() if set(_named(name, value)) <= set(chance)}
            reached = totals(known, chance)[above] if above else None
            offset, chance[edge] = found.offset(place, given.get(edge, _OTHER_RATE), reached)
            offsets.append(offset)
        return unplaced.placed(offsets)

    def _block(self, block: int) -> tuple[pa.Table, pa.Table]:
        rng = np.random.default_rng([self.seed, 2, block])
        drawn = self._pairs.draw(rng, BLOCK_ROWS)
        names = [name for name, _ in _edges(self.parents)]
        chance = dict(zip(names, probability(drawn.logit), strict=True))
        fires = {name: (rng.random(BLOCK_ROWS, dtype=np.float32) < p).view(np.int8) for name, p in chance.items()}
        happened = _happened(self.parents, fires)
        log = self._pairs.columns(drawn)
        for name, above in self.parents.items():
            log[name] = revealed(happened[name], _any(happened, above)) if above else happened[name]
        truth = {f"true_{name}": p for name, p in chance.items()}
        truth |= {f"true_{name}": total for name, total in totals(self.parents, chance).items()}
        truth |= {f"logit_{name}": logit for name, logit in zip(names, drawn.logit, strict=True)}
        truth |= {f"drawn_{name}": fired for name, fired in fires.items()}
        return pa.table(log), pa.table(truth)


def totals(parents: Parents, chance: Mapping[str, Float[np.ndarray, " n"]]) -> dict[str, Float[np.ndarray, " n"]]:
    """Probability of each behaviour over impressions, from those of the edges: the sum over all that may have happened before.

    Args:
        parents: What each behaviour may follow.
        chance: Probability of each edge where it is reached.

    Example:
        >>> chance = {"click": np.array([0.5]), "buy_after_click": np.array([0.2])}
        >>> totals({"click": (), "buy": ("click",)}, chance)["buy"].tolist()
        [0.1]
    """
    followed = {name for above in parents.values() for name in above}
    one = np.ones(1, np.float32)
    states: list[tuple[frozenset[str], np.ndarray]] = [(frozenset(), one)]
    found = {}
    for name, above in parents.items():
        after, total = [], 0 * one
        for before, weight in states:
            fired = _fired(name, above, before, chance)
            if fired is None:
                after.append((before, weight))
                continue
            total = total + weight * fired
            after += (
                [(before | {name}, weight * fired), (before, weight * (1 - fired))] if name in followed else [(before, weight)]
            )
        states, found[name] = after, total
    return found


def _fired(
    name: str, above: Sequence[str], before: frozenset[str], chance: Mapping[str, Float[np.ndarray, " n"]]
) -> Float[np.ndarray, " n"] | None:
    """Probability of a behaviour when exactly these have happened; None where it follows none of them."""
    edges = [edge for edge, parent in zip(_named(name, above), above or ("",), strict=True) if not above or parent in before]
    if not edges:
        return None
    silent = 1 - chance[edges[0]]
    for edge in edges[1:]:
        silent = silent * (1 - chance[edge])
    return chance[edges[0]] if len(edges) == 1 else 1 - silent


def _happened(parents: Parents, fires: Mapping[str, Int[np.ndarray, " n"]]) -> dict[str, Int[np.ndarray, " n"]]:
    found: dict[str, np.ndarray] = {}
    for name, above in parents.items():
        if not above:
            found[name] = fires[name]
            continue
        found[name] = np.zeros_like(fires[_named(name, above)[0]])
        for parent, edge in zip(above, _named(name, above), strict=True):
            found[name] |= found[parent] & fires[edge]
    return found


def _any(happened: Mapping[str, Int[np.ndarray, " n"]], names: Sequence[str]) -> Int[np.ndarray, " n"]:
    found = happened[names[0]]
    for name in names[1:]:
        found = found | happened[name]
    return found


def _named(name: str, above: Sequence[str]) -> list[str]:
    """Names of a behaviour's edges."""
    return [f"{name}_after_{parent}" for parent in above] or [name]


def _edges(parents: Parents) -> Iterator[tuple[str, str]]:
    """Name and beginning of each edge, in order; the impression is ""."""
    for name, above in parents.items():
        yield from zip(_named(name, above), above or ("",), strict=True)


def _check_order(parents: Parents) -> None:
    require(1 <= len(parents) <= _MOST, f"'shape' must name 1 to {_MOST} behaviours.", len(parents))
    known: list[str] = []
    for name, above in parents.items():
        for parent in above:
            if parent not in known:
                expected = f"What {name!r} follows must be named before it."
                raise ConfigError(message(expected, received=repr(parent), way_out=nearest(parent, known)))
        known.append(name)
