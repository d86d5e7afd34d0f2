"""How stacked MLPs are best computed: one at a time, or all in batched products.

For each shape, both ways take turns in one process and one thread; the figure is the least CPU time, in milliseconds, of the
forward pass alone and of forward and backward together. The last column is what `polytask.sharing.MLPs` does.

    python benchmarks/speed/expert_layouts.py [--precision medium,bf16] [--device cpu]
"""

import argparse
import os
import sys
import time
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")
sys.path.insert(1, str(Path(__file__).parents[1]))

import torch

from polytask.precision import autocast, matmul_precision
from polytask.sharing import MLPs, _mlps
from polytask.train._malloc import keep_freed_memory

ROWS = (1, 32, 128, 1024, 4096)
# input width, number, widths of layers, own inputs
SHAPES = ((100, 8, (16,), False), (327, 4, (64, 32), False), (300, 6, (128, 64), False), (647, 8, (256, 128), False))
SHAPES = (*SHAPES, *((*shape[:3], True) for shape in SHAPES[:3]), (128, 2, (64,), True), (128, 12, (64,), True))
DECIDES = _mlps.one_at_a_time


def one_by_one(mlps, x):
    """As `MLPs` does it beyond the cache; where inputs are their own, a loop."""
    _mlps.one_at_a_time = lambda *_: True
    if x.dim() == 2:
        return mlps(x)
    layers = mlps.steps()
    return torch.stack([_mlps._batched(one.unsqueeze(0), [_at(layer, i) for layer in layers])[0] for i, one in enumerate(x)])


def _at(layer, i):
    return layer._replace(weight=layer.weight[i : i + 1], bias=layer.bias[i : i + 1])


def batched(mlps, x):
    _mlps.one_at_a_time = lambda *_: False
    return mlps(x)


WAYS = {"one by one": one_by_one, "batched": batched}


def once(mlps, x, precision, train, way):
    _wait(x)
    start = time.perf_counter() if x.is_cuda else time.thread_time()
    with torch.set_grad_enabled(train), autocast(precision, x.device):
        out = way(mlps, x)
    if train:
        out.backward(out.detach())
    _wait(x)
    return (time.perf_counter() if x.is_cuda else time.thread_time()) - start


def _wait(x):
    if x.is_cuda:
        torch.cuda.synchronize()


def measure(rows, shape, precision, device):
    width, num, widths, own = shape
    mlps = MLPs(num, width, widths).to(device)
    x = torch.randn(*([num] if own else []), rows, width, device=device, requires_grad=True)
    repeats = max(5, min(50, int(4e9 / (rows * num * width * widths[0] * 6))))
    best = {}
    for train in (False, True):
        for _ in range(repeats):
            for name, way in WAYS.items():
                key = f"{name}, {'step' if train else 'forward'}"
                best[key] = min(best.get(key, 9.0), once(mlps, x, precision, train, way))
    decision = "one by one" if not own and DECIDES(x, num * widths[0]) else "batched"
    shown = f"{num} of {'-'.join(map(str, widths))} on {width}{', own inputs' if own else ''}"
    return (
        {"precision": precision, "rows": rows, "MLPs": shown}
        | {k: round(1e3 * v, 3) for k, v in best.items()}
        | {"decided": decision}
    )


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--precision", default="medium,bf16")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--no-record", action="store_true")
    options = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    keep_freed_memory()
    rows = []
    for precision in options.precision.split(","):
        with matmul_precision(precision, options.device):
            for shape in SHAPES:
                for count in ROWS:
                    rows.append(measure(count, shape, precision, options.device))
                    print(rows[-1], flush=True)
    if not options.no_record:
        from _record import record

        record("expert_layouts", rows=rows, seeds=[0])


if __name__ == "__main__":
    main()
