"""Training and inference throughput of one MMoE, against DeepCTR-Torch and torch-rechub.

The large work: 2 binary tasks, 40 categorical fields (vocabularies 100 to 100,000, 615,526 ids in all, embedding 16), 7 numbers,
8 experts of 256-128, towers of 64, batch 4096, 400,000 rows in memory, one epoch by each library's own `fit`, loading included.
The small work: 4 experts of 64, embedding 8, 40 fields of 100,000 ids each, batch 1024. Same rows, same learning rate, one
thread; every run has a process of its own; variants take turns; samples per CPU-second are medians over the rounds; AUC is of
held-out rows of the same generator. "medium" is `torch.set_float32_matmul_precision("medium")`: on some processors that doubles
the speed of float32 products, so the rivals are shown with and without it. The bound is what products of that size would take at
the rate of a square product of 2048 in the same process.

    python benchmarks/speed/training_throughput.py [--rows 400000] [--rounds 3] [--variants polytask-bf16,deepctr]

Rivals are optional: `pip install deepctr-torch==0.3.0 torch-rechub==0.9.0`, or into a folder that `RIVALS` names.
"""

import argparse
import contextlib
import importlib.util
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("MKL_NUM_THREADS", "1")
sys.path[1:1] = [str(Path(__file__).parents[1]), *filter(None, [os.environ.get("RIVALS")])]

import numpy as np

FIELDS, NUMBERS, HELD_OUT = 40, 7, 50_000


class Work(NamedTuple):
    """What is computed."""

    sizes: tuple[int, ...]
    dim: int
    num_experts: int
    hidden: tuple[int, ...]
    tower: tuple[int, ...]
    batch: int


WORKS = {
    "large": Work(tuple(np.geomspace(1e2, 1e5, FIELDS).astype(int).tolist()), 16, 8, (256, 128), (64,), 4096),
    "small": Work((100_000,) * FIELDS, 8, 4, (64,), (64,), 1024),
}
VARIANTS = {
    "polytask": ("polytask", "float32"),
    "polytask-medium": ("polytask", "medium"),
    "polytask-bf16": ("polytask", "bf16"),
    "deepctr": ("deepctr", "float32"),
    "deepctr-medium": ("deepctr", "medium"),
    "rechub": ("rechub", "float32"),
    "rechub-medium": ("rechub", "medium"),
    "rechub-batches-medium": ("rechub-batches", "medium"),
}


def generate(work, rows, seed=0):
    """Ids that fall off like a power law; two tasks of one sign, each with effects of ids, of numbers and of one product."""
    random = np.random.default_rng(seed)
    ids = np.stack([(size * random.random(rows) ** 3).astype(np.int32) for size in work.sizes], axis=1)
    numbers = random.standard_normal((rows, NUMBERS)).astype(np.float32)
    shared = [random.standard_normal(size) for size in work.sizes]
    labels = []
    for task, rate in enumerate((-1.2, -2.2)):
        logit = np.full(rows, rate)
        for field, size in enumerate(work.sizes):
            effect = 0.8 * shared[field] + 0.6 * random.standard_normal(size)
            logit += effect[ids[:, field]] * (0.35 if size < 5000 else 0.15)
        logit += numbers @ random.standard_normal(NUMBERS) * 0.2 + 0.4 * numbers[:, task] * shared[5][ids[:, 5]]
        labels.append(random.random(rows) < 1 / (1 + np.exp(-logit)))
    return ids, numbers, np.stack(labels, axis=1).astype(np.float32)


def auc(label, score):
    from sklearn.metrics import roc_auc_score

    return [round(float(roc_auc_score(label[:, task], score[:, task])), 4) for task in range(2)]


def clock(work):
    start = time.process_time()
    result = work()
    return time.process_time() - start, result


def run_polytask(work, precision, lr, train, test):
    import torch

    from polytask.balancers import Equal
    from polytask.data import CategoricalField, Columns, EncodedRows, Loader, NumericField, Preprocessing
    from polytask.data.vocabulary import Vocabulary
    from polytask.model import MultiTaskModel, describe_model
    from polytask.optimizers import build_optimizer
    from polytask.precision import precision_context
    from polytask.tasks import Binary
    from polytask.train import Plan, Trainer

    # What `Preprocessing.fit` would find in a table of these rows: the ids are given here, so there is nothing else to fit.
    tasks = tuple(Binary(name, base_rate=float(train[2][:, j].mean())) for j, name in enumerate("ab"))
    fields = tuple(CategoricalField(f"c{j}", Vocabulary("integer", buckets=size - 1)) for j, size in enumerate(work.sizes))
    numbers = tuple(NumericField(f"n{j}", 0.0, 1.0, ()) for j in range(NUMBERS))
    preprocessing = Preprocessing(fields, numbers, (), tasks)

    def rows(ids, numeric, labels):
        columns = Columns(ids, numeric, {}, {task.name: labels[:, j].copy() for j, task in enumerate(tasks)})
        return EncodedRows.from_columns(columns, preprocessing)

    model = MultiTaskModel.build(
        preprocessing,
        tasks,
        encoder={"name": "tabular", "embedding_dim": work.dim, "embedding_scale": 0.01, "numeric": "linear", "numeric_dim": 1},
        sharing={"name": "mmoe", "num_experts": work.num_experts, "hidden": work.hidden},
        heads={"hidden": work.tower},
    )
    balancer = Equal(["a", "b"])

    def fit():
        loader = Loader(rows(*train), tasks, batch_size=work.batch)
        optimizer = build_optimizer(model, balancer, lr=lr)
        Trainer(model, balancer, optimizer, plan=Plan(epochs=1, precision=precision, device="cpu")).fit(loader)

    def predict():
        parts = []
        loader = Loader(rows(*test), tasks, batch_size=work.batch, shuffle=False)
        with torch.inference_mode(), precision_context(precision):
            for batch in model.eval() and loader:
                found = model.predict(batch.features)
                parts.append(torch.stack([found["a"], found["b"]], dim=1))
        return torch.cat(parts).numpy()

    return fit, predict, lambda: describe_model(model, next(iter(Loader(rows(*test), tasks, batch_size=64))).features)[-1].flops


def run_deepctr(work, _precision, lr, train, test):
    import torch
    from deepctr_torch.inputs import DenseFeat, SparseFeat
    from deepctr_torch.models import MMOE

    columns = [SparseFeat(f"c{j}", size, work.dim) for j, size in enumerate(work.sizes)] + [
        DenseFeat(f"n{j}", 1) for j in range(NUMBERS)
    ]
    model = MMOE(
        columns,
        num_experts=work.num_experts,
        expert_dnn_hidden_units=work.hidden,
        gate_dnn_hidden_units=(),
        tower_dnn_hidden_units=work.tower,
        task_types=["binary", "binary"],
        task_names=["a", "b"],
    )
    model.compile(torch.optim.Adam(model.parameters(), lr=lr), loss=["binary_crossentropy"] * 2)
    fit = lambda: model.fit(named(train), train[2], batch_size=work.batch, epochs=1, verbose=0)  # noqa: E731
    return fit, lambda: model.predict(named(test), batch_size=work.batch), None


def run_rechub(work, _precision, lr, train, test, *, own_loader=True):
    import torch
    from torch_rechub.basic.features import DenseFeature, SparseFeature
    from torch_rechub.models.multi_task import MMOE
    from torch_rechub.trainers import MTLTrainer
    from torch_rechub.utils.data import DataGenerator, PredictDataset

    features = [SparseFeature(f"c{j}", vocab_size=size, embed_dim=work.dim) for j, size in enumerate(work.sizes)]
    features += [DenseFeature(f"n{j}") for j in range(NUMBERS)]
    types = ["classification", "classification"]
    model = MMOE(features, types, work.num_experts, {"dims": list(work.hidden)}, [{"dims": list(work.tower)}] * 2)
    rate = {"lr": lr, "weight_decay": 1e-5}  # its own decay
    trainer = MTLTrainer(model, types, optimizer_params=rate, n_epoch=1, model_path=tempfile.mkdtemp())

    def batches(columns, labels):
        tensors = {name: torch.from_numpy(column) for name, column in columns.items()}
        for rows in torch.randperm(len(labels)).split(work.batch):
            yield {name: tensor[rows] for name, tensor in tensors.items()}, torch.from_numpy(labels)[rows]

    def fit():  # one epoch of `MTLTrainer.fit`, without its evaluation
        if own_loader:
            loaders = DataGenerator(named(train), train[2]).generate_dataloader(
                x_val=named(test), y_val=test[2], x_test=named(test), y_test=test[2], batch_size=work.batch
            )
            trainer.train_one_epoch(loaders[0])
        else:
            trainer.train_one_epoch(batches(named(train), train[2]))

    def predict():
        loader = torch.utils.data.DataLoader(PredictDataset(named(test)), batch_size=work.batch)
        return np.asarray(trainer.predict(model, loader))

    return fit, predict, None


def named(rows):
    ids, numbers, _ = rows
    return {f"c{j}": ids[:, j] for j in range(FIELDS)} | {f"n{j}": numbers[:, j] for j in range(NUMBERS)}


def gemm_rate(precision):
    """Operations per second of a square product of 2048 in this arithmetic: the bound of any step made of products."""
    import torch

    dtype = torch.bfloat16 if precision == "bf16" else torch.float32
    a, b = torch.randn(2048, 2048).to(dtype), torch.randn(2048, 2048).to(dtype)
    return 2 * 2048**3 / min(clock(lambda: a @ b)[0] for _ in range(6))


def warm_up():
    """What torch imports at the first gradient and the first update of a process is no one's training."""
    import torch

    weight = torch.nn.Parameter(torch.ones(2, 2))
    (weight @ weight).sum().backward()
    torch.optim.Adam([weight]).step()


def child(options):
    """One run, in this process; its measures go to standard output as JSON."""
    import torch

    torch.set_num_threads(1)
    torch.manual_seed(options.seed)
    work = WORKS[options.work]
    with np.load(options.data) as data:
        whole = [data[name] for name in ("ids", "numbers", "labels")]
    train, test = ([np.ascontiguousarray(part[rows]) for part in whole] for rows in (slice(HELD_OUT, None), slice(HELD_OUT)))
    library, precision = VARIANTS[options.child]
    if precision == "medium":
        torch.set_float32_matmul_precision("medium")
    warm_up()
    rate = gemm_rate(precision)
    make = {"polytask": run_polytask, "deepctr": run_deepctr, "rechub": run_rechub}[library.removesuffix("-batches")]
    more = {"own_loader": False} if library == "rechub-batches" else {}
    with contextlib.redirect_stdout(sys.stderr):
        fit, predict, flops = make(work, precision, options.lr, train, test, **more)
        seconds, _ = clock(fit)
        predict()
        predicting, score = clock(predict)
    found = {"train": len(train[2]) / seconds, "infer": HELD_OUT / predicting, "auc": auc(test[2], score), "gemm": rate / 1e9}
    if flops is not None:
        # Forward once, backward twice: the gradient of the weights and, as embeddings lie below all of them, of every input.
        found |= {"train_bound": rate / (3 * flops()), "infer_bound": rate / flops()}
    print(json.dumps(found))


def installed(variant):
    package = {"deepctr": "deepctr_torch", "rechub": "torch_rechub"}.get(VARIANTS[variant][0].removesuffix("-batches"))
    return package is None or importlib.util.find_spec(package) is not None


def measure(name, options, variants, folder):
    rows = options.rows if name == "large" else options.small_rows
    ids, numbers, labels = generate(WORKS[name], HELD_OUT + rows)
    data = Path(folder) / f"{name}.npz"
    np.savez(data, ids=ids, numbers=numbers, labels=labels)
    found = {variant: [] for variant in variants}
    for seed in range(options.rounds):
        for variant in variants:
            command = [
                sys.executable,
                "-W",
                "ignore",
                __file__,
                "--child",
                variant,
                "--work",
                name,
                "--data",
                str(data),
                "--seed",
                str(seed),
                "--lr",
                str(options.lr),
            ]
            run = subprocess.run(command, check=True, stdout=subprocess.PIPE, stderr=None if options.loud else subprocess.DEVNULL)
            found[variant].append(json.loads(run.stdout.splitlines()[-1]))
            print(name, seed, variant, found[variant][-1], flush=True)
    return [summary(name, rows, variant, runs) for variant, runs in found.items()]


def summary(name, rows, variant, runs):
    def median(key):
        return round(statistics.median(run[key] for run in runs))

    row = {"work": name, "variant": variant, "training rows / CPU-s": median("train"), "inference rows / CPU-s": median("infer")}
    row |= {f"AUC {task}": round(statistics.mean(run["auc"][j] for run in runs), 4) for j, task in enumerate("ab")}
    row |= {"square product, GFLOP/s": median("gemm")}
    if "train_bound" in runs[0]:
        row |= {"training bound": median("train_bound"), "inference bound": median("infer_bound")}
        row["share, training"] = round(statistics.median(run["train"] / run["train_bound"] for run in runs), 3)
        row["share, inference"] = round(statistics.median(run["infer"] / run["infer_bound"] for run in runs), 3)
    return row | {"rows": rows}


AGAINST = {"as they come": ("deepctr", "rechub"), "same flag": ("deepctr-medium", "rechub-batches-medium")}


def ratios(rows):
    """Ours over the faster rival, as rivals come and with the same flag; and what it would be at the bound of the processor."""
    found = []
    for name in dict.fromkeys(row["work"] for row in rows):
        speed = {row["variant"]: row for row in rows if row["work"] == name}
        for ours in (variant for variant in speed if variant.startswith("polytask")):
            for what, rivals in AGAINST.items():
                there = [speed[rival] for rival in rivals if rival in speed]
                ratio = {"work": name, "variant": ours, "against": f"faster rival, {what}"}
                for part in ("training", "inference") if there else ():
                    best = max(rival[f"{part} rows / CPU-s"] for rival in there)
                    ratio[f"{part}, x"] = round(speed[ours][f"{part} rows / CPU-s"] / best, 2)
                    ratio[f"{part} at the bound, x"] = round(speed[ours][f"{part} bound"] / best, 2)
                found += [ratio] if there else []
    return found


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=400_000)
    parser.add_argument("--small-rows", type=int, default=102_400)
    parser.add_argument("--lr", type=float, default=3e-3)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--works", default=",".join(WORKS))
    parser.add_argument("--variants", default=",".join(VARIANTS))
    parser.add_argument("--loud", action="store_true", help="show what the libraries print")
    parser.add_argument("--no-record", action="store_true")
    parser.add_argument("--caveat", default="", help="what holds against the numbers, such as a busy machine")
    for hidden in ("--child", "--work", "--data"):
        parser.add_argument(hidden, help=argparse.SUPPRESS)
    parser.add_argument("--seed", type=int, default=0, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        child(options)
        return
    variants = [variant for variant in options.variants.split(",") if installed(variant)]
    for absent in set(options.variants.split(",")) - set(variants):
        print(f"{absent}: not installed, left out")
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for name in options.works.split(","):
            rows += measure(name, options, variants, folder)
    for row in [*rows, *ratios(rows)]:
        print(row)
    if not options.no_record:
        from _record import record

        title = "Training and inference throughput of an MMoE against other libraries"
        seeds, rivals = list(range(options.rounds)), ("deepctr-torch", "torch-rechub")
        record("training_throughput", rows, title=title, seeds=seeds, rivals=rivals, caveat=options.caveat, ratios=ratios(rows))


if __name__ == "__main__":
    main()
