"""The contract is tested by breaking it: every seeded bug must die, by `check_sharing` or by a reference test that is named."""

import os
import pkgutil
import random
import runpy
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import pytest
import torch
from torch import nn

from polytask.sharing import (
    AITM,
    PLE,
    SNR,
    STEM,
    AdaTT,
    CrossStitch,
    DSelectK,
    MLPs,
    MMoE,
    PerTask,
    Shared,
    SharedBottom,
    Sharing,
    SingleTask,
    Sluice,
    SoftSharing,
)
from polytask.testing import check_sharing

HERE = Path(__file__).parent
NUM_MUTANTS, NUM_LEFT_TO_REFERENCES = 64, 6


class Mutant(NamedTuple):
    """A seeded bug.

    Args:
        name: What is wrong.
        make: The sharing that is broken.
        patch: Breaks it; it is mended after the test.
        killed_by: What `check_sharing` complains of; or, where it cannot know, the test file and test of the architecture that
            fails, as "test_ple.py::test_equals_a_slow_reference", with the arguments in `options`.
        options: Arguments of that test beside its fixtures.
    """

    name: str
    make: Callable[..., Sharing]
    patch: Callable[[pytest.MonkeyPatch], Any]
    killed_by: str
    options: Mapping[str, Any] = MappingProxyType({})


def changed(name, change):
    """A method or function `module:Class.method` is replaced by `change(the original)`."""

    def patch(monkeypatch):
        place, _, attribute = f"polytask.sharing.{name}".replace(":", "." if name.count(".") == 0 else ":").rpartition(".")
        holder = pkgutil.resolve_name(place)
        monkeypatch.setattr(holder, attribute, change(getattr(holder, attribute)))

    return patch


def instead(name, new):
    return changed(name, lambda original: new)


def reads(name, change):
    """A forward pass reads something else."""
    return changed(f"{name}.forward", lambda original: lambda self, x: original(self, change(x)))


def gives(name, change):
    """A forward pass gives something else: `change(self, what it gave)` names what is replaced."""

    def wrap(original):
        def forward(self, x):
            shared = original(self, x)
            return shared._replace(**change(self, shared))

        return forward

    return changed(f"{name}.forward", wrap)


def puts_out(name, change):
    return gives(name, lambda self, shared: {"outputs": change(shared.outputs)})


def built(name, change):
    """A new one is changed."""

    def wrap(original):
        def build(self, *args, **options):
            original(self, *args, **options)
            change(self)

        return build

    return changed(f"{name}.__init__", wrap)


def together(*patches):
    return lambda monkeypatch: [patch(monkeypatch) for patch in patches]


def gates(change):
    """The gates of an MMoE from their logits."""
    return instead("_mmoe:gate_weights", lambda logits, drop=0.0: change(logits))


def mixes(einsum):
    """The mixture of an MMoE from gates and experts."""
    return instead("_mmoe:mix", einsum)


class Positional(Sharing):
    """A scale for each task, kept by the task's place."""

    def __init__(self, in_features, tasks):
        super().__init__(in_features, tasks)
        self.trunk, self.out_features = MLPs(1, in_features, (4,)), 4
        self.scales = nn.Parameter(torch.ones(len(tasks), 1, 1))

    def forward(self, x):
        z = self.trunk(x)
        return Shared(z * self.scales, (z, self.scales))


class Guessing(Sharing):
    """A trunk with an adversary, right as it stands."""

    def __init__(self, in_features, tasks):
        super().__init__(in_features, tasks)
        self.trunk, self.out_features = MLPs(1, in_features, (4,)), 4
        self.adversary = PerTask({task: nn.Linear(4, 1) for task in tasks}, private=False)

    def guess(self, z):
        return torch.cat([one(z) for one in self.adversary.values()], dim=1) if self.training else None

    def forward(self, x):
        z = self.trunk(x).squeeze(0)
        return Shared(z.expand(len(self.tasks), -1, -1), (z,), guesses=self.guess(z))


def guessing(guess):
    return lambda patch: patch.setattr(Guessing, "guess", guess)


def by_place(modules, *, private=True):
    """Names of the tasks in the wrong order."""
    return PerTask(dict(zip(sorted(modules), modules.values(), strict=True)), private=private)


def standardised(z):
    return nn.functional.batch_norm(z.transpose(1, 2), None, None, training=True).transpose(1, 2)


def left_as_drawn(self):
    with torch.no_grad():
        for parameter in self.parameters():
            parameter.uniform_(-1, 1, generator=torch.Generator().manual_seed(0))


def drawn_by_the_system(self):
    with torch.no_grad():
        for parameter in self.parameters():
            parameter.fill_(int.from_bytes(os.urandom(2), "little") / 2**16)


def count_passes(self, shared):
    self.passes += 1
    return {}


def count_steps(self, lr):
    self.steps_outside_the_state = getattr(self, "steps_outside_the_state", 0) + 1


def cooled(self, shared):
    return {"outputs": shared.outputs * 0.9 ** (getattr(self, "steps_outside_the_state", 0) if self.training else 0)}


def shared_experts_read_tasks(original):
    """As a public implementation: shared experts are fed a task's stream."""
    return lambda self, streams, shared, drop: original(self, streams, shared if streams.dim() == 2 else streams[0], drop)


def penalised(penalty):
    return lambda self, shared: {"penalty": penalty(self, shared) if self.training else None}


def one_level_mixes_all(gates, own, common):
    return torch.einsum("kne,enh->knh", gates.to(own.dtype), torch.cat([own.flatten(0, 1), common]))


MIXTURE = partial(MMoE, num_experts=3, hidden=(5,))
DROPPING = partial(MMoE, num_experts=3, hidden=(5,), expert_dropout=0.3)
BOTTOM = partial(SharedBottom, hidden=(5,))
LEVELS = partial(PLE, levels=[(4,), (5,)], num_task_experts=2, num_shared_experts=3)
STITCHED = partial(CrossStitch, hidden=(5, 4))
TIED = partial(SoftSharing, hidden=(5,))
TRACE = partial(SoftSharing, hidden=(5,), penalty="trace_norm")
SELECTING = partial(DSelectK, num_experts=4, hidden=(5,))
MMOE, BOT, PLE_ = "_mmoe:MMoE", "_shared_bottom:SharedBottom", "_ple:PLE"
SLOW = "test_{}.py::test_equals_a_slow_reference"
PLE_OPTIONS = {"options": {"levels": [(4, 3), (5,), (2,)]}}

MUTANTS = [
    # what each task gets
    Mutant("tasks in another order", MIXTURE, puts_out(MMOE, lambda z: z.roll(1, 0)), "is private to"),
    Mutant(
        "tasks told apart by place",
        BOTTOM,
        puts_out(BOT, lambda z: z * torch.arange(1, len(z) + 1, dtype=z.dtype).view(-1, 1, 1)),
        "permuting the tasks changes their representations",
    ),
    Mutant("state by place", Positional, lambda patch: None, "permuting the tasks changes their representations"),
    Mutant("parameters under another task's name", MIXTURE, instead("_mmoe:PerTask", by_place), "is private to"),
    Mutant(
        "tasks sorted", BOTTOM, built(BOT, lambda self: setattr(self, "tasks", tuple(sorted(self.tasks)))), "forgets its tasks"
    ),
    Mutant(
        "gates told of another task",
        MIXTURE,
        gives(MMOE, lambda self, shared: {"gates": shared.gates.roll(1, 0)}),
        "permuting the tasks changes their gates",
    ),
    Mutant("one task alone loses its axis", BOTTOM, puts_out(BOT, lambda z: z.squeeze(0)), "for one task only"),
    Mutant("one task alone stops it", BOTTOM, puts_out(BOT, lambda z: z + 0 * z[1]), "one task only. It stopped with IndexError"),
    Mutant("rows before tasks", BOTTOM, puts_out(BOT, lambda z: z.transpose(0, 1)), "not k n h"),
    Mutant("infinite slope", BOTTOM, puts_out(BOT, lambda z: z + (z - z).sqrt()), "a gradient is no number"),
    # gates
    Mutant("softmax over tasks", MIXTURE, gates(lambda logits: logits.softmax(0)), "do not sum to 1"),
    Mutant("softmax over rows", MIXTURE, gates(lambda logits: logits.softmax(1)), "do not sum to 1"),
    Mutant(
        "softmax over rows, then experts",
        MIXTURE,
        gates(lambda logits: logits.softmax(1).softmax(-1)),
        "depend.* on the rows beside",
    ),
    Mutant("gates not normalised", MIXTURE, gates(torch.sigmoid), "do not sum to 1"),
    Mutant("gates below 0", MIXTURE, gates(lambda logits: logits - logits.mean(-1, True) + 1 / 3), "a gate is negative"),
    Mutant("gate ignored", MIXTURE, mixes(lambda g, experts: experts.mean(0).expand(len(g), -1, -1)), "is trained by nothing"),
    Mutant("gate learns nothing", MIXTURE, gates(lambda logits: logits.detach().softmax(-1)), "is trained by nothing"),
    Mutant(
        "first task's gate for all",
        MIXTURE,
        mixes(lambda g, experts: torch.einsum("ne,enh->nh", g[0], experts).expand(len(g), -1, -1)),
        "is private to 'click'",
    ),
    Mutant(
        "experts not in the order of their gates",
        MIXTURE,
        mixes(lambda g, e: torch.einsum("kne,enh->knh", g, e.flip(0))),
        SLOW.format("mmoe"),
    ),
    Mutant("gates with a temperature", MIXTURE, gates(lambda logits: (logits / 2).softmax(-1)), SLOW.format("mmoe")),
    Mutant(
        "an owner too few",
        LEVELS,
        built(PLE_, lambda self: setattr(self, "expert_owners", self.expert_owners[1:])),
        "expert_owners are",
    ),
    # who trains what
    Mutant(
        "shared parameters called private",
        LEVELS,
        instead("_levels:PerTask", lambda modules, private: PerTask(modules)),
        "is private to",
    ),
    Mutant(
        "private parameters called shared",
        MIXTURE,
        instead("_mmoe:PerTask", partial(PerTask, private=False)),
        "lies in no PerTask",
    ),
    Mutant("foreign experts not detached", STEM, instead("_stem:mixture_of_all", one_level_mixes_all), "is private to"),
    Mutant(
        "shared gate missing",
        LEVELS,
        instead("_levels:Level._shared_stream", lambda self, shared, own, common, drop: torch.cat([*own, common]).mean(0)),
        "is trained by nothing",
    ),
    Mutant(
        "shared experts fed a task's stream",
        LEVELS,
        changed("_levels:Level.forward", shared_experts_read_tasks),
        SLOW.format("ple"),
        PLE_OPTIONS,
    ),
    Mutant(
        "mixing matrix transposed",
        STITCHED,
        changed("_stitches:Stitch.weights", lambda original: lambda self: original(self).transpose(0, 1)),
        "is private to",
    ),
    Mutant(
        "mixing matrix of ones",
        STITCHED,
        instead("_stitches:_near_identity", lambda size, self_weight: torch.ones(size, size)),
        "test_cross_stitch.py::test_activations_are_not_scaled_at_the_start",
    ),
    Mutant(
        "residual left out",
        AdaTT,
        changed("_adatt:_Level._residual", lambda original: lambda self, like: 0 * original(self, like)),
        "test_adatt.py::test_a_task_keeps_its_own_experts_whatever_its_gate_says",
    ),
    Mutant(
        "another task's encoder read",
        SingleTask,
        reads("_single_task:SingleTask", lambda x: x + x.roll(1, 0)),
        "trains the encoders of",
    ),
    Mutant(
        "pair of weights over rows",
        AITM,
        changed("_aitm:gate_weights", lambda original: lambda s, drop=0.0: s.softmax(1)),
        "sum to 1",
    ),
    # where tasks part
    Mutant(
        "junction without the gates' path",
        MIXTURE,
        gives(MMOE, lambda self, s: {"junction": s.junction[:1]}),
        "around the junction, or twice",
    ),
    Mutant(
        "junction counted twice",
        MIXTURE,
        gives(MMOE, lambda self, s: {"junction": (*s.junction, s.junction[0])}),
        "around the junction, or twice",
    ),
    Mutant("no junction", BOTTOM, gives(BOT, lambda self, s: {"junction": ()}), "has a junction, and only that"),
    Mutant(
        "junction of a copy",
        BOTTOM,
        gives(BOT, lambda self, s: {"junction": (s.junction[0].clone(),)}),
        "around the junction, or twice",
    ),
    Mutant(
        "junction where nothing is shared",
        SingleTask,
        gives("_single_task:SingleTask", lambda self, s: {"junction": (s.outputs,)}),
        "has a junction, and only that",
    ),
    # rows, chance, state
    Mutant(
        "mean of the batch taken away", BOTTOM, reads(BOT, lambda x: x - x.mean(-2, keepdim=True)), "depends on the rows beside"
    ),
    Mutant("statistics of the batch", BOTTOM, puts_out(BOT, standardised), "no row sees another row|depends on the rows beside"),
    Mutant(
        "experts dropped in evaluation",
        DROPPING,
        changed("_mmoe:gate_weights", lambda original: lambda logits, drop: original(logits, 0.4)),
        "two passes in evaluation mode differ",
    ),
    Mutant(
        "gates of training in evaluation",
        SNR,
        changed("_snr:evaluation_gates", lambda original: lambda log: original(log + torch.randn_like(log))),
        "in evaluation mode differ",
    ),
    Mutant(
        "state moves in evaluation",
        BOTTOM,
        together(built(BOT, lambda self: self.register_buffer("passes", torch.zeros(()))), gives(BOT, count_passes)),
        "in evaluation mode changes the state",
    ),
    Mutant(
        "chance of Python's own",
        MIXTURE,
        gives(MMOE, lambda self, s: {"outputs": s.outputs * (1 + self.training * random.random())}),
        "two runs of one seed differ",
    ),
    Mutant("start from the system's chance", BOTTOM, built(BOT, drawn_by_the_system), "two runs of one seed start differently"),
    Mutant("seed ignored", BOTTOM, built(BOT, left_as_drawn), "a seed does not reach the parameters"),
    Mutant(
        "counter outside the state",
        MIXTURE,
        together(instead("_base:Sharing.after_step", count_steps), gives(MMOE, cooled)),
        "whole state of training",
    ),
    Mutant(
        "one weight under two names",
        BOTTOM,
        built(BOT, lambda self: setattr(self, "again", self.trunk)),
        "the state is plain tensors and whole",
    ),
    Mutant(
        "state that is no tensor",
        BOTTOM,
        lambda patch: patch.setattr(SharedBottom, "get_extra_state", lambda self: {"a": 1}, raising=False),
        "holds more than tensors",
    ),
    # numbers and ways to run
    Mutant("float32 inside", BOTTOM, reads(BOT, lambda x: x.float().to(x.dtype)), "computed in less"),
    Mutant("float32 out", BOTTOM, puts_out(BOT, lambda z: z.float()), "float64 in is not float64 out"),
    Mutant(
        "bfloat16 widened",
        BOTTOM,
        puts_out(BOT, lambda z: z.to(torch.promote_types(z.dtype, torch.float32))),
        "bfloat16 in is torch.float32 out",
    ),
    Mutant(
        "waits for the host", BOTTOM, reads(BOT, lambda x: x if x.sum().item() else x + 1), "replicas run under vmap. It stopped"
    ),
    Mutant(
        "number of rows fixed",
        BOTTOM,
        puts_out(BOT, lambda z: z.reshape(len(z), int(z.shape[1]), -1)[:, : int(z.shape[1])]),
        "can be exported",
    ),
    # penalties and adversaries
    Mutant(
        "penalty in evaluation",
        TIED,
        gives("_soft_sharing:SoftSharing", lambda self, s: {"penalty": self.distance()}),
        "a penalty outside training",
    ),
    Mutant(
        "penalty of every tower apart",
        TIED,
        gives("_soft_sharing:SoftSharing", penalised(lambda self, s: self.distance().expand(2))),
        "not a scalar",
    ),
    Mutant(
        "penalty detached",
        TIED,
        gives("_soft_sharing:SoftSharing", penalised(lambda self, s: s.penalty.detach())),
        "the penalty depends on no parameter",
    ),
    Mutant(
        "penalty of the last task only",
        SELECTING,
        gives("_dselect_k:DSelectK", penalised(lambda self, s: torch.special.entr(s.gates[-1].clamp_min(1e-9)).sum())),
        "no penalty holds it down",
    ),
    Mutant(
        "penalty by place",
        TIED,
        gives(
            "_soft_sharing:SoftSharing",
            penalised(lambda self, s: sum(i * p.square().sum() for i, p in enumerate(self.bottoms.parameters(), start=1))),
        ),
        "permuting the tasks changes the penalty",
    ),
    Mutant(
        "penalty on the last task's weights only",
        TIED,
        gives(
            "_soft_sharing:SoftSharing",
            penalised(
                lambda self, s: (
                    sum(p.square().sum() for p in self.bottoms.of("time").parameters()) + 0 * torch.rand(())
                    if "time" in self.tasks
                    else None
                )
            ),
        ),
        "but not of the other tasks",
    ),
    Mutant(
        "spared decay of another's",
        TRACE,
        instead("_soft_sharing:SoftSharing.penalised_parameters", lambda self: [nn.Parameter(torch.zeros(2))]),
        "not its own",
    ),
    Mutant(
        "spared decay, held by nothing",
        SELECTING,
        instead("_dselect_k:DSelectK.penalised_parameters", lambda self: list(self.parameters())),
        "no penalty holds it down",
    ),
    Mutant(
        "guesses in evaluation",
        Guessing,
        guessing(lambda self, z: torch.cat([one(z) for one in self.adversary.values()], 1)),
        "an adversary guesses outside training",
    ),
    Mutant(
        "guesses transposed",
        Guessing,
        guessing(lambda self, z: torch.stack([one(z) for one in self.adversary.values()]).squeeze(2) if self.training else None),
        "not n k",
    ),
    Mutant(
        "guesses told of another task",
        Guessing,
        guessing(lambda self, z: torch.cat([one(z) for one in self.adversary.values()], 1).roll(1, 1) if self.training else None),
        "permuting the tasks changes the guesses",
    ),
    Mutant(
        "orthogonality left out",
        Sluice,
        instead("_sluice:Sluice._penalty", lambda self: 0 * next(self.parameters()).sum()),
        "test_sluice.py::test_penalty_is_that_of_the_paper_and_for_training_only",
    ),
]


def test_the_list_is_whole():
    assert len(MUTANTS) == NUM_MUTANTS
    assert len({mutant.name for mutant in MUTANTS}) == NUM_MUTANTS
    assert sum("::" in mutant.killed_by for mutant in MUTANTS) == NUM_LEFT_TO_REFERENCES


@pytest.mark.parametrize("make", [Guessing])
def test_what_is_broken_here_is_sound_before(make):
    check_sharing(make)


@pytest.mark.parametrize("mutant", [mutant for mutant in MUTANTS if "::" not in mutant.killed_by], ids=lambda mutant: mutant.name)
def test_the_contract_kills(mutant, monkeypatch):
    mutant.patch(monkeypatch)
    with pytest.raises(AssertionError, match=mutant.killed_by):
        check_sharing(mutant.make)


@pytest.mark.parametrize("mutant", [mutant for mutant in MUTANTS if "::" in mutant.killed_by], ids=lambda mutant: mutant.name)
def test_a_reference_kills(mutant, monkeypatch, slow, scrambled):
    """The test is that of the architecture itself, run here on the broken one: it passes before and fails after."""
    file, name = mutant.killed_by.split("::")
    test = runpy.run_path(str(HERE / file))[name]
    asked = test.__code__.co_varnames[: test.__code__.co_argcount]
    arguments = {fixture: value for fixture, value in {"slow": slow, "scrambled": scrambled}.items() if fixture in asked}
    test(**arguments, **mutant.options)
    mutant.patch(monkeypatch)
    with pytest.raises(AssertionError):
        test(**arguments, **mutant.options)
