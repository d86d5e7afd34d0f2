"""What every fusion promises, for the test of each."""

import numpy as np
import torch

from polytask.fusion import Fusion

NAMES = ("click", "buy", "watch")


def rows(n=300):
    random = np.random.default_rng(4)
    return {"click": random.beta(1, 8, n), "buy": random.beta(1, 60, n), "watch": random.gamma(1.0, 30.0, n)}


def order(scores):
    return np.argsort(scores, kind="stable").tolist()


def check_fusion(fusion: Fusion, tmp_path) -> None:
    """Scale of weights, file, tensors, finite values and gradients at the ends of the range."""
    table = rows()
    scores = fusion.of_arrays(table)
    assert scores.shape == (300,)
    assert order(fusion.weighted({name: 37.5 * weight for name, weight in fusion.weights.items()}).of_arrays(table)) == order(
        scores
    )
    normal = fusion.normalised()
    assert abs(normal.total - 1) < 1e-12
    assert order(normal.of_arrays(table)) == order(scores)
    assert normal.normalised().weights == normal.weights

    fusion.to_json(tmp_path / "fusion.json")
    again = Fusion.from_json(tmp_path / "fusion.json")
    assert again == fusion
    assert (again.of_arrays(table) == scores).all()

    single = {name: torch.tensor(column, dtype=torch.float32) for name, column in table.items()}
    assert np.allclose(fusion(single).numpy(), scores, rtol=1e-4, atol=1e-5)
    assert fusion({name: column.bfloat16() for name, column in single.items()}).dtype == torch.float32
    assert fusion({name: column.reshape(3, 100) for name, column in single.items()}).shape == (3, 100)

    for dtype in (torch.float32, torch.float64):
        hard = {name: torch.tensor([0.0, 1e-30, 1.0], dtype=dtype, requires_grad=True) for name in fusion.weights}
        score = fusion(hard)
        score.sum().backward()
        assert score.isfinite().all()
        assert all(column.grad.isfinite().all() for column in hard.values())


def check_monotone(fusion: Fusion) -> None:
    """No prediction that rises, alone or with others, lowers a score."""
    table = rows()
    random = np.random.default_rng(5)
    before = fusion.of_arrays(table)
    for name in fusion.weights:
        for step in (1e-6, 0.05, 20.0):
            raised = {**table, name: table[name] + step * random.random(300)}
            assert (fusion.of_arrays(raised) >= before).all()
    raised = {name: column + 0.3 * random.random(300) for name, column in table.items()}
    assert (fusion.of_arrays(raised) > before).mean() > 0.5
