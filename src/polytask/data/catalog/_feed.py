"""The simulated feed as a data set: log, truth and a run."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import final

import pyarrow as pa

from polytask.data.catalog._base import Dataset, Declared, Parts, binary, categorical, multi_valued, numeric, regression
from polytask.data.catalog._sources import Source
from polytask.data.synthetic import Feed
from polytask.errors import ConfigError, message

_CHUNK = 65_536
_SHARES = (0.8, 0.1, 0.1)


@final
@dataclass(frozen=True, kw_only=True)
class FeedLog(Dataset):
    """Simulated feed with position bias: click, buy given click, watch given click, like; the truth in files beside.

    Args:
        rows: In all; the last tenth in time is test, the tenth before it validation.
        seed: Everything follows from it.
        correlation: Of the other outcomes' logits with the click logit.
        missing: Share of like labels that are missing.
        noise: Standard deviation of a shock on every logit that no column shows.
    """

    rows: int = 200_000
    seed: int = 0
    correlation: float = 0.6
    missing: float = 0.2
    noise: float = 0.0

    title = "Simulated feed: click, buy, watch, like; position bias; true probabilities known"
    homepage = "polytask.data.synthetic.Feed"
    folder = "feed"
    licence = "generated here: free"
    citation = "none needed"
    split = "In time: 80/10/10."
    size = "any; 200,000 where not given"
    traps = (
        "true_*, logit_* and drawn_* columns stand in truth_*.parquet: they are answers, not inputs.",
        "position is an input here: fine for judging on logs, biased for ranking.",
    )

    def __post_init__(self) -> None:
        if self.rows < 10:
            raise ConfigError(message("A feed with three parts needs at least 10 rows.", received=self.rows))

    @property
    def sources(self) -> tuple[Source, ...]:
        """None: it is generated."""
        return ()

    @property
    def tasks(self) -> tuple[Declared, ...]:
        """What follows an exposure."""
        return binary("click"), binary("buy", given="click"), regression("watch", given="click"), binary("like")

    @property
    def features(self) -> tuple[Declared, ...]:
        """Who, what, where, when, and the past."""
        return (
            *categorical("user_id", "user_gender", "user_city", "item_id", "item_category", "item_brand"),
            *categorical("device", "hour", "position"),
            *numeric("user_age", "user_tenure", "item_price"),
            multi_valued("history", weights="history_weight"),
        )

    @property
    def generator(self) -> Feed:
        """What makes the rows, and scores them."""
        return Feed(seed=self.seed, correlation=self.correlation, missing={"like": self.missing}, noise=self.noise)

    def parts(self, files: Mapping[str, Path]) -> Parts:  # noqa: ARG002 - nothing is read
        """Log and truth of each part, in time."""
        train, valid = (round(self.rows * share) for share in _SHARES[:2])
        edges = {"train": (0, train), "valid": (train, train + valid), "test": (train + valid, self.rows)}
        feed = self.generator
        logs = {part: _pieces(feed.table, *edge) for part, edge in edges.items()}
        return logs | {f"truth_{part}": _pieces(feed.truth, *edge) for part, edge in edges.items()}


def _pieces(make: Callable[[int, int], pa.Table], start: int, stop: int) -> Iterator[pa.Table]:
    for begin in range(start, stop, _CHUNK):
        yield make(begin, min(begin + _CHUNK, stop))
