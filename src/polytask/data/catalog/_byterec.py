"""ByteRec: short videos, were they finished and liked."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import final

import numpy as np
import pyarrow as pa

from polytask.data.catalog._base import Dataset, Declared, Parts, binary, categorical, numeric
from polytask.data.catalog._sources import Source
from polytask.data.catalog._tables import read_text, to_numbers
from polytask.errors import ConfigError, message

_IDS = ("uid", "user_city", "item_id", "author_id", "item_city", "channel")
_COLUMNS = (*_IDS, "finish", "like", "music_id", "device", "time", "duration_time")
_SHARES = (0.8, 0.1)
_MAX_BYTES = 1 << 34
_MIRROR = (
    "https://raw.githubusercontent.com/shenweichen/DeepCTR-Torch/"
    "f6854257b1fc29caab655ce72c6b5528b7432574/examples/byterec_sample.txt"
)


@final
@dataclass(frozen=True, kw_only=True)
class ByteRec(Dataset):
    """ICME 2019 short video challenge: was a video finished, and was it liked.

    Args:
        form: "sample" is 200 public rows: a check of the format, nothing to learn from. "track1" and "track2" read
            `final_track1_train.txt` or `final_track2_train.txt`, fetched by hand, as a whole into memory.

    Raises:
        ConfigError: If there is no such form.
    """

    form: str = "sample"

    title = "ByteRec (ICME 2019 short video understanding): finish and like"
    homepage = "https://www.biendata.xyz/competition/icmechallenge2019/"
    folder = "byterec-sample"
    licence = "challenge terms; the sample is part of a repository under Apache-2.0"
    citation = "ByteDance, Short Video Understanding Challenge, ICME 2019."
    split = "None; in time: the first 80 % of the rows train, the next 10 % are validation, the last test."
    size = "sample: 200"
    traps = (
        "An id of -1 is unknown, a category of its own.",
        "Time is no input: every later row has one that training has not seen.",
        "No checksum of the tracks' files is published; theirs are not checked.",
    )

    def __post_init__(self) -> None:
        if self.form not in ("sample", "track1", "track2"):
            raise ConfigError(message("ByteRec comes in the forms sample, track1, track2.", received=repr(self.form)))

    @property
    def sources(self) -> tuple[Source, ...]:
        """One table."""
        if self.form != "sample":
            return (Source(f"final_{self.form}_train.txt", None, _MAX_BYTES),)
        checksum = "9920dca54adb001029b8e0eaf2cdb733ba255eea9d6598f743dc8d93a7d95e66"
        return (Source("byterec_sample.txt", checksum, 11_048, (_MIRROR,)),)

    @property
    def tasks(self) -> tuple[Declared, ...]:
        """Neither is given the other: a video may be liked before its end."""
        return binary("finish"), binary("like")

    @property
    def features(self) -> tuple[Declared, ...]:
        """Who, what, where; the video's length."""
        return *categorical(*_IDS, "music_id", "device"), *numeric("duration_time")

    def parts(self, files: Mapping[str, Path]) -> Parts:
        """Rows in the order of time."""
        table = read_text(files[self.sources[0].name], _COLUMNS, separator="\t")
        table = to_numbers(to_numbers(table, ("finish", "like"), pa.int8()), ("time", "duration_time"), pa.int64())
        order = np.argsort(table["time"].to_numpy(), kind="stable")
        edges = np.round(np.cumsum(_SHARES) * len(order)).astype(int)
        return {part: [table.take(rows)] for part, rows in zip(("train", "valid", "test"), np.split(order, edges), strict=True)}
