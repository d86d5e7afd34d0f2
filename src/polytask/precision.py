"""The arithmetic of a step: float32, the fastest float32-class matrix product of the machine, or bfloat16 products."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext

import torch

from polytask.errors import ConfigError, message, nearest

PRECISIONS = {
    "float32": "IEEE float32 products everywhere.",
    "medium": "float32 storage; the library may pick its fastest float32-class product (oneDNN on a CPU, TF32 on a GPU).",
    "bf16": "Products in bfloat16, sums, weights and optimizer in float32; needs a processor that has it.",
    "auto": "bf16 where the device computes it natively, otherwise medium.",
}
"""What each name means; the keys are what `[train] precision` takes."""

_CPU_BF16 = ("avx512_bf16", "amx_bf16", "bf16")  # x86 servers, x86 with tiles, Arm; elsewhere bf16 is emulated and slower


def resolve_precision(name: str, device: torch.device | str = "cpu") -> str:
    """The precision a device runs at: `name`, with "auto" decided.

    Raises:
        ConfigError: If the name is unknown, or bf16 is asked of a device that would only emulate it.

    Example:
        >>> resolve_precision("medium")
        'medium'
    """
    if name not in PRECISIONS:
        raise ConfigError(message("Unknown precision.", received=repr(name), way_out=nearest(name, PRECISIONS)))
    if name == "auto":
        return "bf16" if has_bf16(device) else "medium"
    if name == "bf16" and not has_bf16(device):
        way_out = "Use 'medium', or 'auto' to take bf16 only where it is native."
        raise ConfigError(message("Precision 'bf16' needs native bfloat16.", received=f"device {str(device)!r}", way_out=way_out))
    return name


def has_bf16(device: torch.device | str = "cpu") -> bool:
    """Whether the device multiplies bfloat16 natively (emulated, it is slower than float32)."""
    kind = torch.device(device).type
    if kind == "cuda":
        return torch.cuda.is_available() and torch.cuda.is_bf16_supported(including_emulation=False)
    if kind == "cpu":
        capabilities = torch.cpu.get_capabilities()
        return any(capabilities.get(name, False) for name in _CPU_BF16)
    return kind == "mps"


@contextmanager
def matmul_precision(name: str, device: torch.device | str = "cpu") -> Iterator[None]:
    """Sets the process-wide kind of float32 product for the block and puts the old one back.

    It belongs around whole steps: the backward pass multiplies too.

    Example:
        >>> with matmul_precision("medium"):
        ...     torch.get_float32_matmul_precision()
        'medium'
    """
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("highest" if resolve_precision(name, device) == "float32" else "medium")
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)


def autocast(name: str, device: torch.device | str = "cpu") -> AbstractContextManager[object]:
    """Autocast for the forward pass and the losses; does nothing unless the precision is bf16.

    Leave it before the backward pass: a Gramian of float32 gradients must not be rounded.
    """
    if resolve_precision(name, device) != "bf16":
        return nullcontext()
    return torch.autocast(torch.device(device).type, torch.bfloat16)


@contextmanager
def precision_context(name: str, device: torch.device | str = "cpu") -> Iterator[None]:
    """`matmul_precision` and `autocast` at once: for evaluation and prediction, where no backward pass follows.

    Example:
        >>> layer = torch.nn.Linear(3, 2)
        >>> with precision_context("float32"):
        ...     layer(torch.zeros(1, 3)).dtype
        torch.float32
    """
    with matmul_precision(name, device), autocast(name, device):
        yield
