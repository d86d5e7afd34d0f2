"""Files from public addresses: resumed, bounded, checked before they get their name."""

import fcntl
import http.client
import os
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from io import BufferedIOBase
from pathlib import Path
from typing import NamedTuple

from polytask.data.archives import digest
from polytask.errors import DataError, message

Progress = Callable[[int, int | None], None]
"""Called with the bytes that are here and, where known, the bytes that are to come in all."""

_PIECE = 1 << 18
_ATTEMPTS = 4
_LOOPBACK = {"127.0.0.1", "localhost", "::1"}


class Transfer(NamedTuple):
    """How bytes may come.

    Args:
        max_bytes: A file larger than this is refused, whatever the server says of it.
        timeout: Seconds without a byte after which an attempt ends.
        pause: Seconds before the second attempt; twice that before the third, and so on.
    """

    max_bytes: int = 1 << 34
    timeout: float = 30.0
    pause: float = 1.0


def download(
    url: str,
    path: str | os.PathLike[str],
    *,
    sha256: str | None,
    checksum: Callable[[Path], str] = digest,
    transfer: Transfer = Transfer(),  # noqa: B008 - immutable
    progress: Progress | None = None,
) -> Path:
    """Fetches a file; what an interrupted call has got is continued by the next one.

    The bytes arrive in `path` + ".partial" and take their name when the checksum is right. A wrong file is removed.

    Args:
        url: An https address (plain http on the loopback only); redirections must be https too.
        path: Where the file shall be.
        sha256: Expected checksum, or None where none is known.
        checksum: How it is taken; of the file as it lies where not given.
        transfer: Limits.
        progress: Called for every piece.

    Raises:
        DataError: If the address is not https, the file too large, the checksum another, or the server does not answer.
    """
    path = Path(path)
    _require_secure(url)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(path.name + ".partial")
    with _alone(partial):
        resumed = _complete(url, partial, transfer, progress)
        if resumed and sha256 is not None and _taken(checksum, partial) != sha256:
            # The file on the server may have changed between two halves: one clean attempt before anyone is blamed.
            os.truncate(partial, 0)
            _complete(url, partial, transfer, progress)
        received = _taken(checksum, partial) if sha256 is not None else None
        if received != sha256:
            partial.unlink()
            way_out = "It was removed. Fetch again; if it stays so, the file at the source has changed."
            raise DataError(message(f"{url} must have the sha256 {sha256}.", received=received, way_out=way_out))
        _settle(partial, path)
    return path


def _taken(checksum: Callable[[Path], str], partial: Path) -> str:
    try:
        return checksum(partial)
    except DataError as error:
        return f"a damaged file: {error}"


def _settle(partial: Path, path: Path) -> None:
    with partial.open("rb") as file:
        os.fsync(file.fileno())
    partial.replace(path)


def _complete(url: str, partial: Path, transfer: Transfer, progress: Progress | None) -> bool:
    """Tries until all bytes are here; says whether some were here before."""
    resumed = partial.stat().st_size > 0
    for attempt in range(_ATTEMPTS):
        before = partial.stat().st_size
        try:
            _attempt(url, partial, transfer, progress)
        except (urllib.error.HTTPError, DataError) as error:
            raise _refusal(url, partial, error) from error
        except (OSError, http.client.HTTPException) as error:
            reason = error
        else:
            return resumed
        if attempt < _ATTEMPTS - 1 and partial.stat().st_size == before:
            time.sleep(transfer.pause * 2**attempt)
    kept = f"{partial.stat().st_size:,} bytes are kept in {partial}; the same command continues."
    raise DataError(message(f"{url} must answer.", received=str(reason) or type(reason).__name__, way_out=kept)) from reason


def _attempt(url: str, partial: Path, transfer: Transfer, progress: Progress | None) -> None:
    have = partial.stat().st_size
    request = urllib.request.Request(url, headers={"User-Agent": "polytask", "Accept-Encoding": "identity"})  # noqa: S310 - checked
    if have:
        request.add_header("Range", f"bytes={have}-")
    try:
        response = urllib.request.build_opener(_SecureRedirects()).open(request, timeout=transfer.timeout)
    except urllib.error.HTTPError as error:
        if have and error.code == http.client.REQUESTED_RANGE_NOT_SATISFIABLE:
            error.close()
            if error.headers.get("Content-Range", "").endswith(f"/{have}"):
                return
            os.truncate(partial, 0)
            raise ConnectionError("the file at the source is shorter than what was kept") from error
        raise
    with response, partial.open("r+b") as file:
        start = have if response.status == http.client.PARTIAL_CONTENT else 0
        file.seek(start)
        file.truncate()
        length = response.headers.get("Content-Length")
        total = start + int(length) if length else None
        _copy(response, file, Extent(start, total, transfer.max_bytes), progress)


class Extent(NamedTuple):
    """Bytes that are here, bytes in all (where known), bytes allowed."""

    start: int
    total: int | None
    most: int


def _copy(response: BufferedIOBase, file: BufferedIOBase, extent: Extent, progress: Progress | None) -> None:
    have = extent.start
    bound = f"A file of at most {extent.most:,} bytes was expected."
    if extent.total is not None and extent.total > extent.most:
        raise DataError(message(bound, received=f"{extent.total:,} bytes announced"))
    while piece := response.read(_PIECE):
        have += len(piece)
        if have > extent.most:
            raise DataError(message(bound, received="more"))
        file.write(piece)
        if progress is not None:
            progress(have, extent.total)
    if extent.total is not None and have < extent.total:
        raise ConnectionError(f"the connection ended after {have:,} of {extent.total:,} bytes")


def _refusal(url: str, partial: Path, error: Exception) -> DataError:
    if isinstance(error, urllib.error.HTTPError):
        error.close()
        return DataError(message(f"{url} must be there.", received=f"{error.code} {error.reason}"))
    partial.unlink(missing_ok=True)
    return DataError(f"{url}: {error}")


class _SecureRedirects(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, req, fp, code, msg, headers, newurl):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202, PLR0917
        try:
            _require_secure(newurl, from_loopback=urllib.parse.urlsplit(req.full_url).hostname in _LOOPBACK)
        except DataError:
            fp.close()
            raise
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _require_secure(url: str, *, from_loopback: bool = True) -> None:
    parts = urllib.parse.urlsplit(url)
    local = parts.scheme == "http" and parts.hostname in _LOOPBACK and from_loopback
    if parts.scheme != "https" and not local:
        raise DataError(message("Data is fetched over https only.", received=url))


@contextmanager
def _alone(partial: Path) -> Iterator[None]:
    """Two processes never write one partial file."""
    with partial.open("ab") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise DataError(message("One process fetches a file at a time.", received=f"{partial} is in use")) from None
        try:
            yield
        finally:
            if partial.exists() and partial.stat().st_size == 0:
                partial.unlink()
