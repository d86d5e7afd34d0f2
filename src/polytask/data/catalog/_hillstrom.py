"""The MineThatData e-mail challenge: a funnel with randomised exposure."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import final

import numpy as np
import pyarrow as pa

from polytask.data.catalog._base import Dataset, Declared, Parts, binary, categorical, numeric, regression
from polytask.data.catalog._sources import Source
from polytask.data.catalog._tables import cut, read_text, to_numbers

_COLUMNS = (
    *("recency", "history_segment", "history", "mens", "womens", "zip_code", "newbie", "channel", "segment"),
    *("visit", "conversion", "spend"),
)
_MIRROR = "https://raw.githubusercontent.com/carlosquintanillaa/Datasets/bd475633095c8a007be32c47ea695abe318197b6/hillstrom.csv"


@final
@dataclass(frozen=True, kw_only=True)
class Hillstrom(Dataset):
    """Hillstrom's e-mail challenge: visit, conversion given visit, spend given conversion; who got which e-mail is random."""

    title = "MineThatData e-mail challenge (Hillstrom): e-mail -> visit -> conversion -> spend, exposure at random"
    homepage = "https://blog.minethatdata.com/2008/03/minethatdata-e-mail-analytics-and-data.html"
    folder = "hillstrom"
    licence = "published for free use in a public challenge; no formal licence"
    citation = "Kevin Hillstrom, The MineThatData E-Mail Analytics And Data Mining Challenge, 2008."
    split = "None; 60/20/20 by a fixed seed, the same shares of each arm and of conversions in every part."
    size = "38,399 train, 12,801 valid, 12,800 test"
    traps = (
        "578 conversions in all: give intervals, not ranks.",
        "history_segment is history in bins; only history is an input.",
    )

    @property
    def sources(self) -> tuple[Source, ...]:
        """One table."""
        checksum = "ff9e59285e9dc3f5fa3e0975419e6631ea5bdccd65d818991473d2367e02979c"
        return (Source("hillstrom.csv", checksum, 3_964_975, (_MIRROR,)),)

    @property
    def tasks(self) -> tuple[Declared, ...]:
        """The funnel."""
        return binary("visit"), binary("conversion", given="visit"), regression("spend", given="conversion")

    @property
    def features(self) -> tuple[Declared, ...]:
        """The customer's past, and the arm (`segment`)."""
        return *numeric("recency", "history"), *categorical("mens", "womens", "zip_code", "newbie", "channel", "segment")

    def parts(self, files: Mapping[str, Path]) -> Parts:
        """Rows in the order of the file."""
        table = read_text(files["hillstrom.csv"], _COLUMNS, skip=1)
        table = to_numbers(table, ("recency", "mens", "womens", "newbie", "visit", "conversion"), pa.int8())
        table = to_numbers(table, ("history", "spend"), pa.float64())
        strata = np.char.add(table["segment"].to_numpy().astype(str), table["conversion"].to_numpy().astype(str))
        rows = cut(table.num_rows, (0.6, 0.2, 0.2), seed=0, strata=strata)
        return {part: [table.take(part_rows)] for part, part_rows in zip(("train", "valid", "test"), rows, strict=True)}
