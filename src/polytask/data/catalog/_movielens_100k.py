"""MovieLens-100k: ratings, and what is told by them."""

import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import final

import pyarrow as pa
import pyarrow.compute as pc

from polytask.data.archives import unpack
from polytask.data.catalog._base import Dataset, Declared, Parts, binary, categorical, multi_valued, numeric, regression
from polytask.data.catalog._sources import Source
from polytask.data.catalog._tables import cut, to_numbers
from polytask.errors import ConfigError, DataError, message

_GENRES = (
    *("unknown", "Action", "Adventure", "Animation", "Children", "Comedy", "Crime", "Documentary", "Drama", "Fantasy"),
    *("Film-Noir", "Horror", "Musical", "Mystery", "Romance", "Sci-Fi", "Thriller", "War", "Western"),
)
_RATING = ("user_id", "item_id", "rating", "timestamp")
_USER = ("user_id", "age", "gender", "occupation", "zip_code")
_ITEM = ("item_id", "title", "released", "video_released", "address", *_GENRES)
_MAX_UNPACKED = 1 << 26


@final
@dataclass(frozen=True, kw_only=True)
class MovieLens100k(Dataset):
    """MovieLens-100k: 100,000 ratings of 1,682 films by 943 people; rating (1 to 5) and like (4 or more).

    Args:
        fold: Which of the five official splits, 1 to 5.

    Raises:
        ConfigError: If there is no such split.
    """

    fold: int = 1

    title = "MovieLens-100k: ratings of films"
    homepage = "https://grouplens.org/datasets/movielens/100k/"
    folder = "movielens-100k"
    licence = "research use; no redistribution without permission; see the README of the archive"
    citation = "Harper and Konstan, The MovieLens Datasets: History and Context, ACM TiiS 5(4), 2015."
    split = "One of the five official 80/20 splits; an eighth of its training rows is validation, by a fixed seed."
    size = "70,000 train, 10,000 valid, 20,000 test"
    traps = ("Official splits are random, not in time: the future of a user is in the training rows.",)

    def __post_init__(self) -> None:
        if not 1 <= self.fold <= 5:
            raise ConfigError(message("MovieLens-100k has the splits 1 to 5.", received=self.fold))

    @property
    def sources(self) -> tuple[Source, ...]:
        """One archive."""
        checksum = "50d2a982c66986937beb9ffb3aa76efe955bf3d5c6b761f4e3a7cd717c6a3229"
        return (Source("ml-100k.zip", checksum, 4_924_029, ("https://files.grouplens.org/datasets/movielens/ml-100k.zip",)),)

    @property
    def tasks(self) -> tuple[Declared, ...]:
        """Like is the rating cut at 4."""
        return regression("rating"), binary("like")

    @property
    def features(self) -> tuple[Declared, ...]:
        """Who and what."""
        return (
            *categorical("user_id", "gender", "occupation", "zip_code", "item_id"),
            *numeric("age", "year"),
            multi_valued("genres"),
        )

    def parts(self, files: Mapping[str, Path]) -> Parts:
        """Rows in the order of the split's files."""
        with tempfile.TemporaryDirectory() as scratch:
            unpack(files["ml-100k.zip"], Path(scratch), max_bytes=_MAX_UNPACKED)
            folder = Path(scratch) / "ml-100k"
            people, films = _people(folder / "u.user"), _films(folder / "u.item")
            rest, test = (_rated(folder / f"u{self.fold}.{end}", people, films) for end in ("base", "test"))
        train, valid = cut(rest.num_rows, (0.875, 0.125), seed=0)
        return {"train": [rest.take(train)], "valid": [rest.take(valid)], "test": [test]}


def _rated(path: Path, people: pa.Table, films: pa.Table) -> pa.Table:
    table = to_numbers(_lines(path, _RATING, "\t"), ("rating", "timestamp"), pa.int64())
    table = table.append_column("like", pc.cast(pc.greater_equal(table["rating"], 4), pa.int8()))
    for other, key in ((people, "user_id"), (films, "item_id")):
        places = pc.index_in(table[key], other[key].combine_chunks())
        for name in other.column_names:
            if name != key:
                table = table.append_column(name, other[name].take(places))
    return table


def _people(path: Path) -> pa.Table:
    return to_numbers(_lines(path, _USER, "|"), ("age",), pa.int16())


def _films(path: Path) -> pa.Table:
    table = _lines(path, _ITEM, "|")
    released = table["released"].to_pylist()
    flags = zip(*(table[name].to_pylist() for name in _GENRES), strict=True)
    genres = [[name for name, is_so in zip(_GENRES, row, strict=True) if is_so == "1"] for row in flags]
    years = [int(date[-4:]) if date else None for date in released]
    return pa.table({"item_id": table["item_id"], "year": pa.array(years, pa.int16()), "genres": genres})


def _lines(path: Path, names: tuple[str, ...], separator: str) -> pa.Table:
    """The files are Latin-1, unquoted, and the titles hold commas and quotes: split by hand."""
    rows = [line.split(separator) for line in path.read_text(encoding="latin-1").splitlines() if line]
    for number, row in enumerate(rows, start=1):
        if len(row) != len(names):
            raise DataError(message(f"{path.name}, line {number} must have {len(names)} values.", received=len(row)))
    return pa.table({name: pa.array(values, pa.string()) for name, values in zip(names, zip(*rows, strict=True), strict=True)})
