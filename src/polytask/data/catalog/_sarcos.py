"""SARCOS: inverse dynamics of a robot arm with seven joints."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import final

import pyarrow as pa

from polytask.data.catalog._base import Dataset, Declared, Parts, numeric, regression
from polytask.data.catalog._matlab import read_matlab
from polytask.data.catalog._sources import Source
from polytask.data.catalog._tables import cut

_JOINTS = range(1, 8)
_INPUTS = tuple(f"{quantity}_{joint}" for quantity in ("position", "velocity", "acceleration") for joint in _JOINTS)
_TORQUES = tuple(f"torque_{joint}" for joint in _JOINTS)
_COMMIT = "1f3ffa3d21a38c8e9e5010dcedb71262b35b446a"
_URLS = (
    "https://gaussianprocess.org/gpml/data/sarcos_inv_test.mat",
    f"https://raw.githubusercontent.com/probml/pmtkdata/{_COMMIT}/sarcos_inv_test.mat",
)


@final
@dataclass(frozen=True, kw_only=True)
class Sarcos(Dataset):
    """SARCOS arm: from positions, velocities and accelerations of seven joints to seven torques (official test file)."""

    title = "SARCOS arm, inverse dynamics: seven torques (official test file, 4,449 rows)"
    homepage = "https://gaussianprocess.org/gpml/data/"
    folder = "sarcos"
    licence = "free for research; no formal licence"
    citation = "Vijayakumar and Schaal; web page of Rasmussen and Williams, Gaussian Processes for Machine Learning, 2006."
    split = "None within the official test file; 70/10/20 by a fixed seed."
    size = "3,114 train, 445 valid, 890 test"
    traps = (
        "Most official test rows also occur in the official training file: published errors are too good, and not comparable.",
    )

    @property
    def sources(self) -> tuple[Source, ...]:
        """One matrix."""
        return (
            Source("sarcos_inv_test.mat", "161a59b5c3b4f4b404584323f181607b2acbe620eb134dc720760dc3f38f5cec", 996_776, _URLS),
        )

    @property
    def tasks(self) -> tuple[Declared, ...]:
        """One a joint."""
        return tuple(regression(name) for name in _TORQUES)

    @property
    def features(self) -> tuple[Declared, ...]:
        """Seven joints, three quantities."""
        return numeric(*_INPUTS)

    def parts(self, files: Mapping[str, Path]) -> Parts:
        """Rows in the order of the file; no two rows are equal, so no row is in two parts."""
        matrix = read_matlab(files["sarcos_inv_test.mat"], sarcos_inv_test=(4_449, 28))["sarcos_inv_test"]
        table = pa.table(dict(zip((*_INPUTS, *_TORQUES), matrix.T.copy(), strict=True)))
        rows = cut(table.num_rows, (0.7, 0.1, 0.2), seed=0)
        return {part: [table.take(part_rows)] for part, part_rows in zip(("train", "valid", "test"), rows, strict=True)}
