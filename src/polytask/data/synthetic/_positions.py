"""A ranked list whose examination and relevance are known: clicks are their product."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import NamedTuple, final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from jaxtyping import Bool, Float, Int

from polytask.data.synthetic._base import Simulator, require, require_named
from polytask.data.synthetic._impressions import examination_curve
from polytask.data.synthetic._outcomes import noisy, offset_for
from polytask.data.synthetic._population import DEVICES
from polytask.errors import ConfigError, message

_BLOCK_SESSIONS = 2048
_EXAMINATION = {"phone": 1.0, "tablet": 0.7, "desktop": 0.5}
_DEVICE_SHARE = (0.6, 0.1, 0.3)
_NUM_CATEGORIES = 8
_NUMERIC = ("match", "freshness", "price", "fame")


class Ranked(NamedTuple):
    """n sessions of p shown candidates, first position first."""

    pair: Int[np.ndarray, "n p"]
    device: Int[np.ndarray, " n"]
    randomised: Bool[np.ndarray, " n"]
    click: Bool[np.ndarray, "n p"]
    first_session: int


@final
@dataclass(frozen=True, kw_only=True)
class Positions(Simulator):
    """Simulated log of ranked lists: who asks for a query sees some of its candidates, ranked, and looks from the top down.

    `click ~ Bern(examination[device, position] · relevance[query, item])`, with `examination = position ** -decay[device]` and
    relevance a function of visible columns. The logging policy ranks by an earlier relevance, wrong in ways that the columns
    show too: so what is shown on top is clicked for being there, and a model of clicks believes the earlier policy.

    Use it to test what a remedy for position bias gives back: the curve, the order by relevance, and by `closed_loop` what
    becomes of a ranking that is trained on its own logs. Not for cascades (looking on depends on what was seen before) or
    trust in what stands on top: there clicks are no product. Ten million rows take about a second of one core.

    Source: position-based model, Richardson et al. 2007 and Craswell et al. 2008; the comparison is that of Zhao et al. 2019.

    Args:
        seed: Everything follows from it, row by row, however the rows are cut.
        num_queries: Queries; each has candidates of its own.
        num_items: Items.
        pool: Candidates of a query in all; a session is offered `num_candidates` of them.
        num_candidates: Candidates of a session, of which the best `num_positions` are shown.
        num_positions: Items shown.
        rate: Mean relevance of a candidate.
        steepness: Standard deviation of the logit of relevance; with 1.5 an AUC of about .8 is the best that can be had.
        examination: Exponent by device of `position ** -decay`, the probability that a position is looked at; 0 for no bias.
            Those not given keep theirs.
        agreement: Correlation of the earlier relevance with the logit of the true one, in [-1, 1].
        noise: Standard deviation of what the policy adds by chance in every session; the earlier relevance has 1.
        randomised: Share of sessions that are shown in random order; the column `randomised` says which.

    Raises:
        ConfigError: On an unknown device, a number outside its range, or more positions than candidates.

    Example:
        >>> lists = Positions(seed=1, num_queries=20, num_items=40)
        >>> lists.table(0, 20).equals(lists.table(0, 30).slice(0, 20))
        True
    """

    seed: int = 0
    num_queries: int = 300
    num_items: int = 400
    pool: int = 30
    num_candidates: int = 15
    num_positions: int = 10
    rate: float = 0.3
    steepness: float = 1.5
    examination: Mapping[str, float] = field(default_factory=dict)
    agreement: float = 0.3
    noise: float = 0.5
    randomised: float = 0.0

    def __post_init__(self) -> None:
        for name in ("num_queries", "num_items", "num_positions"):
            require(getattr(self, name) >= 2, f"{name!r} must be at least 2.", getattr(self, name))
        if not self.num_positions <= self.num_candidates <= self.pool <= self.num_items:
            received = (self.num_positions, self.num_candidates, self.pool, self.num_items)
            raise ConfigError(message("Needs num_positions <= num_candidates <= pool <= num_items.", received=received))
        require(self.steepness > 0, "'steepness' must be above 0.", self.steepness)
        require(0 < self.rate < 1, "'rate' must lie between 0 and 1.", self.rate)
        require(-1 <= self.agreement <= 1, "'agreement' must lie in [-1, 1].", self.agreement)
        require(self.noise >= 0, "'noise' must be at least 0.", self.noise)
        require(0 <= self.randomised <= 1, "'randomised' must lie in [0, 1].", self.randomised)
        require_named("examination", {**self.examination}, DEVICES, (0.0, np.inf))

    @property
    def block_rows(self) -> int:
        """Rows that are drawn together."""
        return _BLOCK_SESSIONS * self.num_positions

    @cached_property
    def examination_curve(self) -> Float[np.ndarray, "d p"]:
        """Probability that each position is looked at, by device (phone, tablet, desktop)."""
        return examination_curve({**_EXAMINATION, **self.examination}, self.num_positions)

    @property
    def candidates(self) -> pa.Table:
        """Every query with each item of its pool, query by query: what a scorer sees, without position, device and click."""
        return pa.table(self._columns)

    @cached_property
    def relevance(self) -> Float[np.ndarray, "q c"]:
        """True relevance of each candidate, in the order of `candidates`."""
        return noisy(self._logits[0], 0.0)

    @cached_property
    def earlier(self) -> Float[np.ndarray, "q c"]:
        """What the logging policy ranks by, before chance; in the order of `candidates`."""
        return self._logits[1]

    def log(self, scores: Float[np.ndarray, "q c"], rows: int, *, seed: int) -> pa.Table:
        """A log of sessions that were ranked by other scores; nothing is added by chance but the randomised sessions.

        Args:
            scores: Of each candidate, in the order of `candidates`; the highest is shown first.
            rows: Number of rows; the last session may be cut.
            seed: Chooses sessions and clicks, beside the seed of the world.
        """
        rng = np.random.default_rng([self.seed, 3, seed])
        sessions = -(-rows // self.num_positions)
        ranked = self._ranked(rng, sessions, np.asarray(scores, np.float32).ravel(), first_session=0, noise=0.0)
        return self._log(ranked).slice(0, rows)

    @cached_property
    def _columns(self) -> dict[str, np.ndarray]:
        """Columns of each pair of query and item."""
        rng = np.random.default_rng([self.seed, 0])
        item = np.argsort(rng.random((self.num_queries, self.num_items), dtype=np.float32), axis=1)[:, : self.pool].ravel()
        category = rng.integers(_NUM_CATEGORIES, size=self.num_items)
        numeric = rng.standard_normal((len(_NUMERIC), len(item))).astype(np.float32)
        return {
            "query_id": np.repeat(np.arange(self.num_queries, dtype=np.int32), self.pool),
            "item_id": item.astype(np.int32),
            "item_category": category[item].astype(np.int8),
            **dict(zip(_NUMERIC, numeric, strict=True)),
        }

    @cached_property
    def _logits(self) -> tuple[Float[np.ndarray, "q c"], Float[np.ndarray, "q c"]]:
        """Logit of relevance, and the earlier policy's score: standardised, with the asked correlation."""
        rng = np.random.default_rng([self.seed, 1])
        match, freshness, price, fame = (self._columns[name].astype(float) for name in _NUMERIC)
        quality, taste = rng.standard_normal(self.num_items), rng.standard_normal(_NUM_CATEGORIES)
        true = _standard(match + np.sin(1.5 * freshness) + 0.6 * match * price + 0.7 * quality[self._columns["item_id"]])
        other = fame - 0.6 * price + 0.5 * taste[self._columns["item_category"]]
        other = _standard(_standard(other) - np.mean(_standard(other) * true) * true)
        earlier = self.agreement * true + np.sqrt(1 - self.agreement**2) * other
        logit = self.steepness * true
        logit += offset_for(self.rate, logit, np.ones_like(logit), 0.0)
        shape = (self.num_queries, self.pool)
        return logit.reshape(shape), earlier.reshape(shape)

    @cached_property
    def _single(self) -> tuple[Float[np.ndarray, " r"], Float[np.ndarray, " r"]]:
        """Relevance and earlier score of each pair, laid flat, in single precision: what blocks are drawn from."""
        return self.relevance.ravel().astype(np.float32), self.earlier.ravel().astype(np.float32)

    def _block(self, block: int) -> tuple[pa.Table, pa.Table]:
        rng = np.random.default_rng([self.seed, 2, block])
        first = block * _BLOCK_SESSIONS
        ranked = self._ranked(rng, _BLOCK_SESSIONS, self._single[1], first_session=first, noise=self.noise)
        return self._log(ranked), self._truth(ranked)

    def _ranked(
        self,
        rng: np.random.Generator,
        sessions: int,
        scores: Float[np.ndarray, " r"],
        *,
        first_session: int,
        noise: float,
    ) -> Ranked:
        """Sessions with their candidates in the order of the scores."""
        query = rng.integers(self.num_queries, size=sessions, dtype=np.int32)
        device = np.searchsorted(np.cumsum(_DEVICE_SHARE)[:-1], rng.random(sessions), side="right")
        # The pool is in random order, so neighbours in it are as good as a draw, and cost no sort.
        place = rng.integers(self.pool, size=sessions, dtype=np.int32)[:, None] + np.arange(self.num_candidates, dtype=np.int32)
        pair: np.ndarray = query[:, None] * np.int32(self.pool) + place % np.int32(self.pool)
        randomised = rng.random(sessions) < self.randomised
        chance = rng.standard_normal(pair.shape, dtype=np.float32)
        key = np.where(randomised[:, None], chance, np.float32(noise) * chance - scores.take(pair))
        pair = np.take_along_axis(pair, np.argsort(key, axis=1)[:, : self.num_positions], axis=1)
        probability = self._single[0].take(pair) * self.examination_curve.astype(np.float32)[device]
        return Ranked(pair, device, randomised, rng.random(pair.shape, dtype=np.float32) < probability, first_session)

    def _log(self, ranked: Ranked) -> pa.Table:
        """What a model may see."""
        pair, width = ranked.pair.ravel(), self.num_positions
        sessions = np.arange(ranked.first_session, ranked.first_session + len(ranked.device))
        context = {
            "session": np.repeat(sessions, width),
            "device": pc.take(pa.array(DEVICES, pa.string()), pa.array(np.repeat(ranked.device, width))),
            "position": np.tile(np.arange(1, width + 1, dtype=np.int8), len(sessions)),
            "randomised": np.repeat(ranked.randomised.astype(np.int8), width),
        }
        shown = {name: column.take(pair) for name, column in self._columns.items()}
        return pa.table({**context, **shown, "click": ranked.click.ravel().astype(np.int8)})

    def _truth(self, ranked: Ranked) -> pa.Table:
        """Examination, relevance, their product, the logit of relevance and the earlier policy's score."""
        pair = ranked.pair.ravel()
        examination, relevance = self.examination_curve[ranked.device].ravel(), self.relevance.ravel().take(pair)
        return pa.table(
            {
                "true_examination": examination,
                "true_relevance": relevance,
                "true_click": examination * relevance,
                "logit_relevance": self._logits[0].ravel().take(pair),
                "earlier": self.earlier.ravel().take(pair),
            }
        )


def _standard(values: Float[np.ndarray, " r"]) -> Float[np.ndarray, " r"]:
    return np.asarray((values - values.mean()) / values.std())
