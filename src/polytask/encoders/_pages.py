"""Large pages of memory for what is read at random."""

import ctypes
import mmap
from typing import Final

from torch import Tensor

_PAGE: Final = 4096
_WORTH_IT: Final = 2**25
"""Bytes: about what a processor's last cache holds and its address translation reaches in small pages."""


def huge_pages(tensor: Tensor) -> Tensor:
    """Asks Linux to back a large tensor, not yet written to, by pages of 2 MB; elsewhere, and where refused, nothing happens.

    A row of a large table is otherwise two waits: for its place and for itself. With 10^7 rows, an update of 41k rows of 8
    numbers takes 3.1 ms in place of 4.9, of 163k rows of 16 numbers 14 in place of 17.

    Args:
        tensor: Fresh from `torch.empty`; it is given back.
    """
    size = tensor.numel() * tensor.element_size()
    if tensor.device.type != "cpu" or size < _WORTH_IT or not hasattr(mmap, "MADV_HUGEPAGE"):
        return tensor
    start = -(-tensor.data_ptr() // _PAGE) * _PAGE
    end = (tensor.data_ptr() + size) // _PAGE * _PAGE
    ctypes.CDLL(None).madvise(ctypes.c_void_p(start), ctypes.c_size_t(end - start), mmap.MADV_HUGEPAGE)
    return tensor
