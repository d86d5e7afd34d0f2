"""What every catalogued data set is: files in, Parquet and a run that can be started out."""

import json
import os
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq
import tomli_w

from polytask.data.catalog._sources import Source, downloaded_files, local_files, local_folder, present, recorded
from polytask.data.download import Progress
from polytask.files import replacing

Declared = dict[str, Any]
"""A task or feature as the tables of a declared run have it."""

Parts = Mapping[str, Iterable[pa.Table]]
"""By part (`train`, `valid`, `test`), its rows in tables of one schema."""


class Prepared(NamedTuple):
    """What a data set was made into.

    Args:
        files: Parquet file by part.
        run: A declared run of these files.
        rows: Rows by part.
    """

    files: dict[str, Path]
    run: Path
    rows: dict[str, int]


@dataclass(frozen=True, kw_only=True)
class Dataset(ABC):
    """Base of the catalog: a data set with its options as fields."""

    title: ClassVar[str]
    """One line."""
    homepage: ClassVar[str]
    """Where it is published."""
    folder: ClassVar[str]
    """Folder of its files below a folder of local data."""
    licence: ClassVar[str]
    citation: ClassVar[str]
    split: ClassVar[str]
    """The official split, or the one made here."""
    traps: ClassVar[tuple[str, ...]] = ()
    """What goes wrong for those who do not know."""
    size: ClassVar[str]
    """Rows, in words or numbers."""

    @property
    @abstractmethod
    def sources(self) -> tuple[Source, ...]:
        """Files it is made of."""

    @property
    @abstractmethod
    def tasks(self) -> tuple[Declared, ...]:
        """What is predicted."""

    @property
    @abstractmethod
    def features(self) -> tuple[Declared, ...]:
        """The inputs: every other column is a label or a key."""

    @abstractmethod
    def parts(self, files: Mapping[str, Path]) -> Parts:
        """Rows by part, from checked files by their name."""

    def prepare(self, source_dir: str | os.PathLike[str], out_dir: str | os.PathLike[str]) -> Prepared:
        """Makes Parquet files and a run from local files.

        Args:
            source_dir: Folder of the files, or of the data set's folder.
            out_dir: Where to write; what is there already is replaced, each file whole.

        Raises:
            DataError: If a file is missing, has another checksum or is not what it should be.
        """
        files = local_files(self.sources, Path(source_dir), self.folder) if self.sources else {}
        return self._write(files, Path(out_dir))

    def fetch(
        self, out_dir: str | os.PathLike[str], *, source: str | os.PathLike[str] | None = None, progress: Progress | None = None
    ) -> Prepared:
        """Makes Parquet files and a run from local files where a folder is named, else from the public addresses.

        Args:
            out_dir: Where to write.
            source: Folder of local files; that of the environment variable POLYTASK_DATA where not given.
            progress: Called while bytes arrive.

        Raises:
            DataError: If a file is missing, has another checksum or is not what it should be.
        """
        folder = local_folder(None if source is None else Path(source))
        if folder is not None or not self.sources:
            return self.prepare(folder or Path(), out_dir)
        return self._write(downloaded_files(self.sources, self.folder, self.homepage, progress), Path(out_dir))

    def present(self, source: str | os.PathLike[str] | None = None) -> bool:
        """True where all files are at hand, in the folder, that of the environment, or the cache; checksums are not taken."""
        return present(self.sources, self.folder, local_folder(None if source is None else Path(source)))

    def _write(self, files: Mapping[str, Path], out: Path) -> Prepared:
        written, rows = {}, {}
        for part, tables in self.parts(files).items():
            written[part] = out / f"{part}.parquet"
            rows[part] = write_parquet(tables, written[part], self._metadata(part))
        with replacing(out / "run.toml") as scratch:
            scratch.write_text(self.run_toml(written), encoding="utf-8")
        return Prepared(written, out / "run.toml", rows)

    def run_toml(self, parts: Iterable[str]) -> str:
        """The declared run of parts that lie beside it."""
        run: Declared = {"data": {part: f"{part}.parquet" for part in parts if part in ("train", "valid", "test")}}
        body = "\n".join(f"[[{key}]]\n{tomli_w.dumps(entry)}" for key, entry in self._entries())
        lines = [self.title, f"Licence: {self.licence}", f"Source: {self.homepage}", f"Split: {self.split}", *self.traps]
        head = "".join(f"# {line}\n" for line in lines)
        return f"{head}\n{tomli_w.dumps(run)}\n{body}"

    def _entries(self) -> list[tuple[str, Declared]]:
        return [("task", task) for task in self.tasks] + [("feature", feature) for feature in self.features]

    def _metadata(self, part: str) -> dict[bytes, bytes]:
        about = {
            "dataset": self.folder,
            "options": asdict(self),
            "part": part,
            "licence": self.licence,
            "citation": self.citation,
            "homepage": self.homepage,
            "sources": list(recorded(self.sources)),
        }
        return {b"polytask": json.dumps(about).encode()}


def write_parquet(tables: Iterable[pa.Table], path: Path, metadata: Mapping[bytes, bytes]) -> int:
    """Writes tables of one schema into one file, whole or not at all, and gives the number of rows."""
    rows = 0
    with replacing(path) as scratch, ExitStack() as stack:
        writer: pq.ParquetWriter | None = None
        for table in tables:
            if writer is None:
                writer = stack.enter_context(
                    pq.ParquetWriter(scratch, table.schema.with_metadata(dict(metadata)), compression="zstd")
                )
            writer.write_table(table.replace_schema_metadata(dict(metadata)))
            rows += table.num_rows
    return rows


def categorical(*names: str, **options: Any) -> tuple[Declared, ...]:
    """Categorical features."""
    return tuple({"kind": "categorical", "name": name, **options} for name in names)


def numeric(*names: str) -> tuple[Declared, ...]:
    """Numeric features."""
    return tuple({"kind": "numeric", "name": name} for name in names)


def multi_valued(name: str, **options: Any) -> Declared:
    """A multi-valued feature."""
    return {"kind": "multi_valued", "name": name, **options}


def binary(name: str, **options: Any) -> Declared:
    """A binary task."""
    return {"kind": "binary", "name": name, **options}


def regression(name: str, **options: Any) -> Declared:
    """A regression task."""
    return {"kind": "regression", "name": name, **options}
