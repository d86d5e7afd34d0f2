"""`compile = true` trains what eager training does. In a process of its own: the shape checks of the tests cannot be compiled."""

import subprocess
import sys

PROGRAM = """
import numpy as np, pyarrow as pa, torch
from polytask.balancers import Uncertainty
from polytask.data import Categorical, EncodedRows, Loader, Numeric, Preprocessing, Schema, open_table
from polytask.model import MultiTaskModel
from polytask.optimizers import build_optimizer
from polytask.tasks import Binary, Regression
from polytask.train import Plan, Trainer

random = np.random.default_rng(0)
table = open_table(pa.table({"city": random.integers(0, 9, 70).astype(str), "age": random.normal(size=70),
    "click": random.integers(0, 2, 70), "time": random.normal(size=70)}))
fitted = Preprocessing.fit(table, Schema((Categorical("city"), Numeric("age"))), [Binary("click"), Regression("time")])
rows = EncodedRows.from_columns(fitted.encode(next(table.batches())), fitted)
compile = torch.nn.Module.compile
torch.nn.Module.compile = lambda module: compile(module, backend="aot_eager", fullgraph=True)
results = []
for compiled in (False, True):
    torch.manual_seed(1)
    model = MultiTaskModel.build(fitted, fitted.tasks, sharing={"name": "mmoe", "num_experts": 2, "hidden": [8]})
    balancer = Uncertainty(["click", "time"])
    plan = Plan(epochs=2, compile=compiled, device="cpu")
    Trainer(model, balancer, build_optimizer(model, balancer), plan=plan).fit(Loader(rows, fitted.tasks, batch_size=32))
    results.append(model.state_dict())
    assert compiled == bool(torch._dynamo.utils.counters["stats"]["unique_graphs"])
eager, compiled = results
assert eager.keys() == compiled.keys()
for name in eager:
    torch.testing.assert_close(eager[name], compiled[name], rtol=1e-4, atol=1e-6)
"""


def test_equals_eager_training_and_the_graphs_are_whole():
    subprocess.run([sys.executable, "-c", PROGRAM], check=True, timeout=300)
