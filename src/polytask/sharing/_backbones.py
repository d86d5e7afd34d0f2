"""What can be learned of a user's backbone from a few rows: which layers are called, and along which axis rows lie in each."""

from collections.abc import Mapping, Sequence
from fnmatch import fnmatch
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from polytask.errors import ConfigError, message, nearest
from polytask.sharing._adapted_layers import CONVOLUTIONS


class Layer(NamedTuple):
    """A layer that can be corrected.

    Args:
        path: Its name in the backbone.
        layer: The layer.
        axis: Axis of what it gives along which rows lie.
        width: Width of what it gives: of its last axis, or channels.
    """

    path: str
    layer: nn.Module
    axis: int
    width: int


def flat_stages(backbone: nn.Module) -> list[nn.Module]:
    """The stages that run one after the other; a single one unless it is an `nn.Sequential`."""
    if type(backbone) is not nn.Sequential:
        return [backbone]
    return [stage for part in backbone for stage in flat_stages(part)]


def adaptable_layers(backbone: nn.Module, example: Tensor, *, bottleneck: bool) -> tuple[dict[str, Layer], int]:
    """The layers that can be corrected, by name, and the width of what the backbone gives.

    Args:
        backbone: Reads rows, gives rows.
        example: At least two rows.
        bottleneck: Whether corrections read what a layer gives, or what it reads.

    Raises:
        ConfigError: If rows do not lie along the first axis of what the backbone gives, or there is no such layer.
    """
    if example.shape[0] < 2:
        raise ConfigError(message("An example has at least two rows, to tell which axis is theirs.", received=len(example)))
    candidates = {path: module for path, module in backbone.named_modules() if _fits(module, bottleneck=bottleneck)}
    parts = [_passed(backbone, candidates, rows) for rows in (example[:1], example[1:], example)]
    outputs = [given[""][-1] for given in parts]
    if _axis_of_rows(*outputs) != 0 or len(outputs[-1]) != len(example):
        received = " and ".join(str(tuple(output.shape)) for output in outputs[:2])
        expected = "A backbone gives its rows along the first axis, each from the row that it read alone."
        raise ConfigError(message(expected, received=f"{received} for 1 and {len(example) - 1} rows"))
    layers: dict[str, Layer] = {}
    for path, layer in candidates.items():
        calls = list(zip(*(given.get(path, [])[: None if path else -1] for given in parts), strict=True))
        axes = {_axis_of_rows(*call) for call in calls}
        if len(axes) == 1 and (axis := axes.pop()) is not None:
            layers[path] = Layer(path, layer, axis, calls[0][0].shape[1 if isinstance(layer, CONVOLUTIONS) else -1])
    return layers, outputs[0].shape[-1 if outputs[0].dim() < 4 else 1]


def matching(layers: Mapping[str, Layer], where: Sequence[str] | None) -> list[Layer]:
    """The layers that some names mean, or all.

    Raises:
        ConfigError: If there is none, or a name means none.
    """
    if not layers:
        way_out = "Linear and convolutional layers can (ungrouped, padded with zeros), whose input keeps rows along an axis."
        raise ConfigError(message("A backbone needs a layer that can be corrected.", received="none", way_out=way_out))
    wanted = [where] if isinstance(where, str) else ["*"] if where is None else list(where)
    for name in wanted:
        if not any(fnmatch(path, name) for path in layers):
            raise ConfigError(
                message("`where` names no layer that can be corrected.", received=name, way_out=nearest(name, layers))
            )
    return [layer for path, layer in layers.items() if any(fnmatch(path, name) for name in wanted)]


def _fits(module: nn.Module, *, bottleneck: bool) -> bool:
    if isinstance(module, CONVOLUTIONS):
        return bottleneck or (module.groups == 1 and module.padding_mode == "zeros")
    return isinstance(module, nn.Linear) or (bottleneck and isinstance(module, nn.MultiheadAttention))


@torch.no_grad()
def _passed(backbone: nn.Module, layers: Mapping[str, nn.Module], rows: Tensor) -> dict[str, list[Tensor]]:
    """What each layer gives at each call, and under "" last what the backbone gives."""
    given: dict[str, list[Tensor]] = {}

    def seen(path: str) -> Any:
        return lambda _layer, _args, output: given.setdefault(path, []).append(output[0] if isinstance(output, tuple) else output)

    modes = {module: module.training for module in backbone.modules()}
    hooks = [layer.register_forward_hook(seen(path)) for path, layer in layers.items()]
    output = backbone.eval()(rows)
    for hook in hooks:
        hook.remove()
    for module, mode in modes.items():
        module.training = mode
    if not isinstance(output, Tensor):
        way_out = "Wrap it in a module that returns the tensor to share."
        raise ConfigError(message("A backbone gives one tensor.", received=type(output).__name__, way_out=way_out))
    given.setdefault("", []).append(output)
    return given


def _axis_of_rows(first: Tensor, rest: Tensor, whole: Tensor) -> int | None:
    """The axis along which what came of some rows and of the others make up what came of all; None if there is none."""
    for axis in range(whole.dim()):
        sizes = [one.shape[axis] for one in (first, rest, whole)]
        if sizes[0] + sizes[1] == sizes[2]:
            others = {one.shape[:axis] + one.shape[axis + 1 :] for one in (first, rest, whole)}
            if len(others) > 1:
                continue
            # Where nothing has a value (a declared run is tried on the meta device), shapes must do.
            if whole.is_meta or torch.allclose(torch.cat([first, rest], axis), whole, rtol=1e-3, atol=1e-4):
                return axis
    return None
