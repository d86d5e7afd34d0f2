"""One writer a directory: a lock that the kernel lets go of when its process ends, however it ends."""

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from polytask.errors import ConfigError, message

try:
    import fcntl
except ImportError:  # pragma: no cover - Windows has no flock; there the directory is not guarded
    fcntl = None  # type: ignore[assignment]

_held: dict[tuple[int, Path], int] = {}  # by process (a fork inherits this), how often: a verb may lock what its trainer locks


@contextmanager
def locked(directory: str | os.PathLike[str]) -> Iterator[None]:
    """Holds a directory for this process; within the process it may be held several times.

    Raises:
        ConfigError: If another process holds it (names process and host), or the directory cannot be written.

    Example:
        >>> import tempfile
        >>> directory = tempfile.mkdtemp()
        >>> with locked(directory), locked(directory):
        ...     pass
    """
    path = Path(directory).resolve()
    key = (os.getpid(), path)
    if key in _held:
        _held[key] += 1
        try:
            yield
        finally:
            _held[key] -= 1
        return
    handle = _acquire(path)
    _held[key] = 1
    try:
        yield
    finally:
        del _held[key]
        os.close(handle)


def _acquire(directory: Path) -> int:
    file = directory / "lock"
    try:
        directory.mkdir(parents=True, exist_ok=True)
        handle = os.open(file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    except OSError as error:
        raise ConfigError(
            message(f"Run directory {str(directory)!r} must be writable.", received=str(error), way_out="Choose another one.")
        ) from error
    try:
        if fcntl is not None:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        holder = os.pread(handle, 200, 0).decode(errors="replace").strip() or "an unknown process"
        os.close(handle)
        raise ConfigError(
            message(
                f"Run directory {str(directory)!r} is being written by another process.",
                received=holder,
                way_out="Wait for it, stop it, or choose another directory.",
            )
        ) from None
    os.ftruncate(handle, 0)
    os.pwrite(handle, f"process {os.getpid()} on {socket.gethostname()}\n".encode(), 0)
    return handle
