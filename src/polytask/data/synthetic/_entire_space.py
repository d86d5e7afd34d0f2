"""Impressions, clicks and conversions: which conversion would have followed is known for every impression."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import ClassVar, final

import numpy as np
import pyarrow as pa
from jaxtyping import Bool

from polytask.data.synthetic._base import Simulator, require, require_named
from polytask.data.synthetic._embedded import BLOCK_ROWS, LEAST, Embedded, Rates, draw_embedded, probability, revealed

_RATES = {"click": 0.04, "buy": 0.1}
_UGLY = 0.05
"""Share of items, at most, whose picture is called ugly."""


@final
@dataclass(frozen=True, kw_only=True)
class EntireSpace(Simulator):
    """Impressions that are clicked or not, and bought or not if they are clicked; the purchase is drawn for every row.

    `click ~ Bern(σ(a))`, `buy | click ~ Bern(σ(b))`, independent given user and item; a and b are functions of the two, of equal
    variance and the asked correlation over impressions. `buy` is null where there was no click. The log has the ids, a segment
    of each user and a category of each item; half of what an id does follows from its group.

    Use it for the question what to do with the rows that were not clicked: the truth says what every method should have given
    there. With a correlation above 0 clicks select what sells, so the clicked rows promise too much of all others. Not for
    position bias or time: impressions are independent of one another. Clicks are missing at random given what is visible, so
    no method is wrong for what it cannot see. Tens of millions of rows take a second or two of one core.

    The truth names `ugly_picture`: items that few click on and many of these buy. There is none at a correlation near 1.

    Source: the setting of Ma et al. 2018 (ESMM), sections 2.1 and 3.1.

    Args:
        seed: Everything follows from it, row by row, however the rows are cut.
        num_users: Users; a few are more active than the rest.
        num_items: Items.
        item_skew: Exponent of the popularity of items (Zipf); 0 makes all equally popular.
        correlation: Of the two logits over impressions, in [-1, 1].
        rates: Mean of `click`, and of `buy` given click. Those not given keep theirs.
        steepness: Standard deviation of both logits: how far clicks select.

    Raises:
        ConfigError: On an unknown outcome, or a number outside its range.

    Example:
        >>> simulator = EntireSpace(seed=1, correlation=-0.6)
        >>> log, truth = simulator.table(0, 1_000), simulator.truth(0, 1_000)
        >>> log["buy"].null_count == 1_000 - sum(log["click"].to_pylist()), truth["drawn_buy"].null_count
        (True, 0)
    """

    CORRELATIONS: ClassVar[tuple[float, ...]] = (-0.6, 0.0, 0.6)
    """Where methods are compared: clicks avoid what sells, say nothing of it, select it."""

    seed: int = 0
    num_users: int = 2_000
    num_items: int = 500
    item_skew: float = 1.0
    correlation: float = 0.6
    rates: Mapping[str, float] = field(default_factory=dict)
    steepness: float = 1.5

    def __post_init__(self) -> None:
        for name in ("num_users", "num_items"):
            require(getattr(self, name) >= LEAST, f"{name!r} must be at least {LEAST}.", getattr(self, name))
        require(0 <= self.item_skew <= 2, "'item_skew' must lie in [0, 2].", self.item_skew)
        require(-1 <= self.correlation <= 1, "'correlation' must lie in [-1, 1].", self.correlation)
        require(0 <= self.steepness <= 5, "'steepness' must lie in [0, 5].", self.steepness)
        limits = (math.nextafter(0.0, 1.0), math.nextafter(1.0, 0.0))
        require_named("rates", {**self.rates}, tuple(_RATES), limits)

    @property
    def block_rows(self) -> int:
        """Impressions that are drawn together."""
        return BLOCK_ROWS

    @cached_property
    def _pairs(self) -> Embedded:
        sizes = self.num_users, self.num_items
        options = {"skew": self.item_skew, "steepness": self.steepness}
        unplaced = draw_embedded(self.seed, sizes, correlation=[self.correlation], **options)
        rates, found = {**_RATES, **self.rates}, Rates(unplaced, self.seed)
        click, reached = found.offset(0, rates["click"])
        buy, _ = found.offset(1, rates["buy"], reached)
        return unplaced.placed([click, buy])

    @cached_property
    def _ugly(self) -> Bool[np.ndarray, " i"]:
        """Items far below the mean in clicks and far above it in purchases, the lesser of both distances counting."""
        click, buy = self._pairs.item_scores()
        both = np.minimum(-click, buy)
        return np.asarray((both > 1e-6) & (both >= np.sort(both)[-int(_UGLY * len(both))]))

    def _block(self, block: int) -> tuple[pa.Table, pa.Table]:
        rng = np.random.default_rng([self.seed, 2, block])
        drawn = self._pairs.draw(rng, BLOCK_ROWS)
        chance = probability(drawn.logit)
        click, buy = (rng.random(chance.shape, dtype=np.float32) < chance).view(np.int8)
        log = self._pairs.columns(drawn) | {"click": click, "buy": revealed(buy, click)}
        truth = {
            "true_click": chance[0],
            "true_buy_given_click": chance[1],
            "true_buy": chance[0] * chance[1],
            "logit_click": drawn.logit[0],
            "logit_buy": drawn.logit[1],
            "drawn_click": click,
            "drawn_buy": buy,
            "ugly_picture": self._ugly.view(np.int8).take(drawn.item),
        }
        return pa.table(log), pa.table(truth)
