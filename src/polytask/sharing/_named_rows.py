"""Gates over experts of several tasks: one weight to compute with, kept by the names of the experts' owners."""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import torch
from torch import nn

from polytask.sharing._gates import gate_network
from polytask.sharing._mlps import MLPs


def gate_over_all(
    in_features: int, tasks: Sequence[str], num_own: int, num_shared: int, *, hidden: Sequence[int], activation: str
) -> MLPs:
    """A gate over every task's experts, then the shared ones, whose state survives a permutation of the tasks.

    Its weight is one tensor, not one for each pair of tasks: with 32 tasks and 2 levels those were 2048 tensors for the optimizer
    to step through. `state_dict` holds the rows that weigh a task's experts under the task's name.

    Args:
        in_features: Width of what the gate reads.
        tasks: Names of the tasks, in the order of their experts.
        num_own: Number of experts of each task.
        num_shared: Number of experts of all.
        hidden: Widths of hidden layers before the gate's softmax.
        activation: Name in `ACTIVATIONS`.
    """
    rows = {f"task_{task}": num_own for task in tasks} | ({"shared": num_shared} if num_shared else {})
    gate = gate_network(in_features, sum(rows.values()), hidden, activation)
    last = gate.layers[-1]
    last.register_state_dict_post_hook(partial(_split, rows))  # type: ignore[no-untyped-call]
    last.register_load_state_dict_pre_hook(partial(_join, rows))  # type: ignore[no-untyped-call]
    return gate


def _split(rows: Mapping[str, int], _layer: nn.Module, state: dict[str, Any], prefix: str, _metadata: Any) -> None:
    weight = state[f"{prefix}weight"]
    if isinstance(weight, nn.Parameter):  # `keep_vars`: whoever asks for the parameters (torch.export) knows them by these names
        return
    del state[f"{prefix}weight"]
    parts = weight.split(list(rows.values()), dim=1)
    state |= {f"{prefix}weight.{name}": part for name, part in zip(rows, parts, strict=True)}


def _join(rows: Mapping[str, int], _layer: nn.Module, state: dict[str, Any], prefix: str, *_report: Any) -> None:
    keys = [f"{prefix}weight.{name}" for name in rows]
    if all(key in state for key in keys):
        state[f"{prefix}weight"] = torch.cat([state.pop(key) for key in keys], dim=1)
