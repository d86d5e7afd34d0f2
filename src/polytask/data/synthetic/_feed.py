"""A feed whose every probability is known: users look at positions, click, buy, watch, like."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import final

import numpy as np
import pyarrow as pa
from jaxtyping import Float

from polytask.data.synthetic._base import Simulator, require, require_named
from polytask.data.synthetic._impressions import BLOCK_SESSIONS, Sessions, World, examination_curve
from polytask.data.synthetic._outcomes import OUTCOMES, STEEPNESS, WATCH_SPREAD, Scales, mixing_matrix, noisy, offset_for
from polytask.data.synthetic._population import DEVICES, draw_items, draw_pairs, draw_users
from polytask.data.synthetic._shown import Shown, observed_table, truth_table

_CORRELATION = 0.6
_RATES = {"click": 0.15, "buy": 0.25, "like": 0.08, "watch": 30.0}
_EXAMINATION = {"phone": 0.9, "tablet": 0.6, "desktop": 0.4}
_CALIBRATION_BLOCKS = 32
"""16,384 sessions fix means, scales and correlations; their sampling error on a correlation is about .005."""


@final
@dataclass(frozen=True, kw_only=True)
class Feed(Simulator):
    """Simulated log of a feed: sessions of shown items, with click, purchase, watch time and like.

    `click ~ examined · Bern(σ(a))`, `examined ~ Bern(position^-decay[device])`, `buy | click ~ Bern(σ(b))`,
    `watch | click ~ lognormal`, `like ~ examined · Bern(σ(l))`. The logits a, b, l and the log mean of watch time are
    functions of visible columns: what user and item ids carry, attributes, segment x category, weighted history x
    category, device x hour. So the true probabilities are the best that any model of these columns can reach.

    Use it to test, to learn, and wherever a claim needs a known answer (correlated or opposed tasks, position bias,
    hidden purchases). Not to rank methods by a margin: real logs are dirtier. A million rows take about three
    seconds of one core; memory does not grow with the number of rows.

    Source: entire-space and position-bias simulations in the spirit of Ma et al. 2018 (ESMM) and Zhao et al. 2019.

    Args:
        seed: Everything follows from it, row by row, however the rows are cut.
        num_users: Users; a few are far more active than the rest.
        num_items: Items.
        num_categories: Categories of items.
        num_positions: Items shown in a session.
        item_skew: Exponent of the popularity of items (Zipf); 0 makes all equally popular.
        correlation: Of each other outcome's logit with the click logit, in [-1, 1]; one number, or by outcome.
        rates: Mean `click`, `buy` given click, `like`; mean seconds of `watch` given click. Those not given keep theirs.
        examination: Exponent by device of `position ** -decay`, the probability that a position is looked at; 0 for no bias.
        ranked: How much the logging policy orders a session by true relevance against chance (0 is a random order).
        missing: Share of missing labels by outcome. Some users hide far more than others; given the user, it is by chance.
        noise: Standard deviation of a shock on every logit that no column shows.

    Raises:
        ConfigError: On an unknown outcome or device, or a number outside its range.

    Example:
        >>> feed = Feed(seed=1, num_users=50, num_items=40)
        >>> feed.table(0, 20).equals(feed.table(0, 30).slice(0, 20))
        True
    """

    seed: int = 0
    num_users: int = 1_000
    num_items: int = 300
    num_categories: int = 12
    num_positions: int = 10
    item_skew: float = 0.8
    correlation: float | Mapping[str, float] = _CORRELATION
    rates: Mapping[str, float] = field(default_factory=dict)
    examination: Mapping[str, float] = field(default_factory=dict)
    ranked: float = 0.5
    missing: Mapping[str, float] = field(default_factory=dict)
    noise: float = 0.0

    def __post_init__(self) -> None:
        for name in ("num_users", "num_items", "num_categories", "num_positions"):
            require(getattr(self, name) >= 2, f"{name!r} of the feed must be at least 2.", getattr(self, name))
        require(self.noise >= 0, "'noise' must be at least 0.", self.noise)
        require(self.ranked >= 0, "'ranked' must be at least 0.", self.ranked)
        require_named("correlation", self._correlations, OUTCOMES[1:], (-1.0, 1.0))
        require_named("rates", {**self.rates}, OUTCOMES, (0.0, math.inf))
        require_named("rates", {k: v for k, v in self.rates.items() if k != "watch"}, OUTCOMES, (0.0, 1.0))
        require_named("examination", {**self.examination}, DEVICES, (0.0, math.inf))
        require_named("missing", {**self.missing}, OUTCOMES, (0.0, 1.0))

    @cached_property
    def examination_curve(self) -> Float[np.ndarray, "d p"]:
        """Probability that each position is looked at, by device (phone, tablet, desktop)."""
        return examination_curve({**_EXAMINATION, **self.examination}, self.num_positions)

    @property
    def block_rows(self) -> int:
        """Rows of the sessions that are drawn together."""
        return BLOCK_SESSIONS * self.num_positions

    @property
    def _correlations(self) -> dict[str, float]:
        if isinstance(self.correlation, Mapping):
            return dict.fromkeys(OUTCOMES[1:], _CORRELATION) | dict(self.correlation)
        return dict.fromkeys(OUTCOMES[1:], float(self.correlation))

    @cached_property
    def _world(self) -> World:
        rng = np.random.default_rng([self.seed, 0])
        return World(
            draw_users(self.num_users, rng),
            draw_items(self.num_items, self.num_categories, self.item_skew, rng),
            draw_pairs(self.num_categories, rng),
            self.num_positions,
        )

    @cached_property
    def _scales(self) -> Scales:
        """Means, mixing and offsets measured on sessions of their own."""
        rng = np.random.default_rng([self.seed, 1])
        blocks = [self._world.draw(rng, block * BLOCK_SESSIONS) for block in range(_CALIBRATION_BLOCKS)]
        factors = np.concatenate([self._world.factors(block) for block in blocks])
        flat = factors.reshape(-1, factors.shape[-1])
        mixing = mixing_matrix(flat, self._correlations)
        unplaced = Scales(flat.mean(0), mixing, {})
        scores = unplaced.scores(factors)
        order = self._order(scores[..., 0], rng)
        scores = np.take_along_axis(scores, order[..., None], axis=1)
        examined = self.examination_curve[np.concatenate([block.device for block in blocks])]
        return Scales(unplaced.centre, mixing, self._offsets(scores, examined))

    def _offsets(self, scores: Float[np.ndarray, "n p k"], examined: Float[np.ndarray, "n p"]) -> dict[str, float]:
        rates = {**_RATES, **self.rates}
        part = {name: STEEPNESS[name] * scores[..., index].ravel() for index, name in enumerate(OUTCOMES)}
        seen = examined.ravel()
        for name in ("click", "like"):
            limit = float(seen.mean())
            expected = f"The rate of {name!r} must be below the share of items looked at, {limit:.3f}."
            require(rates[name] < limit, expected, rates[name])
        offset = {name: offset_for(rates[name], part[name], seen, self.noise) for name in ("click", "like")}
        clicked = seen * noisy(part["click"] + offset["click"], self.noise)
        clicked /= clicked.mean()
        offset["buy"] = offset_for(rates["buy"], part["buy"], clicked, self.noise)
        shape = np.exp(part["watch"] + WATCH_SPREAD**2 / 2)
        offset["watch"] = math.log(rates["watch"] / np.mean(clicked * shape))
        return offset

    @cached_property
    def _hiding(self) -> dict[str, Float[np.ndarray, " u"]]:
        """Probability by user that a label is missing; its mean over impressions is the asked share."""
        users = self._world.users
        ones = users.popularity * len(users.popularity)
        asked = {name: share for name, share in self.missing.items() if share > 0}
        offset = {name: offset_for(share, users.reticence, ones, 0.0) for name, share in asked.items()}
        return {name: noisy(users.reticence + value, 0.0) for name, value in offset.items()}

    def _order(self, relevance: Float[np.ndarray, "n p"], rng: np.random.Generator) -> np.ndarray:
        """What is shown first: relevance as far as the policy knows it."""
        return np.argsort(-(self.ranked * relevance + rng.standard_normal(relevance.shape)), axis=1, kind="stable")

    def _block(self, block: int) -> tuple[pa.Table, pa.Table]:
        rng = np.random.default_rng([self.seed, 2, block])
        sessions = self._world.draw(rng, block * BLOCK_SESSIONS)
        scores = self._scales.scores(self._world.factors(sessions))
        order = self._order(scores[..., 0], rng)
        shown = self._shown(sessions, np.take_along_axis(sessions.item, order, axis=1), block)
        scores = np.take_along_axis(scores, order[..., None], axis=1).reshape(-1, len(OUTCOMES))
        truth = truth_table(scores, shown, self._scales, self.noise, rng)
        hidden = {name: rng.random(len(shown.user)) < rate[shown.user] for name, rate in self._hiding.items()}
        return observed_table(self._world, shown, truth, hidden), truth

    def _shown(self, sessions: Sessions, item: np.ndarray, block: int) -> Shown:
        repeat = np.repeat(np.arange(len(sessions.user)), self.num_positions)
        return Shown(
            session=block * BLOCK_SESSIONS + repeat,
            sessions=sessions,
            row=repeat,
            item=item.ravel(),
            position=np.tile(np.arange(self.num_positions), len(sessions.user)),
            examined=self.examination_curve[sessions.device].ravel(),
        )
