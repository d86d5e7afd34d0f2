"""Rows per second of the simulators: tables in memory on one core, on all cores, and written as Parquet.

Every simulator makes tables of `--rows` rows a round, in turns with the others; medians over rounds. A table is dropped when it
is there, so what is measured is the making. The threads each make an equal share of the blocks, which depend on their own number
alone. The Parquet files (zstd) are written by one core, with the truth beside the log.

    python benchmarks/speed/simulators.py [--rows 4000000] [--rounds 5] [--work DIR] [--quick] [--no-record]
"""

import argparse
import os
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

sys.path.insert(1, str(Path(__file__).parents[1]))
os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import pyarrow as pa
from _record import record, row

from polytask.data.synthetic import Behaviours, EntireSpace, Feed

SIMULATORS = {
    "entire_space": EntireSpace(),
    "entire_space, 100,000 users, 20,000 items": EntireSpace(num_users=100_000, num_items=20_000),
    "behaviours, chain": Behaviours(shape="chain"),
    "behaviours, tree": Behaviours(shape="tree"),
    "feed": Feed(),
}
SLOW = ("feed",)  # a tenth of the rows: it draws sessions, histories and names


def in_memory(name: str, rows: int, threads: int) -> float:
    """Rows a second of wall clock."""
    simulator, step = SIMULATORS[name], 32 * SIMULATORS[name].block_rows
    starts = range(0, max(rows // step, threads) * step, step)

    def share(number: int) -> None:
        for start in starts[number::threads]:
            simulator.table(start, start + step)

    began = time.perf_counter()
    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(share, range(threads)))
    return len(starts) * step / (time.perf_counter() - began)


def written(name: str, rows: int, folder: Path) -> float:
    began = time.perf_counter()
    SIMULATORS[name].write(folder / "log.parquet", rows, truth=folder / "truth.parquet")
    return rows / (time.perf_counter() - began)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=4_000_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--work", default=None, help="where the files go; a temporary directory otherwise")
    parser.add_argument("--quick", action="store_true", help="one round of a tenth of the rows; nothing is recorded")
    parser.add_argument("--caveat", default="", help="what holds against the numbers, such as a busy machine")
    parser.add_argument("--no-record", action="store_true")
    options = parser.parse_args()
    rows, rounds = (options.rows // 10, 1) if options.quick else (options.rows, options.rounds)
    pa.set_cpu_count(1)
    cores = len(os.sched_getaffinity(0))
    found: dict[tuple[str, str], list[float]] = {}
    with tempfile.TemporaryDirectory(dir=options.work) as folder:
        for simulator in SIMULATORS.values():
            simulator.table(0, 1)  # the world is made once
        for _ in range(rounds):
            for name in SIMULATORS:
                part = rows // 10 if name in SLOW else rows
                for threads in sorted({1, cores}):
                    found.setdefault((name, f"{threads} thread(s)"), []).append(in_memory(name, part, threads))
                found.setdefault((name, "Parquet, log and truth"), []).append(written(name, part // 4, Path(folder)))
    note = f"{rows:,} rows (feed: {rows // 10:,}; files: a quarter); median and extremes of {rounds} rounds"
    lines = [
        row(f"{name}: {how}", float(np.median(v)), "rows/s", interval=(min(v), max(v)), note=note)
        for (name, how), v in found.items()
    ]
    for line in lines:
        print(f"{line['what']:65} {line['value']:14,.0f} rows/s")
    if not (options.quick or options.no_record):
        record("simulators", lines, title="Rows per second of the simulators", seeds=[0], caveat=options.caveat)


if __name__ == "__main__":
    main()
