"""Serve, log, train on the logs, serve: what becomes of a ranking that is trained on what it showed itself."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import pyarrow as pa
from jaxtyping import Float

from polytask.data.synthetic._base import require
from polytask.data.synthetic._positions import Positions

Scorer = Callable[[pa.Table], Float[np.ndarray, " r"]]
"""Gives a score to each row of a table of candidates, which holds neither position nor device nor click."""


class Round(NamedTuple):
    """One round of the loop.

    Args:
        ndcg: Of the new ranking against true relevance, mean over queries (`expected_ndcg`).
        click_rate: Clicks a shown row in the newest log that it was trained on.
        scores: Of each candidate, in the order of `Positions.candidates`.
    """

    ndcg: float
    click_rate: float
    scores: Float[np.ndarray, "q c"]


def closed_loop(
    world: Positions, train: Callable[[pa.Table], Scorer], *, rows: int, rounds: int = 5, kept: int | None = None
) -> list[Round]:
    """Trains on the world's own log, then `rounds` times on the logs so far: of each new ranking one is added.

    Args:
        world: Ranked lists with a known truth. Its share of randomised sessions holds in every log.
        train: From a log to a scorer.
        rows: Rows of each log.
        rounds: Times that a ranking is trained anew.
        kept: Logs that are kept, the newest; all where None. With 1 each round learns from the last ranking's log alone.

    Returns:
        `rounds + 1` rounds; the first is that of the model trained on the log of the world's earlier policy.

    Example:
        >>> world = Positions(num_queries=20, num_items=40)
        >>> def by_match(log: pa.Table) -> Scorer:
        ...     return lambda candidates: candidates["match"].to_numpy()
        >>> [0.5 < found.ndcg < 1 for found in closed_loop(world, by_match, rows=100, rounds=1)]
        [True, True]
    """
    require(rounds >= 0, "'rounds' must be at least 0.", rounds)
    require(kept is None or kept >= 1, "'kept' must be at least 1.", kept)
    found: list[Round] = []
    logs = [world.table(0, rows)]
    for number in range(rounds + 1):
        if found:
            logs = [*logs, world.log(found[-1].scores, rows, seed=number)][-(kept or rounds + 1) :]
        scores = np.asarray(train(pa.concat_tables(logs))(world.candidates), float).reshape(world.relevance.shape)
        ndcg = float(expected_ndcg(scores, world.relevance, world.num_positions).mean())
        found.append(Round(ndcg, float(logs[-1]["click"].to_numpy().mean()), scores))
    return found


def expected_ndcg(scores: Float[np.ndarray, "q c"], relevance: Float[np.ndarray, "q c"], places: int) -> Float[np.ndarray, " q"]:
    """NDCG of each query's ranking with the probability of relevance as gain, `Σ_i r_i / log2(1 + i)` over the best order's.

    Args:
        scores: Of each candidate; the highest comes first, equal ones in the order given.
        relevance: True relevance of each candidate.
        places: How many are counted.

    Example:
        >>> expected_ndcg(np.array([[1.0, 2.0]]), np.array([[0.5, 0.0]]), 2).round(4)
        array([0.6309])
    """
    discount = 1 / np.log2(np.arange(2, places + 2))
    shown = np.take_along_axis(relevance, np.argsort(-scores, axis=1, kind="stable")[:, :places], axis=1)
    best = -np.sort(-relevance, axis=1)[:, :places]
    return np.asarray(shown @ discount / (best @ discount))
