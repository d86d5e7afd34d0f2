"""Encoder, sharing, heads: one model for all tasks."""

import inspect
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple, final

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from polytask.batch import Features, Labels
from polytask.biases import BIASES, Bias, Corrected
from polytask.encoders import ENCODERS, FittedColumns
from polytask.errors import ConfigError, message, nearest
from polytask.heads import Heads
from polytask.sharing import SHARINGS, Part, PerTask, Shared, Sharing, count_operations, evaluated, private_parameters
from polytask.spaces import SPACES, Clicked, Space
from polytask.tasks import Task

Method = str | Mapping[str, Any]
"""Name of a method, or its options with the name among them: `{"name": "mmoe", "num_experts": 4}`."""


class Outputs(NamedTuple):
    """What the model gives for n rows.

    Args:
        by_task: Output of each task's head: logits, standardised values, log rates.
        shared: What the sharing gave: representations, junction, gates, penalty.
        corrected: What the bias made of a training step; None without one, and outside training.
    """

    by_task: dict[str, Float[Tensor, "n _"]]
    shared: Shared
    corrected: Corrected | None = None


@final
class MultiTaskModel(nn.Module):
    """`outputs = heads(sharing(encoder(features)))`.

    Args:
        encoders: One encoder, or as many as the sharing asks for (`sharing.num_inputs`); each maps `Features` to `n d`. Where
            there is one a task, it belongs to its task like all that is in a `PerTask`, unless the sharing says that other
            losses reach it (`sharing.private_inputs`); one more is of all tasks.
        sharing: One representation in, one per task out.
        heads: From representations to outputs; it holds the tasks.
        bias: What position and device do to labels; None where nothing is to be corrected.
        space: How rows outside of the sample space of a task with `given` are treated; they are left out where it is None.

    Raises:
        ConfigError: If the parts do not fit each other: number of encoders, a width, the tasks or their order.
    """

    def __init__(
        self,
        encoders: Sequence[nn.Module],
        sharing: Sharing,
        heads: Heads,
        *,
        bias: Bias | None = None,
        space: Space | None = None,
    ) -> None:
        super().__init__()
        self.space = Clicked(heads.tasks) if space is None else space
        _check_fit(encoders, sharing, heads, self.space)
        num_own = len(sharing.tasks) if sharing.num_inputs > 1 else 0
        own = dict(zip(sharing.tasks, encoders[:num_own], strict=False))
        self.own_encoders = PerTask(own, private=sharing.private_inputs)
        self.encoders = nn.ModuleList(encoders[num_own:])
        self.sharing = sharing
        self.heads = heads
        self.bias = bias
        if bias is not None:
            bias.attach(heads.tasks, heads.in_features)
            _check_labels(bias, self.space)

    @classmethod
    def build(
        cls,
        preprocessing: FittedColumns,
        tasks: Sequence[Task],
        *,
        encoder: Method = "tabular",
        sharing: Method = "mmoe",
        heads: Mapping[str, Any] | None = None,
        bias: Method | None = None,
        space: Method = "clicked",
    ) -> "MultiTaskModel":
        """A model from names and options.

        Args:
            preprocessing: Fitted columns of the table.
            tasks: The tasks; fitted ones start their heads at the mean of their labels.
            encoder: Name in `ENCODERS`, or that name as "name" among its options.
            sharing: Name in `SHARINGS`, or that name as "name" among its options.
            heads: Options of `Heads`.
            bias: Options of a member of `BIASES`, its name as "name" among them; None where nothing is to be corrected.
            space: Name in `SPACES`, or that name as "name" among its options; heads that it needs are tasks behind the others.

        Raises:
            ConfigError: If a name or an option is unknown, or its value is not valid.
        """
        space_class, space_options = _method(space, SPACES, "space")
        treated = space_class(tasks, **space_options)
        encoder_class, encoder_options = _method(encoder, ENCODERS, "encoder")
        sharing_class, sharing_options = _method(sharing, SHARINGS, "sharing")
        corrects = None
        if bias is not None:
            bias_class, bias_options = _method(bias, BIASES, "bias")
            corrects = bias_class(preprocessing, **bias_options)
            preprocessing = corrects.visible(preprocessing)
        first = encoder_class(preprocessing, **encoder_options)
        shared = sharing_class(first.out_features, [task.name for task in treated.tasks], **sharing_options)
        more = [encoder_class(preprocessing, **encoder_options) for _ in range(shared.num_inputs - 1)]
        options = _known_options(Heads, heads or {}, "heads")
        heads_of_all = Heads(shared.out_features, treated.tasks, **options)
        return cls([first, *more], shared, heads_of_all, bias=corrects, space=treated)

    @property
    def tasks(self) -> tuple[Task, ...]:
        """The tasks, in the order of the sharing's outputs; those that the space adds come last."""
        return self.heads.tasks

    def forward(self, features: Features, *, apart: bool = False) -> Outputs:
        """Gives every task's output on every row; `apart` as of `Heads`, for balancers that compare gradients."""
        seen = features if self.bias is None else self.bias.inputs(features)
        inputs = [encoder(seen) for encoder in (*self.own_encoders.values(), *self.encoders)]
        shared = self.sharing(_as_computed(inputs[0] if self.sharing.num_inputs == 1 else torch.stack(inputs)))
        outputs = self.heads(shared.outputs, apart=apart)
        if self.bias is None:
            return Outputs(outputs, shared)
        if not self.training:
            return Outputs(self.bias.served(outputs), shared)
        corrected = self.bias.correct(outputs, features, shared.outputs)
        return Outputs(corrected.by_task, shared, corrected)

    def losses(self, outputs: Outputs, labels: Mapping[str, Labels]) -> dict[str, Float[Tensor, ""]]:
        """Loss of each task that this batch trains, as the space has it, times the task's weight."""
        if self.bias is not None and outputs.corrected is not None:
            weights = outputs.corrected.weights
            labels = dict(labels) | {name: self.bias.labels(labels[name], weights) for name in self.bias.tasks if name in labels}
        found = self.space.losses(outputs.by_task, labels)
        return {task.name: task.weight * found[task.name] for task in self.tasks if task.name in found}

    def untrained(self, losses: Iterable[str]) -> list[str]:
        """Names of the tasks whose own parameters none of some losses is meant to train."""
        trained = self.space.trained(losses)
        return [task.name for task in self.tasks if task.name not in trained]

    def junction(self, outputs: Outputs) -> Shared | tuple[Tensor, ...]:
        """Where balancers tell gradients of tasks apart: what the sharing gave, or places alone.

        Where a loss reads the heads of several tasks, a row of the sharing's outputs is not one loss's: only places are cut at.
        Those are the sharing's; where it shares nothing, losses part at the outputs of the heads.
        """
        if not self.space.couples:
            return outputs.shared
        return outputs.shared.junction or tuple(outputs.by_task.values())

    def penalty(self, outputs: Outputs, labels: Mapping[str, Labels]) -> Float[Tensor, ""] | None:
        """What training adds to the losses: the priors of sharing, bias and space, and what an adversary loses; None without any.

        The adversary's target is the task a row is labelled for, in equal parts where it is labelled for several.
        """
        guesses, prior = outputs.shared.guesses, outputs.shared.penalty
        added = None if outputs.corrected is None else outputs.corrected.penalty
        of_space = self.space.penalty(outputs.by_task) if self.training else None
        for more in (added, of_space):
            if more is not None:
                prior = more if prior is None else prior + more
        if guesses is None:
            return prior
        nothing = torch.zeros_like(guesses[:, 0], dtype=torch.bool)
        masks = [labels[task.name].observed if task.name in labels else nothing for task in self.tasks]
        observed = torch.stack(masks, dim=1).to(guesses.dtype)
        shares = observed / observed.sum(1, keepdim=True).clamp_min(1)
        adversary = cross_entropy(guesses, shares)
        return adversary if prior is None else prior + adversary

    def predict(self, features: Features) -> dict[str, Float[Tensor, "n ..."]]:
        """Predictions of the served tasks on their labels' own scale, and joint ones of tasks with `given` (`Space.predict`)."""
        return self.space.predict(self(features).by_task)


def _as_computed(x: Tensor) -> Tensor:
    """Under autocast, the representation in the type of the products: cast here once, not again by each that reads it."""
    kind = x.device.type
    return x.to(torch.get_autocast_dtype(kind)) if torch.is_autocast_enabled(kind) else x


def describe_model(model: MultiTaskModel, features: Features) -> list[Part]:
    """Parameters, operations a row and private share of each part, and of the whole in the last line.

    Args:
        model: The model; its mode is put back.
        features: Some rows; products are counted while they pass through.
    """
    with evaluated(model), count_operations() as counts:
        outputs = model(features)
    flops = {place.removeprefix("MultiTaskModel."): count for place, count in counts().items()}
    encoders = sum(count for place, count in flops.items() if re.fullmatch(r"(own_)?encoders\.[^.]+", place))
    found: list[tuple[str, nn.Module, int]] = [
        ("encoder", nn.ModuleList([model.own_encoders, model.encoders]), encoders),
        ("sharing", model.sharing, flops.get("sharing", 0)),
        ("heads", model.heads, flops.get("heads", 0)),
        *([] if model.bias is None else [("bias", model.bias, flops.get("bias", 0))]),
        ("model", model, flops["Global"]),
    ]
    parts = [_part(name, module, count // features.num_rows, model) for name, module, count in found]
    return [part._replace(junction=len(outputs.shared.junction)) if part.name == "sharing" else part for part in parts]


def _part(name: str, module: nn.Module, flops: int, model: MultiTaskModel) -> Part:
    inside = {id(parameter) for parameter in module.parameters()}
    private = {
        task.name: sum(parameter.numel() for parameter in private_parameters(model, task.name) if id(parameter) in inside)
        for task in model.tasks
    }
    return Part(name, sum(parameter.numel() for parameter in module.parameters()), flops, private)


def _method(method: Method, registry: Mapping[str, type], kind: str) -> tuple[type, dict[str, Any]]:
    options = {"name": method} if isinstance(method, str) else dict(method)
    name = str(options.pop("name", ""))
    if name not in registry:
        raise ConfigError(message(f"Unknown {kind}.", received=repr(name), way_out=nearest(name, registry)))
    return registry[name], _known_options(registry[name], options, f"{kind} {name!r}")


def _known_options(kind: type, options: Mapping[str, Any], what: str) -> dict[str, Any]:
    parameters = inspect.signature(kind).parameters.values()
    known = [parameter.name for parameter in parameters if parameter.kind is parameter.KEYWORD_ONLY]
    for option in options:
        if option not in known:
            raise ConfigError(message(f"Unknown option of {what}.", received=repr(option), way_out=nearest(option, known)))
    return dict(options)


def _check_labels(bias: Bias, space: Space) -> None:
    given = [task.given for task in space.tasks if task.given in bias.tasks]
    if given and bias.changes_labels and not isinstance(space, Clicked):
        expected = f"{type(space).__name__} goes by the labels of {given[0]!r}, which {type(bias).__name__} makes others of."
        raise ConfigError(message(expected, received="both", way_out="Take the space 'clicked', or the bias 'shallow_tower'."))


def _check_fit(encoders: Sequence[nn.Module], sharing: Sharing, heads: Heads, space: Space) -> None:
    names = tuple(task.name for task in heads.tasks)
    if names != tuple(task.name for task in space.tasks):
        expected = f"Heads need the space's tasks in its order, {tuple(task.name for task in space.tasks)}."
        raise ConfigError(message(expected, received=names, way_out="`MultiTaskModel.build` makes them."))
    if names != sharing.tasks:
        raise ConfigError(message(f"Heads need the sharing's tasks in its order, {sharing.tasks}.", received=names))
    if len(encoders) != sharing.num_inputs:
        expected = f"{type(sharing).__name__} needs {sharing.num_inputs} encoder(s)."
        raise ConfigError(message(expected, received=len(encoders), way_out="`MultiTaskModel.build` makes as many as it needs."))
    if heads.in_features != sharing.out_features:
        expected = f"The sharing's representations give width {sharing.out_features}."
        raise ConfigError(message(expected, received=f"heads of width {heads.in_features}"))
    for encoder in encoders:
        width = getattr(encoder, "out_features", sharing.in_features)
        if width != sharing.in_features:
            raise ConfigError(message(f"The sharing reads representations of width {sharing.in_features}.", received=width))
