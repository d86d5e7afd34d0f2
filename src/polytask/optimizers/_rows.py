"""An update of the touched rows of a table."""

from typing import Final

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional

from polytask.optimizers._base import Entry, Rule

_BYTES_AT_ONCE: Final = 2**18
"""Of each tensor: what is read, updated and written back while it is in the second-level cache. 163k rows of 16 numbers, with
two moments, of 10^7 take 13 ms; all at once 30 ms; in smaller parts the calls cost more than they save."""


def update_rows(rule: Rule, table: Entry, rows: Int[Tensor, " u"], *, lr: float, weight_decay: float) -> None:
    """One step of `rule` on some rows of a table.

    Args:
        rule: Works element by element.
        table: Whole value and slots, and the gradient of the touched rows.
        rows: The touched rows, each once.
        lr: Rate.
        weight_decay: Applied to touched rows only.
    """
    wholes = [_Rows(whole) for whole in (table.value, *table.slots)]
    size = max(1, _BYTES_AT_ONCE // wholes[0].num_bytes) if rows.device.type == "cpu" else max(1, rows.numel())
    bags = torch.arange(size + 1, device=rows.device)
    step = table.step.clone()
    for some, gradient in zip(torch.split(rows, size), torch.split(table.gradient, size), strict=True):
        parts = [whole.read(some, bags) for whole in wholes]
        rule.update([Entry(parts[0], gradient, tuple(parts[1:]), step.copy_(table.step))], lr=lr, weight_decay=weight_decay)
        for whole, part in zip(wholes, parts, strict=True):
            whole.write(some, part)
    table.step.add_(1)
    torch.autograd.graph.increment_version([table.value, *table.slots])


class _Rows:
    """Reads and writes single rows of a table, on a CPU at the speed of its memory."""

    def __init__(self, table: Float[Tensor, "r d"]) -> None:
        self.table = table.detach()
        self.num_bytes = table.shape[1] * table.element_size()
        self.opaque = _opaque(self.table, self.num_bytes) if table.device.type == "cpu" else None

    def read(self, rows: Int[Tensor, " u"], bags: Int[Tensor, " _"]) -> Float[Tensor, "u d"]:
        if self.opaque is None:
            return self.table.index_select(0, rows)
        # A bag of one row each: unlike index_select, embedding_bag fetches rows ahead.
        offsets = bags[: rows.numel() + 1]
        return functional.embedding_bag(rows, self.table, offsets, mode="sum", include_last_offset=True)

    def write(self, rows: Int[Tensor, " u"], values: Float[Tensor, "u d"]) -> None:
        if self.opaque is None:
            self.table.index_copy_(0, rows, values)
        else:
            self.opaque.put(rows.numpy(), _opaque(values, self.num_bytes))


def _opaque(table: Tensor, num_bytes: int) -> np.ndarray:
    """Each row as one element of so many bytes: written at 4 ns where index_copy_ takes 12."""
    return table.view(torch.uint8).numpy().view(f"V{num_bytes}")
