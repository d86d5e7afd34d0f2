"""Time of a step and of inference of every way of sharing, as a ratio to a shared bottom of the same FLOPs.

Sharing, towers and heads on a random `n d` representation, no encoder. The bottom has two layers, (w, h), with h the width that
the architecture gives its heads, and w solved so that floating-point operations of the forward pass (`FlopCounterMode`) agree
within 2 %; the reached ratio is in the row. A step is forward, mean squared error, penalty where there is one, backward down to
the representation, Adam, `after_step`; rounds before the first that is timed go on until memory is where it stays. Both take
turns in one process and one thread; CPU time; the ratio is the median over rounds of ratios within a round, its interval of order
statistics (95 %). Rivals of the same sizes take turns in the same rounds.

    python benchmarks/speed/sharing_cost.py [--quick] [--only mmoe,ple] [--tasks 2,8,32] [--rows 4096,512] [--seconds 600]
    python benchmarks/speed/sharing_cost.py --profile mmoe --tasks 32 --rows 4096

Rivals are optional: `pip install deepctr-torch==0.3.0 torch-rechub==0.9.0 LibMTL`, or into folders that `RIVALS` names.
"""

import argparse
import gc
import inspect
import os
import resource
import statistics
import sys
import time
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("MKL_NUM_THREADS", "1")
sys.path[1:1] = [str(Path(__file__).parents[1]), *filter(None, os.environ.get("RIVALS", "").split(os.pathsep))]

import torch
from _ratio import ratio
from _record import record, row
from _sharing_rivals import EXPERTS, LACKING, OWN_EXPERTS, RIVALS, TOWER, absent
from torch.nn.functional import cross_entropy

from polytask.heads import Heads
from polytask.precision import PRECISIONS, matmul_precision
from polytask.sharing import SHARINGS, SharedBottom, count_operations
from polytask.tasks import Regression
from polytask.train._malloc import keep_freed_memory

WIDTH = 128
PROBE = 16  # rows of which operations are counted; a part of every number of rows that is timed
BOTTOM = "shared bottom of the same FLOPs"
LEAST_ROUNDS, MOST_ROUNDS, QUICK_ROUNDS = 6, 41, 5  # of 6 rounds the extremes are an interval of 97 %
SLOW_ROUND = 10.0  # seconds from which one more round is enough to warm up
MOST_WARM_ROUNDS, FEW_FAULTS = 8, 256  # a fault is a page of 4 KiB that the kernel had to hand out: no part of a later step
# Sizes that rivals are built with too; all else as it comes.
SIZES = {"num_experts": EXPERTS, "num_shared_experts": OWN_EXPERTS, "num_task_experts": OWN_EXPERTS}
# Where the default is not what rivals have: their gate of a DSelect-k reads the row.
LIKE_RIVALS = {"dselect_k": {"per_example": True}}


class Ours(torch.nn.Module):
    """Sharing, towers and heads; outputs `n k`, and what training adds to the losses."""

    def __init__(self, sharing, num_tasks):
        super().__init__()
        self.sharing = sharing
        self.heads = Heads(sharing.out_features, [Regression(f"t{k}") for k in range(num_tasks)], hidden=(TOWER,))

    def forward(self, x):
        shared = self.sharing(x)
        penalty = shared.penalty
        if shared.guesses is not None:  # as `MultiTaskModel.penalty` where every row is labelled for all tasks
            adversary = cross_entropy(shared.guesses, torch.full_like(shared.guesses, 1 / shared.guesses.shape[1]))
            penalty = adversary if penalty is None else penalty + adversary
        return torch.cat(list(self.heads(shared.outputs).values()), dim=1), penalty


class Arm:
    """A module with its input, its labels and its optimizer: what takes turns."""

    def __init__(self, model, x, num_tasks):
        self.model, self.x = model, x
        self.labels = torch.randn(x.shape[-2], num_tasks)
        self.optimizer = torch.optim.Adam(model.parameters(), lr=1e-4, fused=True)
        self.after = model.sharing.after_step if isinstance(model, Ours) else lambda lr: None  # noqa: ARG005

    def step(self):
        self.optimizer.zero_grad()
        self.x.grad = None
        found = self.model(self.x)
        outputs, penalty = found if isinstance(found, tuple) else (found, None)
        loss = (outputs - self.labels).square().mean()
        (loss if penalty is None else loss + penalty).backward()
        self.optimizer.step()
        self.after(1e-4)

    def infer(self):
        with torch.inference_mode():
            self.model(self.x)

    def flops(self):
        """Of all rows, from two counts of a few: some architectures also multiply weights, whatever the number of rows."""
        one, two = (self.counted(self.x.detach()[..., : n * PROBE, :]) for n in (1, 2))
        return one + (two - one) * (self.x.shape[-2] // PROBE - 1)

    def counted(self, x):
        self.model.eval()
        with count_operations() as counts:
            self.model(x)
        return counts()["Global"]


def ours(variant, num_tasks, rows):
    known = inspect.signature(SHARINGS[variant]).parameters
    options = {key: size for key, size in SIZES.items() if key in known} | LIKE_RIVALS.get(variant, {})
    sharing = SHARINGS[variant](WIDTH, [f"t{k}" for k in range(num_tasks)], **options)
    shape = (rows, WIDTH) if sharing.num_inputs == 1 else (sharing.num_inputs, rows, WIDTH)
    return Arm(Ours(sharing, num_tasks), torch.randn(shape, requires_grad=True), num_tasks)


def bottom(flops, out_features, num_tasks, rows):
    """The shared bottom of these operations: they grow linearly with its first width, so two counts give that width."""

    def arm(width):
        sharing = SharedBottom(WIDTH, [f"t{k}" for k in range(num_tasks)], hidden=(width, out_features))
        return Arm(Ours(sharing, num_tasks), torch.randn(rows, WIDTH, requires_grad=True), num_tasks)

    one, two = arm(1).flops(), arm(2).flops()
    return arm(max(1, round(1 + (flops - one) / (two - one))))


def rivals(variant, num_tasks, rows, wanted):
    found = {}
    for rival in wanted:
        build = RIVALS[rival][2].get(variant)
        if build is not None:
            found[rival] = Arm(build(WIDTH, num_tasks), torch.randn(rows, WIDTH, requires_grad=True), num_tasks)
    return found


def page_faults():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt


def clock(work):
    start = time.thread_time()
    work()
    return time.thread_time() - start


def turns(arms, seconds, quick):
    """CPU seconds of steps and inferences of each arm, a round after the other, each in a new order."""
    times = {name: ([], []) for name in arms}
    names, started = list(arms), time.perf_counter()
    one_round(names, arms, {name: ([], []) for name in arms})  # what memory and libraries set up at first
    pace = time.perf_counter() - started
    for _ in range(1 if pace > SLOW_ROUND else MOST_WARM_ROUNDS):  # until memory is where it stays
        faults, started = page_faults(), time.perf_counter()
        one_round(names, arms, {name: ([], []) for name in arms})
        pace = time.perf_counter() - started
        if page_faults() - faults < FEW_FAULTS:
            break
    for _ in range(QUICK_ROUNDS if quick else min(MOST_ROUNDS, max(LEAST_ROUNDS, int(seconds / pace)))):
        names = [*names[1:], names[0]]
        one_round(names, arms, times)
    return times


def one_round(names, arms, times):
    for place, work in enumerate(("step", "infer")):
        for name in names:
            arms[name].model.train(work == "step")  # as in training: before many steps, not in each
            times[name][place].append(clock(getattr(arms[name], work)))


def cell(variant, num_tasks, rows, options, seconds):
    """One row against the bottom, and one a rival."""
    torch.manual_seed(0)
    mine = ours(variant, num_tasks, rows)
    flops = mine.flops()
    base = bottom(flops, mine.model.sharing.out_features, num_tasks, rows)
    arms = {"ours": mine, "bottom": base, **rivals(variant, num_tasks, rows, options.rivals)}
    reached = base.flops() / flops
    times = turns(arms, seconds, options.quick)
    what = f"{variant}, {num_tasks} tasks, {rows} rows"
    step, inference = (ratio(times["ours"][i], times["bottom"][i]) for i in (0, 1))
    note = f"{len(times['ours'][0])} rounds" + (
        "" if abs(reached - 1) <= 0.02 else "; FLOPs of the bottom differ by more than 2 %"
    )
    found = row(what, step[0], "x, step", interval=step[1], against=BOTTOM, note=note)
    found |= {"inference": inference[0], "inference_interval": inference[1], "flops_of_bottom": round(reached, 4)}
    found |= {"step_ms": round(1e3 * statistics.median(times["ours"][0]), 2)}
    found |= {"GFLOP/s": round(3 * flops / statistics.median(times["ours"][0]) / 1e9, 1)}
    against = []
    for rival in list(arms)[2:]:
        step, inference = (ratio(times[rival][i], times["ours"][i]) for i in (0, 1))
        faster = row(what, step[0], "x faster, step", interval=step[1], against=RIVALS[rival][1], note=note)
        against.append(faster | {"inference": inference[0], "inference_interval": inference[1]})
    return found, against


def summary(rows):
    """The least and the greatest ratio of each architecture over the sizes."""
    found = []
    for variant in dict.fromkeys(entry["what"].split(",")[0] for entry in rows):
        mine = [entry for entry in rows if entry["what"].split(",")[0] == variant]
        line = {"what": variant, "against": BOTTOM}
        for name, key in (("step", "value"), ("inference", "inference")):
            values = [entry[key] for entry in mine]
            line |= {f"{name}, least x": min(values), f"{name}, median x": statistics.median(values)}
            line |= {f"{name}, greatest x": max(values)}
        found.append(line)
    return found


def profiled(options):
    """Where the CPU time of 10 steps goes, by operator."""
    from torch.profiler import ProfilerActivity, profile

    for variant in options.profile.split(","):
        arm = ours(variant, options.tasks[-1], options.rows[0])
        base = bottom(arm.flops(), arm.model.sharing.out_features, options.tasks[-1], options.rows[0])
        for name, one in ((variant, arm), (BOTTOM, base)):
            for work in ("step", "infer"):
                one.model.train(work == "step")
                for _ in range(MOST_WARM_ROUNDS):
                    getattr(one, work)()
                with profile(activities=[ProfilerActivity.CPU]) as found:
                    for _ in range(10):
                        getattr(one, work)()
                print(f"\n=== {name}, {options.tasks[-1]} tasks, {options.rows[0]} rows: 10 x {work}")
                print(found.key_averages().table(sort_by="self_cpu_time_total", row_limit=14, max_name_column_width=60))


def numbers(text):
    return [int(part) for part in text.split(",")]


def parsed():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", default=",".join(SHARINGS), help="architectures")
    parser.add_argument("--tasks", type=numbers, default=[2, 8, 32])
    parser.add_argument("--rows", type=numbers, default=[4096, 512])
    parser.add_argument("--rivals", default=",".join(RIVALS), type=lambda text: [name for name in text.split(",") if name])
    parser.add_argument("--seconds", type=float, default=600, help="of all rounds together; a cell has 6 rounds at least")
    parser.add_argument("--precision", default="float32", choices=[name for name in PRECISIONS if name in ("float32", "medium")])
    parser.add_argument("--quick", action="store_true", help="5 rounds of 512 rows, 2 and 8 tasks; nothing is recorded")
    parser.add_argument("--profile", default="", help="architectures: where their time goes, instead of measuring")
    parser.add_argument("--caveat", default="", help="what holds against the numbers, such as a busy machine")
    options = parser.parse_args()
    if options.quick:
        given = sys.argv[1:]
        options.tasks = options.tasks if "--tasks" in given else [2, 8]
        options.rows = options.rows if "--rows" in given else [512]
    return options


def main():
    options = parsed()
    torch.set_num_threads(1)
    keep_freed_memory()
    left_out = [f"{name}: {reason}" for name in options.rivals if (reason := absent(name))]
    options.rivals = [name for name in options.rivals if not absent(name)]
    left_out += [f"{lib} {name}: {why}" for (lib, name), why in LACKING.items() if lib in options.rivals and name in SHARINGS]
    with matmul_precision(options.precision):
        if options.profile:
            profiled(options)
            return
        cells = [(name, k, n) for n in options.rows for k in options.tasks for name in options.only.split(",")]
        found, against, started = [], [], time.perf_counter()
        try:
            for done, (name, k, n) in enumerate(cells):
                left = (options.seconds - (time.perf_counter() - started)) / (len(cells) - done)
                line, others = cell(name, k, n, options, left)
                found.append(line)
                against += others
                shown = f"step {line['value']} {line['interval']}, inference {line['inference']} {line['inference_interval']}"
                about = f"FLOPs {line['flops_of_bottom']}, {line['step_ms']} ms, {line['GFLOP/s']} GFLOP/s, {line['note']}"
                print(f"{line['what']}: {shown}, {about}", flush=True)
                for other in others:
                    print(
                        f"    {other['against']}: {other['value']} {other['interval']}, inference {other['inference']}",
                        flush=True,
                    )
                gc.collect()
        except KeyboardInterrupt:  # what was measured is kept, and said to be a part
            left_out.append(f"what comes after {len(found)} of {len(cells)} cells, when it was stopped")
    print("left out:", "; ".join(left_out) or "nothing")
    if not options.quick:
        write(options, found, against, left_out)


def write(options, found, against, left_out):
    about = f"CPU time of one thread, precision {options.precision}; input {WIDTH}, towers of {TOWER}, all else by default."
    caveat = " ".join(filter(None, [about, f"Left out: {'; '.join(left_out)}." if left_out else "", options.caveat]))
    title = "Cost of every way of sharing against a shared bottom of the same FLOPs, and against other libraries"
    more = {"all": found, "against_rivals": against}
    distributions = [RIVALS[name][1] for name in RIVALS]
    record("sharing_cost", summary(found), title=title, seeds=[0], caveat=caveat, rivals=distributions, **more)


if __name__ == "__main__":
    main()
