"""Data parallelism: what was measured on each rank, as if one process had measured the joined batch."""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch import distributed as dist

from polytask.balancers._cut import inner_products
from polytask.balancers.measures import Measured


def world_size() -> int:
    """Number of processes that train one model together."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def across_ranks(
    measured: Measured, losses: Tensor, names: Sequence[str], tasks: Sequence[str]
) -> tuple[Measured, Tensor, tuple[str, ...]]:
    """Gradients and losses averaged over ranks, of all tasks that any rank has; the same on every rank.

    Gradients are averaged as data parallelism averages them: what a rank does not have counts as zero. A loss is averaged over
    the ranks that have it. Gradients are summed before inner products are taken; only those of rows at the junction add up.
    One number a task and a layer is read on the host, which waits for the device.

    Args:
        measured: On this rank, of the tasks `names`.
        losses: Of these tasks.
        names: Tasks of this rank.
        tasks: All tasks, in the same order on every rank.
    """
    rows = [tasks.index(name) for name in names]
    every, widths = _agreed(measured, rows, len(tasks))
    present = tuple(name for place, name in enumerate(tasks) if every[place])
    parts = [_spread(losses, rows, len(tasks)), _spread(torch.ones_like(losses), rows, len(tasks))]
    if widths:
        found = dict(zip(measured.places, measured.features, strict=True))
        blocks = [found[p] if p in found else losses.new_zeros((len(rows), width)) for p, width in widths.items()]
        parts += [_spread(block.to(losses.dtype), rows, len(tasks)) for block in blocks]
    else:
        parts.append(_spread(_spread(measured.gramian, rows, len(tasks)).T, rows, len(tasks)).to(losses.dtype))
    joined = torch.cat([part.flatten() for part in parts])
    dist.all_reduce(joined)
    pieces = torch.split(joined, [part.numel() for part in parts])
    kept = torch.tensor([place for place, there in enumerate(every) if there], device=losses.device)
    total, count, *rest = [piece.view(part.shape)[kept] for piece, part in zip(pieces, parts, strict=True)]
    if not widths:
        return Measured(rest[0][:, kept] / world_size() ** 2), total / count, present
    kinds = [found[p].dtype if p in found else measured.features[0].dtype for p in widths]
    features = [(block / world_size()).to(kind) for block, kind in zip(rest, kinds, strict=True)]
    return Measured(inner_products(features, total), features, measured.exact, tuple(widths)), total / count, present


def _agreed(measured: Measured, rows: Sequence[int], num_tasks: int) -> tuple[list[int], dict[int, int]]:
    """Which tasks any rank has, and the width of each block that any rank has."""
    here = torch.zeros(num_tasks + _MOST_BLOCKS, dtype=torch.int64)
    here[list(rows)] = 1
    for place, feature in zip(measured.places, measured.features, strict=True):
        here[num_tasks + place] = feature.shape[1]
    here = here.to(measured.gramian.device)
    dist.all_reduce(here, dist.ReduceOp.MAX)
    known = here.tolist()
    return known[:num_tasks], {place: width for place, width in enumerate(known[num_tasks:]) if width}


def _spread(values: Tensor, rows: Sequence[int], num: int) -> Tensor:
    """Rows of the tasks of this rank among those of all tasks; zeros elsewhere."""
    found = values.new_zeros((num, *values.shape[1:]))
    found[list(rows)] = values
    return found


_MOST_BLOCKS = 4096  # layers or parameters that are told between ranks: 32 kB
