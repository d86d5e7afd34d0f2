"""From a path, folder, glob or URI to the files that it means."""

import hashlib
import os
import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import PurePosixPath
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.fs as pafs

from polytask.errors import DataError, message, nearest

COMPRESSIONS = (".gz", ".bz2", ".zst", ".lz4", ".br")
SUFFIXES = {
    ".csv": "csv",
    ".tsv": "csv",
    ".txt": "csv",
    ".parquet": "parquet",
    ".pq": "parquet",
    ".arrow": "ipc",
    ".feather": "ipc",
    ".ipc": "ipc",
    ".arrows": "ipc",
}
_WILD = re.compile(r"[*?\[]")


class Files(NamedTuple):
    """Files of one table, in reading order.

    Args:
        filesystem: Where they are.
        infos: Path, size and time of each.
        root: Folder below which `key=value` folders are columns; "" where the files were named one by one.
    """

    filesystem: pafs.FileSystem
    infos: tuple[pafs.FileInfo, ...]
    root: str = ""

    @property
    def paths(self) -> tuple[str, ...]:
        """Path of each file."""
        return tuple(info.path for info in self.infos)

    def fingerprint(self, *options: object) -> str:
        """Hash of paths, sizes, times and the options with which they are read."""
        facts = [(self.filesystem.type_name, info.path, info.size, info.mtime_ns) for info in self.infos]
        return hashlib.sha256(repr((facts, options)).encode()).hexdigest()


def format_of(path: str) -> str | None:
    """Format by the file's name, compression aside; None where the name does not say."""
    name = PurePosixPath(path.lower())
    while name.suffix in COMPRESSIONS:
        name = name.with_suffix("")
    return SUFFIXES.get(name.suffix)


def find_files(source: str | os.PathLike[str] | Sequence[Any], filesystem: Any = None) -> Files:
    """The files that a path, folder, glob, URI, or a list of those, means.

    Folders are searched to the bottom; names that begin with "." or "_" are passed over. Files of a folder or glob are read
    in the order of their paths.

    Args:
        source: What the user gave.
        filesystem: Arrow or fsspec filesystem that the paths belong to; by the URI, or local, where not given.

    Raises:
        DataError: If there is nothing there (with near names), or the filesystem cannot be reached.
    """
    if isinstance(source, (list, tuple)):
        if not source:
            raise DataError(message("A table needs at least one file.", received="an empty list"))
        parts = [find_files(item, filesystem) for item in source]
        roots = {part.root for part in parts}
        infos = tuple(info for part in parts for info in part.infos)
        return Files(parts[0].filesystem, infos, roots.pop() if len(roots) == 1 else "")
    system, path = _locate(os.fspath(source), filesystem)  # type: ignore[arg-type]
    with reading(path):
        info = system.get_file_info(path)
        if info.type == pafs.FileType.Directory:
            return Files(system, _inside(system, path), path)
        if info.type == pafs.FileType.NotFound and _WILD.search(path):
            return _globbed(system, path)
    if info.type == pafs.FileType.NotFound:
        raise DataError(message("No such file or folder.", received=repr(path), way_out=_near(system, path)))
    return Files(system, (info,))


@contextmanager
def reading(place: str) -> Iterator[None]:
    """Turns what Arrow or the system says about an unreadable file into a `DataError` that names it."""
    try:
        yield
    except (pa.ArrowException, OSError, EOFError) as error:
        raise DataError(
            message(f"{place} must be readable.", received=_short(error), way_out="Is the file complete, and of this format?")
        ) from error


def _short(error: BaseException) -> str:
    text = " ".join(str(error).split())
    return text if len(text) < 300 else text[:300] + "..."


def _locate(source: str, filesystem: Any) -> tuple[pafs.FileSystem, str]:
    if filesystem is not None:
        if not isinstance(filesystem, pafs.FileSystem):
            filesystem = pafs.PyFileSystem(pafs.FSSpecHandler(filesystem))
        return filesystem, source
    if "://" not in source:
        return pafs.LocalFileSystem(), os.path.expanduser(source)  # noqa: PTH111 - Path would drop a trailing slash and globs
    try:
        return _from_uri(source)
    except (pa.ArrowException, OSError, ImportError, ValueError) as error:
        raise DataError(
            message(
                f"The filesystem of {source!r} must be reachable.",
                received=_short(error),
                way_out="Arrow opens file, s3, gs, abfs and hdfs; others need the fsspec package of that scheme.",
            )
        ) from error


def _from_uri(source: str) -> tuple[pafs.FileSystem, str]:
    wild = _WILD.search(source)
    # A URI must not hold wildcards, so the fixed part is resolved and the rest put back.
    fixed = source[: source.rindex("/", 0, wild.start()) + 1] if wild else source
    try:
        system, path = pafs.FileSystem.from_uri(fixed)
    except pa.ArrowInvalid as unknown_scheme:
        try:
            import fsspec  # type: ignore[import-untyped, unused-ignore] # noqa: PLC0415 - optional
        except ImportError:
            raise unknown_scheme from None
        inner, path = fsspec.core.url_to_fs(fixed)
        system = pafs.PyFileSystem(pafs.FSSpecHandler(inner))
    return system, f"{path.rstrip('/')}/{source[len(fixed) :]}" if wild else path


def _visible(infos: Iterable[pafs.FileInfo], root: str) -> list[pafs.FileInfo]:
    skip = len(root.rstrip("/"))
    kept = [
        info
        for info in infos
        if info.type == pafs.FileType.File and not any(part[:1] in ("_", ".") for part in info.path[skip:].split("/"))
    ]
    return sorted(kept, key=lambda info: info.path)


def _inside(system: pafs.FileSystem, path: str) -> tuple[pafs.FileInfo, ...]:
    found = _visible(system.get_file_info(pafs.FileSelector(path, recursive=True)), path)
    known = [info for info in found if format_of(info.path)]
    if not found:
        raise DataError(message("A folder must hold data files.", received=f"{path!r} without any"))
    return tuple(known or found)


def _globbed(system: pafs.FileSystem, pattern: str) -> Files:
    wild = _WILD.search(pattern)
    base = pattern[: wild.start() if wild else 0].rpartition("/")[0] or ("/" if pattern.startswith("/") else ".")
    selector = pafs.FileSelector(base, recursive="/" in pattern[len(base) + 1 :], allow_not_found=True)
    local = pattern if base != "." else f"./{pattern}"
    matcher = re.compile(_as_regex(local))
    found = [info for info in _visible(system.get_file_info(selector), base) if matcher.fullmatch(info.path)]
    if not found:
        raise DataError(
            message("A pattern must match at least one file.", received=repr(pattern), way_out=_near(system, pattern))
        )
    return Files(system, tuple(found), base)


def _as_regex(pattern: str) -> str:
    pieces = re.split(r"(\*\*/|\*\*|\*|\?|\[[^\]]*\])", pattern)
    meaning = {"**/": "(?:.*/)?", "**": ".*", "*": "[^/]*", "?": "[^/]"}
    return "".join(
        meaning.get(piece) or (piece.replace("[!", "[^") if piece.startswith("[") else re.escape(piece)) for piece in pieces
    )


def _near(system: pafs.FileSystem, path: str) -> str:
    folder, _, name = path.rstrip("/").rpartition("/")
    try:
        around = system.get_file_info(pafs.FileSelector(folder or ("/" if path.startswith("/") else "."), allow_not_found=True))
    except (pa.ArrowException, OSError):
        return ""
    names = [info.base_name for info in around][:1000]
    hint = nearest(name, names)
    place = f"In {folder or '.'}: "
    return (
        place + (hint if len(hint) < 300 else hint[:300] + " ...")
        if names
        else f"The folder {folder or '.'!r} is empty or absent."
    )
