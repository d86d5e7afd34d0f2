"""Behaviours: totals from edges, draws, what is revealed, any shape, mistakes."""

import itertools
import math

import numpy as np
import pytest

from polytask.data.synthetic import GENERATORS, Behaviours
from polytask.data.synthetic._behaviours import totals
from polytask.errors import ConfigError

ROWS = 400_000
DEEP = {"see": [], "stay": ["see"], "save": ["see", "stay"], "pay": ["stay", "save"]}


def column(table, name):
    return table[name].to_numpy().astype(float)


@pytest.fixture(scope="module", params=["chain", "tree"])
def simulator(request):
    return Behaviours(seed=2, shape=request.param)


@pytest.fixture(scope="module")
def log(simulator):
    return simulator.table(0, ROWS)


@pytest.fixture(scope="module")
def truth(simulator):
    return simulator.truth(0, ROWS)


def near(found, probability):
    return abs(found.mean() - probability.mean()) < 4 * math.sqrt(np.mean(probability * (1 - probability)) / len(found))


def test_totals_are_the_closed_forms():
    chain, tree = (Behaviours(seed=2, shape=shape).truth(0, 1_000) for shape in ("chain", "tree"))
    product = column(chain, "true_click") * column(chain, "true_cart_after_click") * column(chain, "true_buy_after_cart")
    np.testing.assert_allclose(column(chain, "true_buy"), product, rtol=1e-5)
    none = [
        1 - column(tree, "true_cart_after_click") * column(tree, "true_buy_after_cart"),
        1 - column(tree, "true_wish_after_click") * column(tree, "true_buy_after_wish"),
        1 - column(tree, "true_buy_after_click"),
    ]
    np.testing.assert_allclose(column(tree, "true_buy"), column(tree, "true_click") * (1 - np.prod(none, axis=0)), rtol=1e-4)
    wish = column(tree, "true_click") * column(tree, "true_wish_after_click")
    np.testing.assert_allclose(column(tree, "true_wish"), wish, rtol=1e-5)


def test_totals_of_any_shape_are_sums_over_all_that_edges_may_do():
    edges = [("see", ""), ("stay", "see"), ("save", "see"), ("save", "stay"), ("pay", "stay"), ("pay", "save")]
    chance = dict(zip(edges, [0.8, 0.6, 0.3, 0.5, 0.2, 0.7], strict=True))
    expected = dict.fromkeys(DEEP, 0.0)
    for fires in itertools.product((0, 1), repeat=len(edges)):
        happened, weight = {""}, 1.0
        for edge, fired in zip(edges, fires, strict=True):
            weight *= chance[edge] if fired else 1 - chance[edge]
            happened |= {edge[0]} if fired and edge[1] in happened else set()
        for name in happened - {""}:
            expected[name] += weight
    named = {f"{name}_after_{above}" if above else name: np.array([p]) for (name, above), p in chance.items()}
    found = totals(DEEP, named)
    assert {name: total.item() for name, total in found.items()} == pytest.approx(expected)


def test_labels_have_the_known_totals(simulator, log, truth):
    for name in simulator.parents:
        assert near(np.nan_to_num(column(log, name)), column(truth, f"true_{name}"))
        assert column(truth, f"true_{name}").mean() > 0.001


def test_edges_fire_as_known_on_every_row_and_by_themselves(log, truth):
    names = [name.removeprefix("drawn_") for name in truth.column_names if name.startswith("drawn_")]
    clicked = column(log, "click") == 1
    left = {name: column(truth, f"drawn_{name}") - column(truth, f"true_{name}") for name in names}
    for name in names:
        p = column(truth, f"true_{name}")
        assert near(column(truth, f"drawn_{name}"), p)
        assert name == "click" or near(column(truth, f"drawn_{name}")[~clicked], p[~clicked])
    for one, two in itertools.combinations(names, 2):
        product = left[one] * left[two]
        assert abs(product.mean()) < 4.5 * product.std() / math.sqrt(ROWS)


def test_rates_are_those_of_rows_that_come_so_far(log, truth):
    carted = column(log, "cart") == 1
    assert column(log, "cart")[column(log, "click") == 1].mean() == pytest.approx(0.15, rel=0.1)
    assert column(truth, "true_buy_after_cart")[carted].mean() == pytest.approx(0.3, rel=0.1)
    assert column(truth, "true_buy_after_cart").mean() < 0.25  # all rows: clicks and carts select


def test_a_label_is_null_where_nothing_happened_that_it_follows():
    tree, chain = (Behaviours(seed=3, shape=shape).table(0, 50_000) for shape in ("tree", "chain"))
    for name in ("cart", "wish", "buy"):
        assert np.array_equal(tree[name].is_valid().to_numpy(), column(tree, "click") == 1)
    assert np.array_equal(chain["buy"].is_valid().to_numpy(), column(chain, "cart") == 1)
    assert chain["click"].null_count == 0


def test_correlation_is_with_the_first_edge():
    truth = Behaviours(seed=4, correlation=-0.4, steepness=0.7).truth(0, ROWS)
    logits = np.stack([column(truth, name) for name in truth.column_names if name.startswith("logit_")])
    assert np.corrcoef(logits)[0, 1:] == pytest.approx([-0.4] * 5, abs=0.01)
    assert np.corrcoef(logits)[1, 2] == pytest.approx(0.16, abs=0.01)
    assert logits.std(1) == pytest.approx([0.7] * 6, rel=0.01)


def test_any_shape_may_be_given_and_rows_do_not_depend_on_how_they_are_cut():
    simulator = Behaviours(seed=1, shape=DEEP, rates={"pay_after_save": 0.5}, num_users=64, num_items=64)
    whole = simulator.table(0, 40_000)
    assert whole.column_names[-4:] == list(DEEP)
    assert simulator.table(32_000, 33_000).equals(whole.slice(32_000, 1_000))
    assert simulator.truth(39_000, 39_010).equals(simulator.truth(0, 40_000).slice(39_000, 10))


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"shape": "chains"}, "Did you mean 'chain'"),
        ({"shape": {"buy": ["click"], "click": []}}, "'buy' follows must be named before it"),
        ({"shape": {}}, "1 to 8"),
        ({"rates": {"buy_after_card": 0.1}}, "Did you mean 'buy_after_cart'"),
        ({"rates": {"click": 1.0}}, "rates.*click"),
        ({"correlation": 2.0}, "correlation"),
        ({"num_users": 3}, "num_users.*at least 64"),
    ],
)
def test_mistakes_are_named(arguments, words):
    with pytest.raises(ConfigError, match=words):
        Behaviours(**arguments)


def test_registry_holds_it():
    assert GENERATORS["behaviours"] is Behaviours
