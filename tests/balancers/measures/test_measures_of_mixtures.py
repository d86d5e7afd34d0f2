"""Measures of layers on this library's own mixtures, whose layers are stacked and hold a rectifier."""

import pytest
import torch

from polytask.balancers._cut import cut
from polytask.balancers.measures import AtAllLayers, AtLastLayer, Sampled
from polytask.heads import Heads
from polytask.sharing import SHARINGS
from polytask.tasks import Regression

TASKS = ("a", "b", "c")
STACKED = ["mmoe", "cgc", "ple", "dselect_k", "stem"]


def cut_of(sharing, rows=200, **options):
    torch.manual_seed(0)
    shared_by = SHARINGS[sharing](9, TASKS, **options)
    heads = Heads(shared_by.out_features, [Regression(name) for name in TASKS], hidden=(6,))
    x = torch.randn(*([shared_by.num_inputs] if shared_by.num_inputs > 1 else []), rows, 9)
    shared = shared_by(x)
    outputs = heads(shared.outputs, apart=True)
    losses = {name: (1 + i) * (outputs[name][:, 0] - x[..., i].mean()).square().mean() for i, name in enumerate(TASKS)}
    return cut(losses, shared, (), TASKS)


@pytest.mark.parametrize("sharing", STACKED)
def test_all_rows_sampled_are_the_last_layer(sharing):
    whole = AtLastLayer()(cut_of(sharing)).gramian
    torch.testing.assert_close(Sampled(fraction=1.0)(cut_of(sharing)).gramian, whole)
    part = Sampled(fraction=0.5)(cut_of(sharing)).gramian
    assert not torch.allclose(part, whole)
    assert (part.diagonal() > 0.05 * whole.diagonal()).all()  # a half of the rows has a quarter to a half of the square


@pytest.mark.parametrize(("sharing", "options"), [("mmoe", {"hidden": (32, 16)}), ("ple", {"levels": ((24, 16), (16, 8))})])
def test_layers_below_are_measured_too(sharing, options):
    """With more columns than the layers' inputs are wide, what is left of the noise is that of none."""
    found = [AtAllLayers(rank=rank)(cut_of(sharing, **options)).gramian for rank in (400, 401)]
    torch.testing.assert_close(*found, rtol=0.2, atol=0.02 * float(found[0].diagonal().max()))
    last = AtLastLayer()(cut_of(sharing, **options)).gramian
    assert (found[0].diagonal() > 1.05 * last.diagonal()).all()


def test_leading_directions_leave_less_noise():
    """Activations after a rectifier lie mostly along their mean: kept as it is, it has no noise of signs."""

    def spread(leading, monkeypatch):
        monkeypatch.setattr("polytask.balancers.measures._all_layers._LEADING", leading)
        measure, parts = AtAllLayers(rank=48), cut_of("shared_bottom", hidden=(64, 64))
        found = torch.stack([measure(parts).gramian for _ in range(40)])
        return found.std(0).max() / found.mean(0).diagonal().max()

    with pytest.MonkeyPatch.context() as monkeypatch:
        assert spread(8, monkeypatch) < 0.8 * spread(0, monkeypatch)


def test_directions_stay_where_what_is_remembered_needs_them():
    measure = AtAllLayers(rank=24, fixed=True)
    for rows in (200, 150):
        for _ in range(17):
            measure(cut_of("shared_bottom", rows=rows, hidden=(32, 16)))
        if rows == 200:
            kept = measure.leading.clone()
    assert kept.numel()
    assert torch.equal(measure.leading, kept)
    moving = AtAllLayers(rank=24)
    for rows in (200, 150):
        for _ in range(17):
            moving(cut_of("shared_bottom", rows=rows, hidden=(32, 16)))
    assert not torch.equal(moving.leading, kept)
