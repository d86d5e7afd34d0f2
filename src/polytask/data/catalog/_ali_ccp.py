"""Ali-CCP: clicks and purchases on Taobao, in the four forms it is passed around in."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import final

import pyarrow as pa

from polytask.data.catalog._ali_ccp_raw import LISTS, SINGLES, joined, pairs
from polytask.data.catalog._base import Dataset, Declared, Parts, binary, categorical, multi_valued, numeric
from polytask.data.catalog._sources import Source
from polytask.data.catalog._tables import cut, read_text, to_numbers
from polytask.errors import ConfigError, message

_RECHUB = "https://raw.githubusercontent.com/datawhalechina/torch-rechub/5a73b2eebc3a670dc64c54971cc06a78ddd55394"
_PADDLE = "https://raw.githubusercontent.com/PaddlePaddle/PaddleRec/656326adf3c4117c11ec0eff5e8f61acd8191c2a/models/multitask"
_HISTORY = ("109_14", "110_14", "127_14", "150_14")
_RECHUB_CATEGORIES = (*SINGLES[:12], "210", "216", "508", "509", "702", "853", "301", *_HISTORY)
_RECHUB_NUMBERS = tuple(f"D{name}" for name in (*_HISTORY, "508", "509", "702", "853"))
_AITM = (*SINGLES[:12], "216", "508", "509", "702", "853", "301")
_FORMS = ("rechub", "aitm", "esmm", "raw")
_MAX_BYTES = 1 << 35


@final
@dataclass(frozen=True, kw_only=True)
class AliCcp(Dataset):
    """Ali-CCP: click, and purchase given click, on 85 million exposures of Taobao; the data of ESMM.

    Fields keep their official numbers as names: 101 user, 121-129 profile, 205 item, 206 category, 207 shop, 210 intention,
    216 brand, 301 scene, 508 509 702 853 combinations, `*_14` past behaviour.
    In the forms "raw" and "esmm" intention, combinations and past behaviour are multi-valued and weighted.

    Args:
        form: "raw" reads the official skeleton and common-feature files (fetched by hand; some 38 GB as text) as a stream.
            "rechub", "aitm" and "esmm" are public samples of 10 to 200 rows in the forms that torch-rechub and PaddleRec
            read: checks of formats, nothing to learn from.

    Raises:
        ConfigError: If there is no such form.
    """

    form: str = "rechub"

    title = "Ali-CCP: exposure -> click -> purchase on Taobao"
    homepage = "https://tianchi.aliyun.com/dataset/408"
    folder = "ali-ccp-sample"
    licence = "Tianchi terms: non-commercial research"
    citation = "Ma et al., Entire Space Multi-Task Model, SIGIR 2018."
    split = "Official: the first half in time trains, the rest tests; raw: a hundredth of the training users are validation."
    size = "raw: 42.3 million train and valid, 43.0 million test; samples: 10 to 200"
    traps = (
        "Public scripts cut vocabularies and rows in different ways: their scores are not comparable.",
        "No checksum of the raw files is published; theirs are not checked.",
    )

    def __post_init__(self) -> None:
        if self.form not in _FORMS:
            raise ConfigError(message(f"Ali-CCP comes in the forms {', '.join(_FORMS)}.", received=repr(self.form)))

    @property
    def sources(self) -> tuple[Source, ...]:
        """The files of the form."""
        return _SOURCES[self.form]

    @property
    def tasks(self) -> tuple[Declared, ...]:
        """The funnel."""
        return binary("click"), binary("purchase", given="click")

    @property
    def features(self) -> tuple[Declared, ...]:
        """By form: the samples of torch-rechub and AITM hold single values only."""
        if self.form == "rechub":
            return *categorical(*_RECHUB_CATEGORIES), *numeric(*_RECHUB_NUMBERS)
        if self.form == "aitm":
            return categorical(*_AITM)
        lists = tuple(multi_valued(name, weights=f"{name}_weight") for name in LISTS)
        return *categorical(*SINGLES), *lists

    def parts(self, files: Mapping[str, Path]) -> Parts:
        """Rows in the order of their file."""
        return {"rechub": _rechub, "aitm": _aitm, "esmm": _esmm, "raw": _raw}[self.form](files)


def _rechub(files: Mapping[str, Path]) -> Parts:
    names = {"train": "train", "valid": "val", "test": "test"}
    columns = ("click", "purchase", *_RECHUB_CATEGORIES, *_RECHUB_NUMBERS)
    tables = {part: read_text(files[f"ali_ccp_{name}_sample.csv"], columns, skip=1) for part, name in names.items()}
    return {part: [_labelled(to_numbers(table, _RECHUB_NUMBERS, pa.float32()))] for part, table in tables.items()}


def _aitm(files: Mapping[str, Path]) -> Parts:
    """The training sample has a line of names, the test sample has none."""
    columns = ("click", "purchase", *_AITM)
    rest = _labelled(read_text(files["aitm_train_sample.csv"], columns, skip=1))
    train, valid = cut(rest.num_rows, (0.8, 0.2), seed=0)
    test = _labelled(read_text(files["aitm_test_sample.csv"], columns))
    return {"train": [rest.take(train)], "valid": [rest.take(valid)], "test": [test]}


def _esmm(files: Mapping[str, Path]) -> Parts:
    rows = pa.concat_tables(pairs(files["esmm_small.txt"]))
    train, valid, test = cut(rows.num_rows, (0.6, 0.2, 0.2), seed=0)
    return {"train": [rows.take(train)], "valid": [rows.take(valid)], "test": [rows.take(test)]}


def _raw(files: Mapping[str, Path]) -> Parts:
    def part(name: str, *, valid: bool | None) -> Iterator[pa.Table]:
        return joined(files[f"sample_skeleton_{name}.csv"], files[f"common_features_{name}.csv"], valid=valid)

    return {"train": part("train", valid=False), "valid": part("train", valid=True), "test": part("test", valid=None)}


def _labelled(table: pa.Table) -> pa.Table:
    return to_numbers(table, ("click", "purchase"), pa.int8())


def _sample(root: str, name: str, size: int, sha256: str, remote: str = "") -> Source:
    return Source(name, sha256, size, (f"{root}/{remote or name}",))


_EXAMPLES = f"{_RECHUB}/examples/ranking/data/ali-ccp"
_SOURCES = {
    "rechub": (
        _sample(
            _EXAMPLES, "ali_ccp_train_sample.csv", 10_450, "1c1d125bcdfca70c8f5ed24f6221acadab3e19b70e0b06b3eb3adb2af7a0f9b5"
        ),
        _sample(_EXAMPLES, "ali_ccp_val_sample.csv", 5_396, "1236e1504b76bf7ceb48dbe3d999ae8b49f61fcda2d684578320fd9fc7821104"),
        _sample(_EXAMPLES, "ali_ccp_test_sample.csv", 5_432, "9764a9b8e53b25f85c00e08a89f65ecfadab100cb0834161bd7ef671b7702a09"),
    ),
    "aitm": (
        _sample(
            f"{_PADDLE}/aitm/data/sample_data",
            "aitm_train_sample.csv",
            3_244,
            "9c35217881718d4633c99093c66162400f5aaf25e2c8cc3d97d1a1e9692247a7",
            "train/train.csv",
        ),
        _sample(
            f"{_PADDLE}/aitm/data/sample_data",
            "aitm_test_sample.csv",
            3_241,
            "f7be77e45a4a13d3b9714ba8a456ca6dd9ba048a03c2c45d10d07fe86ecc3c2e",
            "test/test.csv",
        ),
    ),
    "esmm": (
        _sample(
            f"{_PADDLE}/esmm/data/train",
            "esmm_small.txt",
            95_255,
            "71ff8163daf53d67b3d5a5f62cef739af285d336efc026578d949fa732597bb8",
            "small.txt",
        ),
    ),
    "raw": tuple(
        Source(f"{kind}_{part}.csv", None, _MAX_BYTES)
        for kind in ("sample_skeleton", "common_features")
        for part in ("train", "test")
    ),
}
