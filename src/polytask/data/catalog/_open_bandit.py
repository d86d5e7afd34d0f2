"""Open Bandit, the small size of the campaign 'men': position, propensity, click under two policies."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import final

import numpy as np
import pyarrow as pa

from polytask.data.catalog._base import Dataset, Declared, Parts, binary, categorical, numeric
from polytask.data.catalog._sources import Source
from polytask.data.catalog._tables import read_text, to_numbers

_REPOSITORY = "https://raw.githubusercontent.com/st-tech/zr-obp/8cbd5fa4558b7ad2ba4781546d6604e4cc3e07c4/obd"
_NUM_ITEMS = 34
_USER = tuple(f"user_feature_{index}" for index in range(4))
_AFFINITY = tuple(f"user-item_affinity_{item}" for item in range(_NUM_ITEMS))
_LOG = ("row", "timestamp", "item_id", "position", "click", "propensity_score", *_USER, *_AFFINITY)
_ITEM = ("row", "item_id", "item_feature_0", "item_feature_1", "item_feature_2", "item_feature_3")


@final
@dataclass(frozen=True, kw_only=True)
class OpenBandit(Dataset):
    """Open Bandit (men, small): clicks on fashion items at three places; learn on Thompson sampling, judge on random."""

    title = "Open Bandit Dataset (ZOZOTOWN), campaign 'men', small size: position, propensity and click"
    homepage = "https://research.zozo.com/data.html"
    folder = "open-bandit-men"
    licence = "CC BY 4.0"
    citation = "Saito, Aihara, Matsutani and Narita, Open Bandit Dataset and Pipeline, NeurIPS Datasets and Benchmarks 2021."
    split = "Train, valid: the log of Bernoulli Thompson sampling, valid its last fifth in time; test: the uniformly random log."
    size = "8,000 train, 2,000 valid, 10,000 test"
    traps = (
        "46 and 69 clicks in all: for checks of positions and weighting, not for ranking models.",
        "item_feature_1..3 are hashed differently in the two logs and left out; item_feature_0 agrees.",
        "Numbers of past clicks are one column an item; affinity is the one of the item shown.",
    )

    @property
    def sources(self) -> tuple[Source, ...]:
        """Two logs and their items."""
        return (
            _source("bts_men.csv", "db6d1f7ed2d591ba521533e45286d4c1fba7fe57a8ad2e80342210335f43c527", 3_240_432),
            _source("random_men.csv", "ede6d08c6877f99cd3770f7d09e26c738e6aa6de4445ccccfb1356ba5d06b1eb", 3_336_811),
            _source("bts_item_context_men.csv", "3b411ed6b0471316321a6b93f4f756bb25888eac6218cd71d0b603d41d85732d", 4_287),
            _source("random_item_context_men.csv", "6d855c2b7e917d0448d71bbe62c023147495882c0fdc8c41e86fef86abf9fe09", 4_287),
        )

    @property
    def tasks(self) -> tuple[Declared, ...]:
        """One: what a click model needs beside it are position and propensity."""
        return (binary("click"),)

    @property
    def features(self) -> tuple[Declared, ...]:
        """User, item, place; the propensity is no input."""
        return *categorical("item_id", "position", *_USER), *numeric("item_feature_0", "affinity")

    def parts(self, files: Mapping[str, Path]) -> Parts:
        """Rows in time."""
        learned, random = (_read(files, policy) for policy in ("bts", "random"))
        first = learned.num_rows * 4 // 5
        return {"train": [learned.slice(0, first)], "valid": [learned.slice(first)], "test": [random]}


def _source(name: str, sha256: str, size: int) -> Source:
    policy, kind = name.split("_", 1)
    remote = "item_context.csv" if "context" in kind else kind
    return Source(name, sha256, size, (f"{_REPOSITORY}/{policy}/men/{remote}",))


def _read(files: Mapping[str, Path], policy: str) -> pa.Table:
    log = read_text(files[f"{policy}_men.csv"], _LOG, skip=1)
    log = to_numbers(log, ("item_id", "position", "click"), pa.int8())
    log = to_numbers(log, ("propensity_score", *_AFFINITY), pa.float64())
    items = to_numbers(read_text(files[f"{policy}_item_context_men.csv"], _ITEM, skip=1), ("item_id",), pa.int8())
    items = to_numbers(items, ("item_feature_0",), pa.float64()).sort_by("item_id")
    shown = log["item_id"].to_numpy()
    past = np.stack([log[name].to_numpy() for name in _AFFINITY], axis=1)
    log = log.drop_columns(["row", *_AFFINITY])
    log = log.append_column("item_feature_0", items["item_feature_0"].take(pa.array(shown)))
    return log.append_column("affinity", pa.array(past[np.arange(len(shown)), shown])).sort_by("timestamp")
