"""Tox21: twelve assays, many labels missing."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import final

import pyarrow as pa
import pyarrow.compute as pc

from polytask.data.archives import open_plain
from polytask.data.catalog._base import Dataset, Declared, Parts, binary, multi_valued
from polytask.data.catalog._sources import Source
from polytask.data.catalog._tables import cut, read_text, to_numbers
from polytask.errors import ConfigError, DataError, message

_ASSAYS = (
    *("NR-AR", "NR-AR-LBD", "NR-AhR", "NR-Aromatase", "NR-ER", "NR-ER-LBD", "NR-PPAR-gamma"),
    *("SR-ARE", "SR-ATAD5", "SR-HSE", "SR-MMP", "SR-p53"),
)
_INPUTS = ("fingerprint", "smiles")
_MIRROR = "https://raw.githubusercontent.com/GLambard/Molecules_Dataset_Collection"
_URLS = (
    "https://deepchemdata.s3-us-west-1.amazonaws.com/datasets/tox21.csv.gz",
    f"{_MIRROR}/beb35cd0b76db5adef6cb1fa55807e4cd309aaed/originals/tox21.csv",
)
_GRAM = 3
"""Characters a gram: short enough to recur, long enough to hold an atom with its bond."""


@final
@dataclass(frozen=True, kw_only=True)
class Tox21(Dataset):
    """Tox21: 7,831 chemicals in twelve toxicity assays, one label in six missing.

    Args:
        inputs: "fingerprint" takes the bits set of a circular fingerprint (radius 2, 1,024 bits; a derived file that is not
            to be downloaded); "smiles" takes the three-letter pieces of the formula and needs no chemistry.

    Raises:
        ConfigError: If there are no such inputs.
    """

    inputs: str = "fingerprint"

    title = "Tox21: twelve toxicity assays with missing labels"
    homepage = "https://moleculenet.org/datasets-1"
    folder = "tox21"
    licence = "public domain (US government data); MoleculeNet redistribution under MIT"
    citation = "Tox21 Data Challenge 2014; Wu et al., MoleculeNet, Chemical Science 9, 2018."
    split = "Random 80/10/10 by a fixed seed, as usual; chemicals with a common scaffold may stand in two parts."
    size = "6,265 train, 783 valid, 783 test"
    traps = (
        "16,026 of 93,972 labels are missing: an empty cell was not tested, it is no negative.",
        "Scores of a random split are higher than those of a scaffold split.",
        "Eight formulas could not be read into fingerprints: their lists are empty.",
    )

    def __post_init__(self) -> None:
        if self.inputs not in _INPUTS:
            raise ConfigError(message("Tox21 has the inputs 'fingerprint' and 'smiles'.", received=repr(self.inputs)))

    @property
    def sources(self) -> tuple[Source, ...]:
        """Labels and formulas; fingerprints where they are asked for."""
        table = Source("tox21.csv", "7d7e7facd853a63e79ddce4e9c3fcb7a0d83a1c300b603031c0f2c64fbe77761", 525_119, _URLS)
        bits = "bee381733e7d94c6be3b95d9aa4deebfca20bda09ada6ac4e5af0e674233e2da"
        derived = Source("tox21.ecfp4_1024.txt", bits, 897_219)
        return (table, derived) if self.inputs == "fingerprint" else (table,)

    @property
    def tasks(self) -> tuple[Declared, ...]:
        """One an assay."""
        return tuple(binary(name) for name in _ASSAYS)

    @property
    def features(self) -> tuple[Declared, ...]:
        """One multi-valued column."""
        return (multi_valued(self.inputs),)

    def parts(self, files: Mapping[str, Path]) -> Parts:
        """Rows in the order of the file."""
        text = read_text(files["tox21.csv"], (*_ASSAYS, "mol_id", "formula"), skip=1)
        labels = {name: pc.if_else(pc.equal(text[name], ""), None, text[name]) for name in _ASSAYS}
        table = to_numbers(pa.table({"mol_id": text["mol_id"], **labels}), _ASSAYS, pa.int8())
        table = table.append_column(self.inputs, self._lists(text, files))
        rows = cut(table.num_rows, (0.8, 0.1, 0.1), seed=0)
        return {part: [table.take(part_rows)] for part, part_rows in zip(("train", "valid", "test"), rows, strict=True)}

    def _lists(self, text: pa.Table, files: Mapping[str, Path]) -> pa.Array:
        if self.inputs == "smiles":
            return pa.array([_grams(formula) for formula in text["formula"].to_pylist()], pa.list_(pa.string()))
        with open_plain(files["tox21.ecfp4_1024.txt"]) as file:
            bits = [[int(bit) for bit in line.split()] for line in file]
        if len(bits) != text.num_rows:
            raise DataError(message(f"Fingerprints must have one line for each of {text.num_rows} rows.", received=len(bits)))
        return pa.array(bits, pa.list_(pa.int16()))


def _grams(formula: str) -> list[str]:
    return [formula[start : start + _GRAM] for start in range(max(len(formula) - _GRAM + 1, 1))]
