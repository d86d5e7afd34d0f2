import math

import numpy as np
import pyarrow.parquet as pq
import pytest

from polytask.data.synthetic import CorrelatedRegression
from polytask.errors import ConfigError

# Ma et al. 2018, Figure 2: mean label correlation by cosine, read from the figure's drawing instructions.
FIGURE_2 = {0.4: 0.0547, 0.5: 0.0740, 0.6: 0.0996, 0.7: 0.1343, 0.8: 0.1927, 0.9: 0.3054, 0.95: 0.4464, 0.98: 0.6571, 1.0: 0.9966}


@pytest.mark.parametrize(("p", "published"), FIGURE_2.items())
def test_label_correlation_is_that_of_figure_2(p, published):
    assert CorrelatedRegression(correlation=p).label_correlation == pytest.approx(published, abs=0.005)


@pytest.mark.parametrize("p", [0.5, 0.9, 1.0])
def test_drawn_labels_agree_with_the_closed_form_and_figure_2(p):
    correlations, variances = [], []
    for seed in range(4):
        data = CorrelatedRegression(correlation=p, seed=seed)
        _, y = data.arrays(0, 10_000)
        correlations.append(np.corrcoef(y.T)[0, 1])
        variances.append(y.var(0).mean())
    assert np.mean(correlations) == pytest.approx(data.label_correlation, abs=3.5 * 0.011 / math.sqrt(4))
    assert np.mean(correlations) == pytest.approx(FIGURE_2[p], abs=0.025)
    assert np.mean(variances) == pytest.approx(2.90, abs=0.06)


def test_variance_is_290():
    assert CorrelatedRegression().label_variance == pytest.approx(2.90, abs=0.01)


@pytest.mark.parametrize("p", [-1.0, -0.3, 0.0, 0.5, 0.95, 1.0])
@pytest.mark.parametrize(("recipe", "length"), [("ma2018_fig2", 0.571), ("ple2020", 1.0), ("keras_mmoe", 0.3)])
def test_cosine_of_the_weights_is_exactly_p(recipe, length, p):
    first, second = CorrelatedRegression(recipe=recipe, correlation=p, seed=3).weights
    assert np.linalg.norm(first) == pytest.approx(length, abs=1e-14)
    assert np.linalg.norm(second) == pytest.approx(length, abs=1e-14)
    assert first @ second / length**2 == pytest.approx(p, abs=1e-14)


@pytest.mark.parametrize(("recipe", "mean", "features"), [("keras_mmoe", 0.39, 100), ("ple2020", 0.33, 512)])
def test_public_recipes_are_in_the_easy_regime(recipe, mean, features):
    datas = [CorrelatedRegression(recipe=recipe, correlation=0.5, seed=seed) for seed in range(300)]
    correlations = [data.label_correlation for data in datas]
    assert np.mean(correlations) == pytest.approx(mean, abs=0.03)
    assert np.std(correlations) == pytest.approx(0.12, abs=0.03)
    assert datas[0].weights.shape == (2, features)


def test_closed_form_holds_where_constants_are_drawn():
    data = CorrelatedRegression(recipe="keras_mmoe", correlation=-0.7, seed=11)
    _, y = data.arrays(0, 20_000)
    assert np.corrcoef(y.T)[0, 1] == pytest.approx(data.label_correlation, abs=0.02)
    assert y.var(0) == pytest.approx(data.label_variance, rel=0.05)


def test_labels_follow_the_formula():
    data = CorrelatedRegression(correlation=0.2, seed=4)
    x, y = data.arrays(100, 5_000)
    signal = x @ data.weights.T
    alpha, beta = (3.62, 6.42, 10.64, 13.58), 1.5 * math.pi
    noise = y - signal - sum(np.sin(a * signal + beta) for a in alpha)
    assert noise.std(0) == pytest.approx(0.1, rel=0.05)
    assert abs(noise.mean(0)) == pytest.approx(0.0, abs=0.01)
    assert abs(np.corrcoef(noise.T)[0, 1]) < 0.06


def test_rows_do_not_depend_on_how_they_are_cut(tmp_path):
    data = CorrelatedRegression(seed=2)
    whole = data.table(0, 20_000)
    data.write(tmp_path / "rows.parquet", 17_000, start=3_000)
    assert pq.read_table(tmp_path / "rows.parquet").equals(whole.slice(3_000))
    assert data.table(4_000, 4_200).equals(whole.slice(4_000, 200))
    assert not CorrelatedRegression(seed=1).table(0, 5).equals(whole.slice(0, 5))


def test_mistakes_are_named():
    with pytest.raises(ConfigError, match="Did you mean 'ple2020'"):
        CorrelatedRegression(recipe="ple2021")
    with pytest.raises(ConfigError, match=r"1\.2"):
        CorrelatedRegression(correlation=1.2)
    with pytest.raises(ConfigError, match="start < stop"):
        CorrelatedRegression().arrays(5, 5)
