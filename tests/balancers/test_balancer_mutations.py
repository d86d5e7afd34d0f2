"""The contract is tested by breaking it: every seeded bug must die, by `check_balancer` or by a reference test that is named."""

import pkgutil
import random
import runpy
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from torch import nn

from polytask.balancers import Balance, Balancer, Equal, LossBalancer, UPGrad
from polytask.balancers._coordinates import CoordinateBalancer
from polytask.balancers._gradient import GramianBalancer
from polytask.balancers._graph import above, edge_of
from polytask.balancers._state import Count, PairState, PerTaskState
from polytask.testing import check_balancer

HERE = Path(__file__).parent
NUM_MUTANTS, NUM_LEFT_TO_REFERENCES = 76, 5
NONE: Mapping[str, Any] = MappingProxyType({})


class Mutant(NamedTuple):
    """A seeded bug.

    Args:
        name: What is wrong.
        make: The balancer that is broken.
        patch: Breaks it; it is mended after the test.
        killed_by: What `check_balancer` complains of; or, where it cannot know, the test file and test that fails, as
            "test_cut.py::test_...", with the arguments in `options`.
        options: Promises of the balancer, or arguments of that test.
    """

    name: str
    make: Callable[..., Balancer]
    patch: Callable[[pytest.MonkeyPatch], Any]
    killed_by: str
    options: Mapping[str, Any] = NONE


def changed(name, change):
    """A method or function is replaced by `change(the original)`: of a class of this file, or `module:Class.method`."""

    def patch(monkeypatch):
        place, attribute = name if isinstance(name, tuple) else (None, "")
        if place is None:
            path, _, attribute = name.replace(":", "." if "." not in name else ":").rpartition(".")
            place = pkgutil.resolve_name(f"polytask.balancers.{path}")
        monkeypatch.setattr(place, attribute, change(getattr(place, attribute)))

    return patch


def instead(name, new):
    return changed(name, lambda original: new)


def untouched(monkeypatch):
    """What is wrong is the declaration."""


def backward(kind, before=None, after=None):
    """`backward` of a class with other losses or another penalty, or with another balance."""

    def wrap(original):
        def broken(self, losses, shared=(), junction=(), penalty=None):
            if before is not None:
                losses, penalty = before(self, losses, penalty)
            balance = original(self, losses, shared, junction, penalty)
            return balance if after is None else after(self, losses, balance)

        return broken

    return changed((kind, "backward"), wrap)


class Kept(LossBalancer):
    """Every loss over its running mean, with a learned weight, fading: all kinds of state at once."""

    def __init__(self, tasks):
        super().__init__(tasks)
        self.mean = PerTaskState(self.tasks)
        self.logs = nn.ParameterDict({f"task_{name}": nn.Parameter(torch.zeros(())) for name in tasks})
        self.count = Count()
        self.register_buffer("epoch", torch.zeros(()))

    def objective(self, losses, names):
        known, held = self.mean.at(names).to(losses), losses.detach()
        first = known == 0
        self.keep(names, torch.where(first, held, torch.lerp(known, held, 0.3)), known)
        ratio = torch.where(first, 1.0, held / known)
        fade = 1 / (1 + 0.1 * self.count.next() + self.epoch)
        s = torch.stack([self.logs[f"task_{name}"] for name in names])
        return (fade * ratio * torch.exp(-s) * losses + 0.1 * s).sum()

    def keep(self, names, mean, known):
        self.mean.put(names, torch.where(mean.isfinite(), mean, known))

    def after_epoch(self):
        self.epoch += 1


class Shares(LossBalancer):
    """Weights shared out among those present, by the size of their losses."""

    def objective(self, losses, names):
        held = losses.detach()
        share = torch.softmax(torch.log1p(self.known(held)).masked_fill(~held.isfinite(), -torch.inf), 0)
        return (self.amount(held.isfinite().sum()) * share * losses).sum()

    def known(self, losses):
        return losses

    def amount(self, number):
        return number


class Projected(GramianBalancer):
    """About equal projections onto the tasks' gradients, and a history of pairs that is not symmetric."""

    def __init__(self, tasks):
        super().__init__(tasks)
        self.pairs = PairState(self.tasks)

    def weigh(self, measured, losses, names):
        if len(names) == 1:
            return torch.ones_like(losses)
        gramian, squares = measured.gramian, measured.gramian.diagonal()
        weights = torch.linalg.solve(gramian + 0.1 * torch.diag(squares), self.lengths(squares)).abs()
        before = self.pairs.at(names)
        ahead = torch.tensor([[float(one < other) for other in names] for one in names])
        cosines = gramian / torch.outer(squares.sqrt(), squares.sqrt())
        self.pairs.put(names, torch.lerp(before, (cosines * (1 + ahead)).to(before), 0.5))
        return self.amount(len(names)) * weights / weights.sum() * (1 + 0.1 * before.to(weights).sum(1))

    def lengths(self, squares):
        return squares.sqrt()

    def amount(self, number):
        return number


class Majority(CoordinateBalancer):
    """Of every coordinate the sign that weighs more."""

    def combine(self, rows, finite, names):
        kept = {place: torch.where((g > 0) == (g.sum(0) > 0), g, 0.0).sum(0) for place, g in rows.items()}
        return kept, finite.new_ones((), dtype=torch.float64).expand(len(finite))


SHARING: Mapping[str, Any] = {"absent_changes_others": True}
HARMLESS = {**SHARING, "scale": "equivariant", "conflict_free": True}
SUBJECTS = {
    Kept: {"scale": "none"},
    Shares: {**SHARING, "scale": "none"},
    Projected: {**SHARING, "scale": "invariant"},
    Majority: {"absent_changes_others": False, "scale": "equivariant"},
}


class Stacked(LossBalancer):
    """Losses in one tensor, where zero times NaN spreads."""

    def backward(self, losses, shared=(), junction=(), penalty=None):
        self._check(losses)
        total = torch.stack(list(losses.values()))
        weights = 1 + 0 * total.detach().sum()
        ((weights * total).sum() if penalty is None else (weights * total).sum() + penalty).backward()
        return Balance({name: loss.detach() for name, loss in losses.items()}, dict.fromkeys(losses, weights))

    def objective(self, losses, names):
        raise NotImplementedError


def with_zeros(self, losses, penalty):
    """Absent tasks as losses of zero."""
    return {**losses, **{name: torch.zeros((), requires_grad=True) for name in self.tasks if name not in losses}}, penalty


def emptied(self, losses, penalty):
    """`.grad` overwritten."""
    roots = [*losses.values(), *([] if penalty is None else [penalty])]
    for parameter in above([edge_of(root) for root in roots]).leaves:
        parameter.grad = None
    return losses, penalty


def own_emptied(self, losses, penalty):
    self.zero_grad()
    return losses, penalty


def of_balance(**change):
    """One part of the balance differs: `change(losses, part)`."""
    return lambda self, losses, balance: balance._replace(
        **{part: make(losses, getattr(balance, part)) for part, make in change.items() if getattr(balance, part) is not None}
    )


def swapped(losses, weights):
    return dict(zip(weights, [*list(weights.values())[1:], next(iter(weights.values()))], strict=True))


def weigh(change):
    """The weights of `Projected`, changed."""
    return changed((Projected, "weigh"), lambda original: lambda self, m, losses, names: change(self, original, m, losses, names))


def gramian_is(change):
    """The Gramian that is measured in each way, changed."""

    def wrap(original):
        def broken(blocks, num):
            return change(original(blocks, num), blocks)

        return broken

    return lambda monkeypatch: [
        changed(f"{place}.inner_products", wrap)(monkeypatch) for place in ("measures._parameters", "measures._layers")
    ]


def written(change):
    """What a cut writes, changed: `change(cut, roots, penalty)` gives both."""
    return changed(
        "_cut:Cut.write",
        lambda original: lambda self, roots, penalty: original(self, *change(self, list(roots), penalty)),
    )


def privately(factor):
    def scale(cut, roots, penalty):
        cut.private = {parameter: factor * gradient for parameter, gradient in cut.private.items()}
        return roots, penalty

    return scale


def saves(kind, save):
    return instead((kind, "_save_to_state_dict"), save)


def saves_by_place(self, destination, prefix, keep_vars):
    for place, name in enumerate(sorted(self.tasks)):
        destination[f"{prefix}task_{name}"] = self.value[place].detach().clone()


def forgets(self, destination, prefix, keep_vars):
    for name in self.tasks:
        destination[f"{prefix}task_{name}"] = torch.full_like(self.value[0], self.fill)


def moves_all(self, names, values):
    self.value = 0.9 * self.value
    self.value[self.index(names)] = values.detach().to(self.value.dtype)


def drawn(source):
    """Weights with noise from somewhere."""
    return lambda self, original, m, losses, names: original(self, m, losses, names) * (1 + 1e-3 * source())


def again(weights):
    """What is used between measurements."""

    def broken(self, parts, penalty):
        chosen = weights(self, parts)
        parts.send(parts.weighted(chosen), penalty)
        return chosen

    return instead((GramianBalancer, "_again"), broken)


def decaying(put):
    def broken(self, names, values):
        self.value = 0.9 * self.value
        put(self, names, values)

    return broken


def next_from_one(self):
    self.times += 1
    return self.times


def surgery(conflicts=lambda inner: inner < 0, sign=1.0, original=True, amount=lambda tasks: 1.0):
    """PCGrad on weights of gradients, with a bug."""

    def broken(gramian, order):
        tasks = len(gramian)
        changed = torch.eye(tasks, dtype=gramian.dtype)
        for i in range(tasks):
            for j in order[i].tolist():
                other = torch.eye(tasks, dtype=gramian.dtype)[j] if original else changed[j]
                inner = changed[i] @ gramian @ other
                if i != j and conflicts(inner):
                    changed[i] = changed[i] - sign * inner / (other @ gramian @ other) * other
        return amount(tasks) * changed.sum(0)

    return instead("solvers.surgery_weights", broken)


SURGERY = "solvers/test_surgery_solvers.py::test_surgery_is_that_of_the_paper"
CONFLICT = {"kind": "conflict", "tasks": 8}

MUTANTS = [
    # what is decided from losses
    Mutant(
        "by position",
        Equal,
        instead((Equal, "objective"), lambda self, x, n: (torch.arange(1.0, len(n) + 1) * x).sum()),
        "changes what is decided",
    ),
    Mutant("mean for sum", Equal, instead((Equal, "objective"), lambda self, x, n: x.mean()), "an absence changes the others"),
    Mutant(
        "half of all", Equal, instead((Equal, "objective"), lambda self, x, n: 0.5 * x.sum()), "one task alone is not trained"
    ),
    Mutant("sum of squares", Equal, instead((Equal, "objective"), lambda self, x, n: 0.5 * x.square().sum()), "one task alone"),
    Mutant("share for one task too few", Shares, instead((Shares, "amount"), lambda self, number: number - 1), "one task alone"),
    Mutant(
        "shared out among all",
        Shares,
        instead((Shares, "amount"), lambda self, number: len(self.tasks)),
        "declared to be shared",
        SHARING,
    ),
    Mutant(
        "weights of swapped tasks",
        Kept,
        changed("_loss:_derivative", lambda f: lambda o, v: f(o, v).roll(1)),
        "changes what is decided",
    ),
    Mutant(
        "swapped weights in the balance", Kept, backward(LossBalancer, None, of_balance(weights=swapped)), "weighted gradient"
    ),
    Mutant(
        "balance of other losses", Kept, backward(LossBalancer, None, of_balance(losses=swapped)), "the balance has other losses"
    ),
    Mutant(
        "losses keep the graph",
        Kept,
        backward(LossBalancer, None, of_balance(losses=lambda losses, _: dict(losses))),
        "the graph",
    ),
    Mutant(
        "weights in one vector",
        Kept,
        backward(LossBalancer, None, of_balance(weights=lambda _, w: {n: x[None] for n, x in w.items()})),
        "no scalar",
    ),
    Mutant("an absent task is a loss of zero", Kept, backward(LossBalancer, with_zeros), "other tasks than had a loss"),
    Mutant(
        "penalty doubled",
        Kept,
        backward(LossBalancer, lambda self, losses, p: (losses, p if p is None else 2 * p)),
        "not added as it is",
    ),
    Mutant("penalty forgotten", Kept, backward(LossBalancer, lambda self, losses, p: (losses, None)), "not added as it is"),
    Mutant(
        "penalty weighted as a task",
        Kept,
        backward(
            LossBalancer, lambda self, losses, p: ({n: loss if p is None else loss + 0.1 * p for n, loss in losses.items()}, None)
        ),
        "penalty",
    ),
    Mutant("gradients overwritten", Kept, backward(LossBalancer, emptied), "earlier micro-batch"),
    Mutant("own gradients overwritten", Kept, backward(LossBalancer, own_emptied), "earlier micro-batch"),
    Mutant("NaN multiplied by zero", Stacked, untouched, "NaN loss of 'buy' changes"),
    Mutant(
        "NaN hidden",
        Kept,
        backward(LossBalancer, None, of_balance(losses=lambda _, x: {n: v.nan_to_num() for n, v in x.items()})),
        "hides",
    ),
    Mutant(
        "NaN kept in the state",
        Kept,
        instead((Kept, "keep"), lambda self, names, mean, known: self.mean.put(names, mean)),
        "another state than its absence",
    ),
    Mutant(
        "NaN in the state of others",
        Kept,
        instead(
            (Kept, "keep"), lambda self, names, mean, known: self.mean.put(names, torch.where(mean.isfinite().all(), mean, known))
        ),
        "another state than its absence",
    ),
    Mutant(
        "an infinite loss takes all",
        Shares,
        instead((Shares, "known"), lambda self, losses: losses / losses.sum()),
        "NaN loss of 'buy' changes",
        SHARING,
    ),
    Mutant("mistakes pass", Kept, instead((Balancer, "_check"), lambda self, losses: None), "mistakes are named|without a word"),
    Mutant(
        "a task twice",
        Kept,
        changed((Kept, "__init__"), lambda f: lambda self, tasks: f(self, list(dict.fromkeys(tasks)))),
        "named twice is taken",
    ),
    # scale and conflict
    Mutant("declared invariant", Equal, untouched, "is 'equivariant'", {"scale": "invariant"}),
    Mutant("declared dependent", Equal, untouched, "is 'equivariant'", {"scale": "none"}),
    Mutant("declared equivariant", Kept, untouched, "is 'none'", {"scale": "equivariant"}),
    Mutant(
        "forgotten sqrt",
        Projected,
        instead((Projected, "lengths"), lambda self, squares: squares),
        "but is 'equivariant'",
        {**SHARING, "scale": "invariant"},
    ),
    Mutant(
        "an absolute floor",
        Projected,
        instead((Projected, "lengths"), lambda self, squares: squares.clamp_min(1.0).sqrt()),
        "but is 'none'",
        {**SHARING, "scale": "equivariant"},
    ),
    Mutant("declared harmless", Equal, untouched, "conflicts with that of", {"conflict_free": True}),
    Mutant(
        "the sum, not projected",
        UPGrad,
        instead((UPGrad, "weigh"), lambda self, m, losses, names: torch.ones_like(losses)),
        "conflicts with that of|but does not",
        HARMLESS,
    ),
    Mutant(
        "projected to the wrong side",
        UPGrad,
        changed((UPGrad, "weigh"), lambda f: lambda self, m, losses, names: 2 - f(self, m, losses, names)),
        "conflicts with that of",
        HARMLESS,
    ),
    Mutant("declared to change others", Equal, untouched, "but does not", SHARING),
    Mutant("declared to leave others", Shares, untouched, "an absence changes the others"),
    # state
    Mutant("state by position", Kept, saves(PerTaskState, saves_by_place), "task name|absent task's state"),
    Mutant("state not saved", Kept, saves(PerTaskState, forgets), "task name|absent task's state"),
    Mutant(
        "state of absent tasks decays",
        Kept,
        instead((PerTaskState, "put"), torch.no_grad()(moves_all)),
        "absent task's state changed",
    ),
    Mutant(
        "state in the order of tasks",
        Kept,
        instead((PerTaskState, "at"), lambda self, names: self.value[self.index(sorted(names, key=self.tasks.index))]),
        "permuting the tasks or the losses",
    ),
    Mutant(
        "state put in the order of tasks",
        Kept,
        instead(
            (PerTaskState, "put"),
            torch.no_grad()(lambda self, names, values: self.value.__setitem__(slice(0, len(names)), values.to(self.value))),
        ),
        "changes what is decided",
    ),
    Mutant(
        "count not saved",
        Kept,
        saves(Count, lambda self, destination, prefix, keep: destination.__setitem__(f"{prefix}times", torch.tensor(0))),
        "state is lost",
    ),
    Mutant(
        "count off by one when loaded",
        Kept,
        saves(
            Count, lambda self, destination, prefix, keep: destination.__setitem__(f"{prefix}times", torch.tensor(self.times - 1))
        ),
        "state is lost",
    ),
    Mutant(
        "epoch not saved",
        Kept,
        changed(
            (Kept, "__init__"),
            lambda f: lambda self, tasks: (f(self, tasks), self.register_buffer("epoch", torch.zeros(()), persistent=False))[0],
        ),
        "state is lost",
    ),
    Mutant(
        "state of numbers",
        Kept,
        saves(Count, lambda self, destination, prefix, keep: destination.__setitem__(f"{prefix}times", self.times)),
        "more than tensors",
    ),
    Mutant(
        "pairs by position",
        Projected,
        saves(PairState, lambda self, destination, prefix, keep: destination.__setitem__(f"{prefix}pairs", self.value.clone())),
        "task name|absent task's state",
        SHARING,
    ),
    Mutant(
        "pairs transposed",
        Projected,
        saves(
            PairState,
            lambda self, destination, prefix, keep: destination.__setitem__(
                f"{prefix}pairs", self.at(sorted(self.tasks)).mT.clone()
            ),
        ),
        "task name|absent task's state",
        SHARING,
    ),
    Mutant(
        "pairs of absent tasks move",
        Projected,
        changed(
            (PairState, "put"),
            decaying,
        ),
        "absent task's state changed",
        SHARING,
    ),
    Mutant(
        "gradients for absent parameters",
        Kept,
        changed((Kept, "objective"), lambda f: lambda self, x, n: f(self, x, n) + 0.0 * sum(self.logs.values())),
        "absent task's parameter",
    ),
    # inner products
    Mutant("every off by one", Projected, instead((Count, "next"), next_from_one), "of every 3 steps", SHARING),
    Mutant(
        "every ignored",
        Projected,
        backward(GramianBalancer, lambda self, losses, p: (setattr(self, "every", 1), (losses, p))[1]),
        "of every 3 steps",
        SHARING,
    ),
    Mutant(
        "ones between measurements",
        Projected,
        again(lambda self, parts: torch.ones(len(parts.names))),
        "not the last ones",
        SHARING,
    ),
    Mutant(
        "last weights by position",
        Projected,
        again(lambda self, parts: self.last.value[: len(parts.names)]),
        "not the last ones",
        SHARING,
    ),
    Mutant(
        "NaN between measurements",
        Projected,
        again(lambda self, parts: self.last.at(parts.names)),
        "between measurements a NaN",
        SHARING,
    ),
    Mutant(
        "NaN in the Gramian",
        Projected,
        changed((GramianBalancer, "_decide"), lambda f: lambda self, m, losses, names: (self.weigh(m, losses, names), None)),
        "NaN loss of 'buy'",
        SHARING,
    ),
    Mutant(
        "a NaN task stays in the sum",
        Projected,
        changed((GramianBalancer, "_decide"), lambda f: lambda self, m, losses, names: (f(self, m, losses, names)[0], None)),
        "reaches what is shared",
        SHARING,
    ),
    Mutant("Gramian of one triangle", Projected, gramian_is(lambda g, blocks: g.triu()), "not symmetric", SHARING),
    Mutant(
        "Gramian without the bias",
        Projected,
        gramian_is(lambda g, blocks: torch.stack([(b @ b.mT).double() for b in blocks[:1]]).sum(0)),
        "not that of the gradients",
        SHARING,
    ),
    Mutant(
        "Gramian of cosines",
        Projected,
        gramian_is(lambda g, blocks: g / torch.outer(g.diagonal().sqrt(), g.diagonal().sqrt())),
        "not that of the gradients",
        SHARING,
    ),
    Mutant(
        "Gramian in another order",
        Projected,
        backward(GramianBalancer, None, of_balance(gramian=lambda losses, g: g.roll(1, 0).roll(1, 1))),
        "not that of the gradients",
        SHARING,
    ),
    Mutant(
        "wrong sign",
        Projected,
        changed("_cut:weighted_sum", lambda f: lambda weights, gradients: -f(weights, gradients)),
        "one task alone|weighted gradient",
        SHARING,
    ),
    Mutant("private parts weighted too", Projected, written(privately(0.5)), "one task alone|private", SHARING),
    Mutant("private parts forgotten", Projected, written(privately(0.0)), "one task alone|private", SHARING),
    Mutant(
        "penalty of inner products weighted",
        Projected,
        written(lambda cut, roots, p: (roots, p if p is None else 0.5 * p)),
        "not added as it is",
        SHARING,
    ),
    Mutant("inner products overwrite gradients", Projected, backward(GramianBalancer, emptied), "earlier micro-batch", SHARING),
    Mutant(
        "weights swapped on the way",
        Projected,
        changed(
            (GramianBalancer, "_decide"),
            lambda f: lambda self, m, losses, names: (f(self, m, losses, names)[0].roll(1), f(self, m, losses, names)[1]),
        ),
        "changes what is decided|NaN",
        SHARING,
    ),
    Mutant(
        "one task too many in the amount",
        Projected,
        instead((Projected, "amount"), lambda self, number: len(self.tasks)),
        "declared to be shared",
        SHARING,
    ),
    # coordinates
    Mutant(
        "NaN in the coordinates",
        Majority,
        instead("_coordinates.only", lambda gradients, finite: gradients),
        "reaches what is shared",
    ),
    Mutant(
        "coordinates by position",
        Majority,
        changed(
            (Majority, "combine"),
            lambda f: (
                lambda self, rows, finite, names: (({place: g[0] for place, g in rows.items()}), f(self, rows, finite, names)[1])
            ),
        ),
        "changes what is decided",
    ),
    # random numbers and formats
    Mutant("draws from torch", Projected, weigh(drawn(lambda: torch.rand(()).item())), "from torch's global", SHARING),
    Mutant("draws from numpy", Projected, weigh(drawn(np.random.random)), "two runs of one seed differ|numpy", SHARING),
    Mutant("draws from python", Projected, weigh(drawn(random.random)), "differ|changes", SHARING),
    Mutant("declared to draw", Equal, untouched, "declared to draw", {"draws": True}),
    # of a method, not of the family
    Mutant("projection onto the changed gradient", Equal, surgery(original=False), SURGERY, CONFLICT),
    Mutant("projection where tasks agree", Equal, surgery(conflicts=lambda inner: inner > 0), SURGERY, CONFLICT),
    Mutant("turned away twice", Equal, surgery(sign=2.0), SURGERY, CONFLICT),
    Mutant("mean for sum of the changed gradients", Equal, surgery(amount=lambda tasks: 1 / tasks), SURGERY, CONFLICT),
    Mutant(
        "a cut that lets the penalty through twice",
        Equal,
        written(lambda cut, roots, p: (roots, 2 * p)),
        "test_cut.py::test_a_penalty_is_added_whatever_the_weights",
    ),
]


def test_the_list_is_whole():
    assert len(MUTANTS) == NUM_MUTANTS
    assert len({mutant.name for mutant in MUTANTS}) == NUM_MUTANTS
    assert sum("::" in mutant.killed_by for mutant in MUTANTS) == NUM_LEFT_TO_REFERENCES


@pytest.mark.parametrize("make", SUBJECTS)
def test_what_is_broken_here_is_sound_before(make):
    check_balancer(make, **SUBJECTS[make])


@pytest.mark.parametrize("mutant", [mutant for mutant in MUTANTS if "::" not in mutant.killed_by], ids=lambda mutant: mutant.name)
def test_the_contract_kills(mutant, monkeypatch):
    mutant.patch(monkeypatch)
    with pytest.raises(AssertionError, match=mutant.killed_by):
        check_balancer(mutant.make, **mutant.options)


@pytest.mark.parametrize("mutant", [mutant for mutant in MUTANTS if "::" in mutant.killed_by], ids=lambda mutant: mutant.name)
def test_a_reference_kills(mutant, monkeypatch):
    """The test passes before and fails after."""
    file, name = mutant.killed_by.split("::")
    monkeypatch.syspath_prepend(str((HERE / file).parent))
    runpy.run_path(str(HERE / file))[name](**mutant.options)
    mutant.patch(monkeypatch)
    with pytest.raises(AssertionError):
        runpy.run_path(str(HERE / file))[name](**mutant.options)
