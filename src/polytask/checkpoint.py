"""A checkpoint: one safetensors file that holds everything a run needs to go on. Nothing is pickled."""

import json
import os
import random
import shutil
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from polytask.errors import CheckpointError, message
from polytask.files import replacing

VERSION = 1
"""Of the format; a file with a greater one was written by a later release."""

_DATA_KEY, _SUM_KEY = "polytask", "polytask_crc32"  # of the safetensors header's text metadata
_REFERENCE, _TUPLE, _ITEMS = "$tensor", "$tuple", "$items"


def save(path: str | os.PathLike[str], state: Mapping[str, Any], *, identity: Mapping[str, Any] | None = None) -> None:
    """Writes a checkpoint in one step: a reader, or a crash, sees the old file or the new one.

    Args:
        path: File to write; what it held before stays until the new file is whole.
        state: Parts by name; each a tree of dicts, lists, tuples, tensors, strings, numbers, booleans and None.
        identity: What must be the same for the checkpoint to fit (`load` compares it): configuration, task names.

    Raises:
        CheckpointError: If the file cannot be written (full disk, unwritable directory) or the state holds anything else.

    Example:
        >>> import tempfile, pathlib
        >>> file = pathlib.Path(tempfile.mkdtemp()) / "latest.safetensors"
        >>> save(file, {"model": {"weight": torch.ones(2)}, "position": {"step": 3}})
        >>> load(file)
        {'model': {'weight': tensor([1., 1.])}, 'position': {'step': 3}}
    """
    packer = _Packer()
    tree = {name: packer.pack(part, name) for name, part in state.items()}
    header = {"version": VERSION, "identity": identity or {}, "state": tree, "crc32": packer.checksums()}
    with _explained_writing(path), replacing(path) as scratch:
        mode = scratch.stat().st_mode
        text = json.dumps(header)
        save_file(packer.tensors, scratch, {_DATA_KEY: text, _SUM_KEY: str(zlib.crc32(text.encode()))})
        scratch.chmod(mode)  # safetensors puts a file of its own there, for the owner only


def load(
    path: str | os.PathLike[str], *, parts: Sequence[str] | None = None, identity: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """Reads a checkpoint, or some parts of it, onto the CPU.

    Args:
        path: File to read.
        parts: Names of the parts to read; all where None. Tensors of other parts are not touched.
        identity: What the run is now; None compares nothing.

    Raises:
        CheckpointError: If the file is missing, truncated, damaged, not ours, of a later version, or of another run; then
            every setting that differs is listed.
    """
    with _explained_reading(path), safe_open(os.fspath(path), framework="pt", device="cpu") as file:
        header = _header(path, file.metadata())
        if identity is not None:
            _compare(path, header["identity"], _plain(identity))
        wanted = header["state"] if parts is None else {name: header["state"][name] for name in parts if name in header["state"]}
        return {name: _unpack(part, lambda key: _tensor(path, file, key, header["crc32"])) for name, part in wanted.items()}


def alias(source: Path, target: Path) -> None:
    """Makes `target` the same file as `source`, in one step and without writing it again where the disk has hard links."""
    with _explained_writing(target):
        if target.exists() and target.samefile(source):
            return
        scratch = target.with_name(f".{target.name}.{os.getpid()}.part")
        scratch.unlink(missing_ok=True)
        try:
            scratch.hardlink_to(source)
        except OSError:
            with replacing(target) as copy:
                shutil.copyfile(source, copy)
        else:
            scratch.replace(target)


def random_state() -> dict[str, Any]:
    """States of all generators that a step may draw from: torch on every device, numpy, python."""
    kind, key, *others = np.random.get_state(legacy=True)  # noqa: NPY002 - the global generator of a user's code is saved too
    state: dict[str, Any] = {
        "torch": torch.get_rng_state(),
        "numpy": [
            str(kind),
            [int(word) for word in key],
            *(value.item() if hasattr(value, "item") else value for value in others),
        ],
        "python": random.getstate(),
    }
    if torch.cuda.is_available() and torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
        state["cuda"] = torch.cuda.get_rng_state_all()
    if torch.backends.mps.is_available():
        state["mps"] = torch.mps.get_rng_state()
    return state


def set_random_state(state: Mapping[str, Any]) -> None:
    """Puts all generators back; those of devices that are not here are left."""
    torch.set_rng_state(state["torch"])
    kind, key, *others = state["numpy"]
    np.random.set_state((kind, np.array(key, np.uint32), *others))  # noqa: NPY002
    random.setstate(state["python"])
    if torch.cuda.is_available() and len(state.get("cuda", ())) == torch.cuda.device_count():
        torch.cuda.set_rng_state_all(state["cuda"])
    if torch.backends.mps.is_available() and "mps" in state:
        torch.mps.set_rng_state(state["mps"])


class _Packer:
    """Splits a tree into tensors and plain JSON with references to them; a tensor met twice is written once."""

    def __init__(self) -> None:
        self.tensors: dict[str, Tensor] = {}
        self._written: dict[tuple[object, ...], str] = {}
        self._storages: set[int] = set()

    def pack(self, value: Any, place: str) -> Any:
        """JSON for `value`, found at `place` of the state."""
        if value is None or isinstance(value, bool | int | float | str):
            return value
        if isinstance(value, Tensor):
            return {_REFERENCE: self._keep(value.detach(), place)}
        if isinstance(value, Mapping):
            if all(isinstance(key, str) and not key.startswith("$") for key in value):
                return {key: self.pack(item, f"{place}/{key}") for key, item in value.items()}
            return {_ITEMS: [[self.pack(key, place), self.pack(item, f"{place}/{key}")] for key, item in value.items()]}
        if isinstance(value, list | tuple):
            items = [self.pack(item, f"{place}/{index}") for index, item in enumerate(value)]
            return {_TUPLE: items} if isinstance(value, tuple) else items
        raise CheckpointError(
            message(
                f"The state at {place!r} must be a tensor, string, number, boolean, None, list, tuple or dict.",
                received=type(value).__name__,
            )
        )

    def checksums(self) -> dict[str, int]:
        """CRC-32 of each tensor."""
        return {key: _checksum(tensor) for key, tensor in self.tensors.items()}

    def _keep(self, tensor: Tensor, place: str) -> str:
        same = (tensor.device, tensor.data_ptr(), tensor.dtype, tuple(tensor.shape), tensor.stride())
        if tensor.numel() and same in self._written:
            return self._written[same]
        host = tensor.cpu().contiguous()
        if host.untyped_storage().data_ptr() in self._storages:  # views of one storage; the format wants them apart
            host = host.clone()
        self._storages.add(host.untyped_storage().data_ptr())
        self.tensors[place] = host
        self._written[same] = place
        return place


def _unpack(value: Any, tensor: Any) -> Any:
    if isinstance(value, list):
        return [_unpack(item, tensor) for item in value]
    if not isinstance(value, dict):
        return value
    if _REFERENCE in value:
        return tensor(value[_REFERENCE])
    if _TUPLE in value:
        return tuple(_unpack(item, tensor) for item in value[_TUPLE])
    if _ITEMS in value:
        return {_unpack(key, tensor): _unpack(item, tensor) for key, item in value[_ITEMS]}
    return {key: _unpack(item, tensor) for key, item in value.items()}


def _checksum(tensor: Tensor) -> int:
    start = zlib.crc32(f"{tensor.dtype} {list(tensor.shape)}".encode())
    raw: Any = tensor.reshape(-1).view(torch.uint8).numpy() if tensor.numel() else b""
    return zlib.crc32(raw, start)


def _tensor(path: str | os.PathLike[str], file: Any, key: str, checksums: Mapping[str, int]) -> Tensor:
    tensor: Tensor = file.get_tensor(key).clone()  # the file may be mapped: a later write to it must not be seen
    if _checksum(tensor) != checksums[key]:
        raise _damaged(path, repr(key))
    return tensor


def _damaged(path: str | os.PathLike[str], place: str) -> CheckpointError:
    way_out = "Delete it and continue from another checkpoint."
    received = f"other bytes in {place} than were written"
    return CheckpointError(message(f"Checkpoint {os.fspath(path)!r} is damaged.", received=received, way_out=way_out))


def _header(path: str | os.PathLike[str], metadata: Mapping[str, str] | None) -> dict[str, Any]:
    if not metadata or _DATA_KEY not in metadata:
        raise CheckpointError(
            message(f"{os.fspath(path)!r} is not a checkpoint of Polytask.", received="a safetensors file of another program")
        )
    if metadata.get(_SUM_KEY) != str(zlib.crc32(metadata[_DATA_KEY].encode())):
        raise _damaged(path, "the header")
    header: dict[str, Any] = json.loads(metadata[_DATA_KEY])
    if header["version"] > VERSION:
        raise CheckpointError(
            message(
                f"Checkpoint {os.fspath(path)!r} must be of format {VERSION} or older.",
                received=f"format {header['version']}",
                way_out="Update polytask.",
            )
        )
    return header


def _compare(path: str | os.PathLike[str], saved: Mapping[str, Any], now: Mapping[str, Any]) -> None:
    was, is_now = dict(_leaves(saved)), dict(_leaves(now))
    absent = object()
    differing = [key for key in {**was, **is_now} if was.get(key, absent) != is_now.get(key, absent)]
    if differing:
        listed = "; ".join(
            f"{key}: {was.get(key, '(not set)')!r} there, {is_now.get(key, '(not set)')!r} here" for key in differing
        )
        raise CheckpointError(
            message(
                f"Checkpoint {os.fspath(path)!r} belongs to another run.",
                received=listed,
                way_out="Restore these settings, choose another run directory, or start afresh in this one.",
            )
        )


def _leaves(tree: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in tree.items():
        if isinstance(value, Mapping) and value:
            yield from _leaves(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def _plain(tree: Mapping[str, Any]) -> dict[str, Any]:
    plain: dict[str, Any] = json.loads(json.dumps(tree))  # as it would read back: tuples are lists
    return plain


@contextmanager
def _explained_writing(path: str | os.PathLike[str]) -> Iterator[None]:
    try:
        yield
    except (OSError, SafetensorError) as error:
        raise CheckpointError(
            message(
                f"Could not write checkpoint {os.fspath(path)!r}.",
                received=str(error),
                way_out="Free some space or choose a writable directory; what was there before is untouched.",
            )
        ) from error


@contextmanager
def _explained_reading(path: str | os.PathLike[str]) -> Iterator[None]:
    try:
        yield
    except CheckpointError:
        raise
    except FileNotFoundError:
        raise CheckpointError(message("There is no such checkpoint.", received=repr(os.fspath(path)))) from None
    except (OSError, SafetensorError, json.JSONDecodeError, KeyError) as error:
        raise CheckpointError(
            message(
                f"{os.fspath(path)!r} must be a whole safetensors file.",
                received=f"{type(error).__name__}: {error}",
                way_out="It is truncated, damaged or something else; delete it and continue from another checkpoint.",
            )
        ) from error
