"""The search: a planted optimum, resuming, several objectives."""

import csv
import json
import math

import numpy as np
import pytest

from polytask.errors import ConfigError, DataError
from polytask.fusion import Budget, Fusion, HeldOut, Objective, WeightSpace, search_weights
from polytask.fusion._front import non_dominated
from polytask.metrics import grouped_auc, ndcg

pytest.importorskip("optuna", reason="the search needs the extra `study`")

MEAN, SPREAD = np.array([1.2, 0.3, 0.5]), np.array([1.0, 2.0, 0.7])
NAMES = ("click", "like", "watch")


def planted(rows=6000, seed=0):
    """Logarithms of predictions are normal; a positive row shifts them by MEAN. The best weights are then MEAN / SPREAD²
    (Su and Liu, Linear combinations of multiple diagnostic markers, JASA 1993), for any measure of the order."""
    random = np.random.default_rng(seed)
    label = (random.random(rows) < 0.3).astype(np.float64)
    logs = random.normal(size=(rows, 3)) * SPREAD + label[:, None] * MEAN - 4
    predictions = dict(zip(NAMES, np.exp(logs).T, strict=True))
    price = random.gamma(2.0, 5.0, rows) * (random.random(rows) < 0.2) + 3 * predictions["like"].clip(0, 1)
    return HeldOut(predictions, {"click": label, "price": price}, random.integers(0, rows // 12, rows).astype(str))


SPACE = WeightSpace(NAMES, options={"epsilon": 1e-12})
BEST = MEAN / SPREAD**2 / (MEAN / SPREAD**2).sum()
GAUC = [Objective.parse("grouped_auc:click")]


def test_finds_a_planted_optimum_and_beats_equal_weights():
    held_out = planted()
    found = search_weights(SPACE, held_out, GAUC, budget=Budget(trials=40, seed=3))
    fusion = found.fusion()
    weights = np.array([fusion.weights[name] for name in NAMES])
    cosine = weights @ BEST / np.linalg.norm(weights) / np.linalg.norm(BEST)
    assert cosine > 0.985

    fresh = planted(seed=1)
    value = lambda weights: grouped_auc(  # noqa: E731
        fresh.labels["click"], SPACE.with_weights(weights).of_arrays(fresh.predictions), groups=fresh.groups
    )
    limit = 0.5 + 0.5 * math.erf(math.sqrt((MEAN**2 / SPREAD**2).sum() / 2) / math.sqrt(2))  # AUC of the best order
    assert value(weights) > value([1.0, 1.0, 1.0]) + 0.02
    assert value(weights) == pytest.approx(limit, abs=0.01)
    assert found.best.values[0] == max(trial.values[0] for trial in found.trials)


def test_weights_are_normalised_and_mean_the_same_in_other_units():
    held_out = planted(1500)
    found = search_weights(SPACE, held_out, GAUC, budget=Budget(trials=4))
    assert all(np.abs(trial.weights).sum() == pytest.approx(1) for trial in found.trials)
    first = np.array(found.trials[0].weights) * np.log(np.stack([held_out.predictions[name] for name in NAMES], 1)).std(0)
    assert first / first.sum() == pytest.approx(np.full(3, 1 / 3), rel=1e-4)
    scaled = HeldOut(
        {name: (1 + place) * 10.0 * values for place, (name, values) in enumerate(held_out.predictions.items())},
        held_out.labels,
        held_out.groups,
    )
    again = search_weights(SPACE, scaled, GAUC, budget=Budget(trials=4))
    assert [trial.values for trial in again.trials] == [trial.values for trial in found.trials]


def test_a_search_that_is_killed_goes_on_as_if_it_had_not_been(tmp_path, monkeypatch):
    held_out, budget = planted(800), Budget(trials=14, seed=5)
    whole = search_weights(SPACE, held_out, GAUC, budget=budget)

    class Killed(BaseException):
        pass

    def kill(done, total, values):
        if done == 12:  # behind the random start: what was learnt must survive
            raise Killed

    with pytest.raises(Killed):
        search_weights(SPACE, held_out, GAUC, budget=budget, directory=tmp_path, progress=kill)

    import optuna

    def die(self, *_, **__):
        raise Killed

    with monkeypatch.context() as patch:  # in the middle of a trial
        patch.setattr(optuna.study.Study, "tell", die)
        with pytest.raises(Killed):
            search_weights(SPACE, held_out, GAUC, budget=budget, directory=tmp_path)
    seen = []
    again = search_weights(
        SPACE, held_out, GAUC, budget=budget, directory=tmp_path, progress=lambda done, total, values: seen.append((done, total))
    )
    assert again.trials == whole.trials
    assert len({trial.weights for trial in again.trials}) == 14
    assert seen == [(13, 14), (14, 14)]
    done = search_weights(SPACE, held_out, GAUC, budget=budget, directory=tmp_path, progress=kill)
    assert done.trials == whole.trials
    assert Fusion.from_json(tmp_path / "fusion.json") == whole.fusion()


def test_another_search_is_not_mixed_in(tmp_path):
    held_out = planted(400)
    search_weights(SPACE, held_out, GAUC, budget=Budget(trials=2), directory=tmp_path)
    with pytest.raises(ConfigError, match=r"holds another search.*seed: 0, not 1"):
        search_weights(SPACE, held_out, GAUC, budget=Budget(trials=2, seed=1), directory=tmp_path)
    with pytest.raises(ConfigError, match=r"holds another search.*objectives"):
        search_weights(SPACE, held_out, [Objective.parse("ndcg@5:click")], budget=Budget(trials=2), directory=tmp_path)
    with pytest.raises(ConfigError, match=r"holds another search.*rows"):
        search_weights(SPACE, planted(400, seed=9), GAUC, budget=Budget(trials=2), directory=tmp_path)


def test_the_front_is_what_brute_force_gives(tmp_path):
    held_out = planted(1200)
    objectives = [Objective.parse("ndcg@3:click"), Objective.parse("value_per_impression@2:price")]
    found = search_weights(SPACE, held_out, objectives, budget=Budget(trials=25), directory=tmp_path)
    values = [trial.values for trial in found.trials]
    beaten = [any(a >= c and b >= d and (a, b) != (c, d) for a, b in values) for c, d in values]
    front = {trial.number for trial in found.front}
    assert front == {number for number, lost in enumerate(beaten) if not lost}
    assert 1 < len(front) < 25
    assert found.best in found.front

    written = json.loads((tmp_path / "front.json").read_text())
    assert written["objectives"] == ["ndcg@3:click", "value_per_impression@2:price"]
    assert {point["trial"] for point in written["front"]} == front
    with (tmp_path / "trials.csv").open() as file:
        table = list(csv.DictReader(file))
    assert {int(row["trial"]) for row in table if row["front"] == "1"} == front
    row = table[found.best.number]
    fusion = SPACE.with_weights([float(row[f"weight {name}"]) for name in NAMES])
    own = ndcg(held_out.labels["click"], fusion.of_arrays(held_out.predictions), groups=held_out.groups, k=3)
    assert float(row["ndcg@3:click"]) == pytest.approx(own, rel=1e-9)
    assert (tmp_path / "front.svg").read_text().count("<circle") == 25


def test_non_dominated_on_random_points():
    values = np.random.default_rng(0).integers(0, 5, (60, 3)).astype(float)
    slow = [not any((other >= one).all() and (other > one).any() for other in values) for one in values]
    assert non_dominated(values).tolist() == slow


def test_a_share_is_uniform_where_the_point_is():
    """Dirichlet(1, ..., 1): each share has mean 1 / k and variance (k - 1) / (k² (k + 1))."""
    space = WeightSpace(("a", "b", "c", "d"))
    shares = np.stack([space.shares(point) for point in np.random.default_rng(0).random((4000, 3))])
    assert shares.sum(1) == pytest.approx(np.ones(4000))
    assert shares.mean(0) == pytest.approx(np.full(4, 0.25), abs=0.012)
    assert shares.var(0) == pytest.approx(np.full(4, 3 / 80), abs=0.003)
    assert space.shares(space.equal) == pytest.approx(np.full(4, 0.25))


def test_what_counts_against_a_row_has_a_weight_below_zero():
    held_out = planted(1500)
    dismissed = HeldOut({**held_out.predictions, "dismiss": 1 / held_out.predictions["watch"]}, held_out.labels, held_out.groups)
    space = WeightSpace(("click", "dismiss"), options={"epsilon": 1e-12}, against=("dismiss",))
    found = search_weights(space, dismissed, GAUC, budget=Budget(trials=12))
    assert all(trial.weights[1] <= 0 <= trial.weights[0] for trial in found.trials)
    assert (
        found.best.values[0]
        > search_weights(
            WeightSpace(("click", "dismiss"), options={"epsilon": 1e-12}), dismissed, GAUC, budget=Budget(trials=1)
        ).best.values[0]
    )


def test_time_is_a_budget_too():
    found = search_weights(SPACE, planted(300), GAUC, budget=Budget(trials=10_000, seconds=0.2))
    assert 1 <= len(found.trials) < 1000


def test_every_mistake_before_the_first_trial():
    held_out = planted(300)
    with pytest.raises(ConfigError) as error:
        search_weights(
            WeightSpace(("click", "lik")),
            HeldOut(held_out.predictions, held_out.labels),
            [Objective.parse("ndcg@3:click"), Objective.parse("auc:clicks")],
        )
    text = str(error.value)
    assert "ndcg@3:click needs groups" in text
    assert "auc:clicks needs its label" in text
    assert "'lik' must be among" in text
    with pytest.raises(ConfigError) as error:
        WeightSpace(("click",), "monotone_sum", {"epsilon": 1.0}, against=("like",))
    assert all(word in str(error.value) for word in ("two predictions", "must be fused", "rises with every", "epsilon"))
    with pytest.raises(DataError, match=r"no group has a positive row"):
        search_weights(
            SPACE, HeldOut(held_out.predictions, {"click": np.zeros(300)}, held_out.groups), [Objective.parse("mrr:click")]
        )
    flat = HeldOut({**held_out.predictions, "like": np.ones(300)}, held_out.labels, held_out.groups)
    with pytest.raises(DataError, match=r"must differ between rows. Received: 'like'"):
        search_weights(SPACE, flat, GAUC)
    with pytest.raises(DataError, match=r"'like' must be finite. Received: nan in row 2"):
        HeldOut({"like": np.array([0.0, 1.0, np.nan])}, {})


@pytest.mark.parametrize("text", ["ndcg@10", "ndgc:click", "log_loss:click", ":click", "ndcg:"])
def test_an_objective_that_is_none(text):
    with pytest.raises(ConfigError):
        Objective.parse(text)
