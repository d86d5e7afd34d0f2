"""AliExpress search log, in the columns that public multi-task code uses."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import final

import numpy as np
import pyarrow as pa

from polytask.data.catalog._base import Dataset, Declared, Parts, binary, categorical, numeric
from polytask.data.catalog._sources import Source
from polytask.data.catalog._tables import cut, read_text, to_numbers
from polytask.errors import ConfigError, message

_CATEGORIES = tuple(f"categorical_{index}" for index in range(1, 17))
_NUMBERS = tuple(f"numerical_{index}" for index in range(1, 64))
_COLUMNS = ("search_id", *_CATEGORIES, *_NUMBERS, "click", "conversion")
_REPOSITORY = "https://raw.githubusercontent.com/datawhalechina/torch-rechub/5a73b2eebc3a670dc64c54971cc06a78ddd55394"
_COUNTRIES = ("sample", "ES", "FR", "NL", "US")
_MAX_BYTES = 1 << 36


@final
@dataclass(frozen=True, kw_only=True)
class AliExpress(Dataset):
    """AliExpress search log: click, and conversion given click, on exposures of search results.

    Args:
        country: "sample" (120 rows, for checks of the format), or "ES", "FR", "NL", "US": then `train.csv` and `test.csv`
            of that country in a folder AliExpress_ES and so on, fetched by hand.

    Raises:
        ConfigError: If there is no such country.
    """

    country: str = "sample"

    title = "AliExpress search log: click and conversion"
    homepage = "https://tianchi.aliyun.com/dataset/74690"
    licence = "Tianchi terms: non-commercial research"
    citation = "Li et al., Improving Multi-Scenario Learning to Rank in E-commerce by Exploiting Task Relationships, 2020."
    split = "Official test file; a tenth of the searches of the training file is validation, by a fixed seed."
    size = "sample: 100 train and valid, 20 test; a country: 1.6 to 27 million"
    traps = (
        "Rows of one search belong together: validation takes whole searches.",
        "In the sample positives are enriched: rates mean nothing.",
        "No checksum of the countries' files is published; theirs are not checked.",
    )
    folder = "aliexpress-sample"

    def __post_init__(self) -> None:
        if self.country not in _COUNTRIES:
            raise ConfigError(message(f"AliExpress is here for {', '.join(_COUNTRIES)}.", received=repr(self.country)))

    @property
    def sources(self) -> tuple[Source, ...]:
        """Training and test file."""
        if self.country != "sample":
            return tuple(Source(f"AliExpress_{self.country}/{part}.csv", None, _MAX_BYTES) for part in ("train", "test"))
        train = "9a602d2bd6012b23898437f60977135b65e75c3414bf19cac0d70408b12035ef"
        test = "c264673dc08e68d1c6153b48c9039a3ea4d3ff3106b071550db34e311e25d529"
        return _sample("train", train, 46_177), _sample("test", test, 9_399)

    @property
    def tasks(self) -> tuple[Declared, ...]:
        """The funnel."""
        return binary("click"), binary("conversion", given="click")

    @property
    def features(self) -> tuple[Declared, ...]:
        """16 categories and 63 numbers, anonymous."""
        return *categorical(*_CATEGORIES), *numeric(*_NUMBERS)

    def parts(self, files: Mapping[str, Path]) -> Parts:
        """Rows in the order of their file."""
        train, test = (source.name for source in self.sources)
        rest = _read(files[train])
        searches, search = np.unique(rest["search_id"].to_numpy(), return_inverse=True)
        held = np.isin(search, cut(len(searches), (0.9, 0.1), seed=0)[1])
        return {"train": [rest.filter(pa.array(~held))], "valid": [rest.filter(pa.array(held))], "test": [_read(files[test])]}


def _sample(part: str, sha256: str, size: int) -> Source:
    name = f"aliexpress_{part}_sample.csv"
    return Source(name, sha256, size, (f"{_REPOSITORY}/examples/ranking/data/aliexpress/{name}",))


def _read(path: Path) -> pa.Table:
    table = read_text(path, _COLUMNS, skip=1)
    return to_numbers(to_numbers(table, _NUMBERS, pa.float32()), ("click", "conversion"), pa.int8())
