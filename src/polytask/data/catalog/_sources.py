"""Files a data set is made of: where they are, how they are known to be the right ones."""

import functools
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from polytask.data.archives import plain_digest
from polytask.data.download import Progress, Transfer, download
from polytask.errors import DataError, message

DATA, CACHE = "POLYTASK_DATA", "POLYTASK_CACHE"
"""Environment: a folder of data sets to read instead of downloading; the folder where downloads are kept."""

_PACKINGS = ("", ".gz", ".bz2")


@dataclass(frozen=True)
class Source:
    """One file, known by its unpacked bytes.

    Args:
        name: Name of the unpacked file; it may lie gzipped, with `.gz` at the end.
        sha256: Checksum of the unpacked bytes, or None where no trusted one is known.
        size: Unpacked bytes; no more are read.
        urls: Public addresses, the official one first; empty where it must be fetched by hand.
    """

    name: str
    sha256: str | None
    size: int
    urls: tuple[str, ...] = ()

    def find(self, folders: Sequence[Path]) -> Path | None:
        """The file in the first folder that has it."""
        places = (folder / (self.name + packing) for folder in folders for packing in _PACKINGS)
        return next((place for place in places if place.is_file()), None)

    def checked(self, path: Path) -> Path:
        """The same path, once its bytes are the expected ones.

        Raises:
            DataError: Names the expected and the received checksum.
        """
        received = plain_digest(path, self.size) if self.sha256 is not None else None
        if received != self.sha256:
            raise DataError(message(f"{path} must hold bytes with the sha256 {self.sha256}.", received=received))
        return path


def local_folder(given: Path | None) -> Path | None:
    """The folder of local data: the one given, or that of the environment; None where files are to be downloaded."""
    if given is None and os.environ.get(DATA):
        given = Path(os.environ[DATA])
    if given is not None and not given.is_dir():
        raise DataError(message("The folder of local data must exist.", received=str(given)))
    return given


def cache_folder(name: str) -> Path:
    """Where downloads of a data set are kept."""
    home = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    root = os.environ.get(CACHE) or f"{home}/polytask"
    return Path(root).expanduser() / name


def local_files(sources: Sequence[Source], folder: Path, own: str) -> dict[str, Path]:
    """Checked files of a folder that holds them itself or in a folder of the data set's name.

    Raises:
        DataError: Names what is missing, or the file with another checksum.
    """
    places = [folder / own, folder]
    found = {source.name: source.find(places) for source in sources}
    missing = [name for name, path in found.items() if path is None]
    if missing:
        way_out = f"Put {', '.join(missing)} (or with .gz) there, or leave out --from and ${DATA} to download."
        raise DataError(
            message(f"{places[0]} must hold all files of the data set.", received=f"no {', '.join(missing)}", way_out=way_out)
        )
    return {source.name: source.checked(path) for source in sources if (path := found[source.name]) is not None}


def downloaded_files(sources: Sequence[Source], own: str, homepage: str, progress: Progress | None) -> dict[str, Path]:
    """Files from the cache, or from their public addresses.

    Raises:
        DataError: If a file must be fetched by hand, or no address gives the right bytes.
    """
    folder = cache_folder(own)
    by_hand = [source.name for source in sources if not source.urls]
    if by_hand:
        way_out = f"Download them at {homepage}, then name their folder with --from or ${DATA}."
        raise DataError(message(f"{', '.join(by_hand)} must be fetched by hand.", received="no folder", way_out=way_out))
    return {source.name: _download(source, folder, progress) for source in sources}


def _download(source: Source, folder: Path, progress: Progress | None) -> Path:
    kept = source.find([folder])
    if kept is not None:
        return source.checked(kept)
    problems = []
    for url in source.urls:
        packing = next((end for end in reversed(_PACKINGS) if url.endswith(end)), "")
        path = folder / (source.name + packing)
        try:
            return download(
                url,
                path,
                sha256=source.sha256,
                checksum=functools.partial(plain_digest, max_bytes=source.size),
                transfer=Transfer(max_bytes=source.size + (1 << 16)),
                progress=progress,
            )
        except DataError as error:
            problems.append(str(error))
    raise DataError("\n".join(problems))


def present(sources: Sequence[Source], own: str, folder: Path | None) -> bool:
    """True where all files lie at hand; their checksums are not taken."""
    places = [cache_folder(own)] if folder is None else [folder / own, folder]
    return all(source.find(places) is not None for source in sources)


def recorded(sources: Sequence[Source]) -> Iterator[Mapping[str, str | None]]:
    """Names and checksums, for the metadata of what is made of them."""
    for source in sources:
        yield {"name": source.name, "sha256": source.sha256}
