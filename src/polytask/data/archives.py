"""Packed files: their checksum, their plain bytes, their members; never a byte outside the folder they are for."""

import bz2
import gzip
import hashlib
import shutil
import stat
import tarfile
import zipfile
import zlib
from io import BufferedIOBase
from pathlib import Path, PurePosixPath
from typing import cast

from polytask.errors import DataError, message

_PIECE = 1 << 20
_GZIP, _BZIP2 = b"\x1f\x8b", b"BZ"


def digest(path: Path) -> str:
    """The sha256 of a file as it lies."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def open_plain(path: Path) -> BufferedIOBase:
    """Opens a file for reading, unpacked where it is packed with gzip or bzip2."""
    with path.open("rb") as file:
        start = file.read(2)
    if start == _GZIP:
        return gzip.open(path, "rb")
    return bz2.open(path, "rb") if start == _BZIP2 else path.open("rb")


def plain_digest(path: Path, max_bytes: int) -> str:
    """The sha256 of a file's unpacked bytes.

    Raises:
        DataError: If it unpacks to more than `max_bytes`, or is not whole.
    """
    checksum, size = hashlib.sha256(), 0
    try:
        with open_plain(path) as file:
            while piece := file.read(_PIECE):
                size += len(piece)
                if size > max_bytes:
                    raise DataError(message(f"{path} must unpack to at most {max_bytes:,} bytes.", received="more"))
                checksum.update(piece)
    except (EOFError, OSError, zlib.error) as error:
        raise DataError(message(f"{path} must be a whole file.", received=str(error))) from error
    return checksum.hexdigest()


def unpack(archive: Path, directory: Path, *, max_bytes: int) -> list[Path]:
    """Unpacks a zip or tar archive (gzipped or not): plain files and folders, all of them inside `directory`.

    Every name is checked before the first byte is written.

    Raises:
        DataError: On a member outside the folder, a link or device, more than `max_bytes` in all, or a damaged archive.
    """
    try:
        if zipfile.is_zipfile(archive):
            with zipfile.ZipFile(archive) as packed:
                return _unpack_zip(packed, directory, max_bytes)
        with tarfile.open(archive) as packed:
            return _unpack_tar(packed, directory, max_bytes)
    except (tarfile.TarError, zipfile.BadZipFile, EOFError) as error:
        raise DataError(message(f"{archive} must be a whole zip or tar archive.", received=str(error))) from error


def _unpack_zip(packed: zipfile.ZipFile, directory: Path, max_bytes: int) -> list[Path]:
    members = [member for member in packed.infolist() if not member.is_dir()]
    for member in members:
        if stat.S_ISLNK(member.external_attr >> 16):
            raise DataError(message("An archive must hold plain files only.", received=f"the link {member.filename!r}"))
    targets = [_inside(directory, member.filename) for member in packed.infolist() if not member.is_dir()]
    _bounded(sum(member.file_size for member in members), max_bytes)
    for member, target in zip(members, targets, strict=True):
        with packed.open(member) as source:
            _write(cast("BufferedIOBase", source), target)
    return targets


def _unpack_tar(packed: tarfile.TarFile, directory: Path, max_bytes: int) -> list[Path]:
    members = [member for member in packed.getmembers() if not member.isdir()]
    for member in members:
        if not member.isfile():
            raise DataError(message("An archive must hold plain files only.", received=f"the link or device {member.name!r}"))
    targets = [_inside(directory, member.name) for member in members]
    _bounded(sum(member.size for member in members), max_bytes)
    for member, target in zip(members, targets, strict=True):
        source = packed.extractfile(member)
        assert source is not None  # noqa: S101 - a plain file, asked above
        with source:
            _write(cast("BufferedIOBase", source), target)
    return targets


def _inside(directory: Path, name: str) -> Path:
    """A name is cut at both kinds of slash; it must lead down, never up or to a root or drive."""
    parts = PurePosixPath(name.replace("\\", "/"))
    if parts.is_absolute() or ".." in parts.parts or ":" in name or not parts.parts:
        raise DataError(message(f"An archive must stay inside {directory}.", received=f"the member {name!r}"))
    return directory.joinpath(*parts.parts)


def _bounded(size: int, max_bytes: int) -> None:
    if size > max_bytes:
        raise DataError(message(f"An archive must unpack to at most {max_bytes:,} bytes.", received=f"{size:,} bytes"))


def _write(source: BufferedIOBase, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    with target.open("xb") as file:
        shutil.copyfileobj(source, file, _PIECE)
