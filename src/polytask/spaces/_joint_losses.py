"""The likelihood of whole chains, on every row on which it is known whether they happened."""

from collections.abc import Callable, Mapping, Sequence

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn.functional import logsigmoid

from polytask.batch import Labels
from polytask.spaces._rows import mean_over, some
from polytask.spaces._tree import Tree

Rows = Mapping[str, Bool[Tensor, " n"]]
Conditional = Callable[[Mapping[str, Tensor], Rows], tuple[Float[Tensor, "k n"], Float[Tensor, "k n"]]]
"""From outputs, and the rows that count for each step, to `log p` and `log(1 - p)` of each step given the one before."""


def joint_losses(
    tree: Tree, outputs: Mapping[str, Tensor], labels: Mapping[str, Labels], conditional: Conditional
) -> dict[str, Float[Tensor, ""]]:
    """`-mean_i log p(y_i)` of each step of a tree, where y says whether the step and all before it happened.

    All steps are computed at once: logarithms on one tensor, then two sums for each step.

    Args:
        tree: The steps.
        outputs: Output of each head.
        labels: Labels of the batch; a step that it has no label of, or no column, has no loss.
        conditional: Makes probabilities of outputs.
    """
    joint = tree.joint(labels)
    if not joint:
        return {}
    nowhere = torch.zeros_like(next(iter(joint.values())).known)
    rows = {name: _counted(joint[name].known, labels[name]) if name in joint else nowhere for name in tree.names}
    present = [name for name in tree.names if tree.has_labels(name, labels) and some(rows[name])]
    if not present:
        return {}
    happened, failed = tree.log_likelihoods(*conditional(outputs, rows))
    value = torch.stack([joint[name].value if name in joint else nowhere.to(happened.dtype) for name in tree.names])
    weights = [labels[name].weight if name in labels else None for name in tree.names]
    weight = None if all(w is None for w in weights) else torch.stack([_ones(nowhere) if w is None else w for w in weights])
    losses = mean_over(-torch.where(value == 1, happened, failed), torch.stack(list(rows.values())), weight)
    return {name: loss for name, loss in zip(tree.names, losses.unbind(), strict=True) if name in present}


def log_odds(tree: Tree, outputs: Mapping[str, Tensor], rows: Rows) -> tuple[Float[Tensor, "k n"], Float[Tensor, "k n"]]:
    """`log p` and `log(1 - p)` of steps whose heads give log-odds; one logarithm of one tensor."""
    logits = logits_on(outputs, tree.names, [rows[name] for name in tree.names])
    happens, fails = logsigmoid(torch.stack([logits, -logits])).unbind()
    return happens, fails


def logits_on(outputs: Mapping[str, Tensor], names: Sequence[str], rows: Sequence[Bool[Tensor, " n"]]) -> Float[Tensor, "h n"]:
    """Log-odds of some heads, in at least float32; zeros outside of each one's rows: what stands there does not matter."""
    logits = torch.cat([outputs[name] for name in names], 1).T
    logits = logits.float() if logits.dtype in (torch.float16, torch.bfloat16) else logits
    return torch.where(torch.stack(list(rows)), logits, 0.0)


def _counted(rows: Bool[Tensor, " n"], labels: Labels) -> Bool[Tensor, " n"]:
    return rows if labels.weight is None else rows & (labels.weight > 0)


def _ones(like: Tensor) -> Tensor:
    return torch.ones_like(like, dtype=torch.float32)
