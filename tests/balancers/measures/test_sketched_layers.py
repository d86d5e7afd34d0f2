"""Sketches and samples of the last layer's gradients: unbiased, equal where they shall be, remembered by count."""

import pytest
import torch
from torch import nn

from polytask.balancers._cut import cut
from polytask.balancers.measures import AtAllLayers, AtJunction, AtLastLayer, AtParameters, Sampled, Sketched, build_measure
from polytask.errors import ConfigError

TASKS = ("a", "b", "c")


def parts(net=None, rows=24):
    torch.manual_seed(0)
    net = net or nn.Sequential(nn.Linear(9, 12), nn.ReLU(), nn.Linear(12, 5), nn.Tanh())
    net = net.double()
    x = torch.randn(rows, 9, dtype=torch.float64)
    z = net(x)
    heads, labels = torch.randn(3, 5, dtype=torch.float64), torch.randn(3, rows, dtype=torch.float64)
    return cut({name: (1 + i) * (z @ heads[i] - labels[i]).square().mean() for i, name in enumerate(TASKS)}, (z,), (), TASKS)


def draws(measure, number, given):
    return torch.stack([measure(given).gramian for _ in range(number)])


def test_the_mean_over_sketches_is_the_gramian():
    given = parts()
    exact = AtLastLayer()(given).gramian
    found = draws(Sketched(rank=2), 120, given)
    error = found.std(0) / 120**0.5
    assert ((found.mean(0) - exact).abs() < 4 * error).all()
    assert (error > 0).all()


def test_the_variance_of_a_sketch_falls_with_its_rank():
    given = parts()
    spread = [draws(Sketched(rank=rank), 100, given).var(0).sum() for rank in (1, 4)]
    assert 2.5 < spread[0] / spread[1] < 6.5  # by 4


def test_the_mean_over_samples_sees_every_row():
    given = parts()
    measure = Sampled(fraction=0.25)
    features = [measure(given).features for _ in range(4)]
    exact = AtLastLayer()(given).features
    for place, feature in enumerate(exact):
        torch.testing.assert_close(sum(found[place] for found in features), feature)


def test_a_rank_beyond_the_width_is_exact():
    given = parts()
    torch.testing.assert_close(Sketched(rank=12)(given).gramian, AtLastLayer()(given).gramian)


@pytest.mark.parametrize("kind", [Sketched, AtAllLayers])
def test_fixed_directions_stay_and_others_change(kind):
    given = parts()
    fixed, drawn = kind(rank=3, fixed=True), kind(rank=3)
    assert torch.equal(fixed(given).gramian, fixed(given).gramian)
    assert not torch.allclose(drawn(given).gramian, drawn(given).gramian)


@pytest.mark.parametrize("measure", ["sketched", "sampled", "all_layers"])
def test_a_measure_goes_on_where_it_was_saved(measure):
    given = parts()
    options = {"name": measure, **({"fraction": 0.25} if measure == "sampled" else {"rank": 3})}
    first, second = build_measure(options), build_measure(options)
    first(given)
    second.load_state_dict(first.state_dict())
    assert torch.equal(first(given).gramian, second(given).gramian)


def test_all_layers_of_one_layer_are_that_layer():
    given = parts(nn.Sequential(nn.Linear(9, 5), nn.Tanh()))
    torch.testing.assert_close(AtAllLayers(rank=9)(given).gramian, AtLastLayer()(given).gramian)
    torch.testing.assert_close(AtLastLayer()(given).gramian, AtParameters()(given).gramian)


def test_all_layers_have_the_sizes_that_autograd_finds():
    torch.manual_seed(0)
    first, second, head = nn.Linear(9, 12).double(), nn.Linear(12, 5).double(), nn.Linear(5, 3).double()
    low = first(torch.randn(24, 9, dtype=torch.float64))
    high = second(torch.relu(low))
    losses = dict(zip(TASKS, head(torch.tanh(high)).square().mean(0).unbind(), strict=True))
    measure = AtAllLayers(rank=4)
    wanted = torch.autograd.grad(sum(losses.values()), [low, high], retain_graph=True)
    measure(cut(losses, (high,), (), TASKS))
    torch.testing.assert_close(measure.sizes, (wanted[0].norm() / wanted[1].norm()).float().view(1), rtol=1e-5, atol=0)


def test_all_layers_weigh_each_layer_by_its_size():
    """With as many draws as it takes, rows meet by the inputs of both layers, times the squared size of the lower one."""
    torch.manual_seed(0)
    x = torch.randn(6, 3, dtype=torch.float64)
    first, second = nn.Linear(3, 4, bias=False).double(), nn.Linear(4, 2, bias=False).double()
    hidden = torch.relu(first(x))
    z = second(hidden)
    losses = {name: (z.sum(1) * (i - 1.5)).sin().mean() for i, name in enumerate(TASKS)}
    given, measure = cut(losses, (z,), (), TASKS), AtAllLayers(rank=16)
    found = torch.stack([measure(given).gramian for _ in range(150)])
    d = torch.stack([torch.autograd.grad(loss, z, retain_graph=True)[0] for loss in losses.values()])
    kernel = hidden.detach() @ hidden.detach().T + measure.sizes.double() ** 2 * (x @ x.T)
    wanted = torch.einsum("ino,nm,jmo->ij", d, kernel, d)
    assert ((found.mean(0) - wanted).abs() < 4.5 * found.std(0) / 150**0.5).all()


def test_a_loss_that_is_no_number_leaves_the_sizes_as_they_were():
    given = parts()
    measure = AtAllLayers(rank=3)
    measure(given)
    before = measure.sizes.clone()
    torch.manual_seed(0)
    z = nn.Sequential(nn.Linear(9, 12), nn.ReLU(), nn.Linear(12, 5))(torch.randn(4, 9))
    measure.count.times = 16
    measure(cut({"a": z.mean(), "b": z.sum() * float("nan")}, (z,), (), TASKS))
    assert torch.equal(measure.sizes, before)


def test_a_graph_with_fewer_layers_is_measured_as_it_is():
    measure = AtAllLayers(rank=9)
    measure(parts())
    given = parts(nn.Sequential(nn.Linear(9, 5), nn.Tanh()))
    torch.testing.assert_close(measure(given).gramian, AtLastLayer()(given).gramian)


def test_the_junction_is_the_product_of_its_rows():
    given = parts()
    (rows,) = given.rows()
    torch.testing.assert_close(AtJunction()(given).gramian, torch.einsum("ino,jno->ij", rows, rows))


@pytest.mark.parametrize("options", [{"name": "sketched", "rank": 0}, {"name": "all_layers", "rank": 0}, "sketchd", {"rank": 3}])
def test_options_that_make_no_sense_are_told(options):
    with pytest.raises(ConfigError):
        build_measure(options)


def test_gradients_that_are_many_are_found_one_at_a_time(monkeypatch):
    kept = parts()
    monkeypatch.setattr("polytask.balancers._cut._KEPT_NUMBERS", 0)
    streamed, weights = parts(), torch.tensor([1.0, -2.0, 0.5])
    torch.testing.assert_close(AtLastLayer()(streamed).gramian, AtLastLayer()(kept).gramian)
    assert streamed._kept is None
    torch.testing.assert_close(streamed.weighted(weights)[0], kept.weighted(weights)[0])
    torch.testing.assert_close(streamed.gramian(), kept.gramian())
