"""Rows per second of the loader against the designs it was chosen from, in turns, and its memory on a long table.

    python benchmarks/speed/loader.py [--rows 10000000] [--long 50000000] [--rounds 5] [--work DIR] [--no-record]

The work: rows of 40 categorical columns, 7 numbers and 3 labels; shuffled batches of 8192. Every design gives the same tensors:
int32 [8192, 40], float32 [8192, 7] and three labels. The designs:

- polytask: `Loader` over `EncodedRows`, which also makes of the labels what a training step needs (values, masks, counts of each
  task and its sample space); also without the thread, and in the order of the table.
- npy memmap, shuffled blocks: three .npy files mapped into memory; blocks of 131072 rows in random order, four to a buffer,
  permuted with `numpy.take`. The best design measured before this loader was written; with and without a thread.
- pyarrow row groups: the Parquet file itself; groups of 131072 rows in random order, four to a buffer, permuted, in a thread.

Each pass runs in a process of its own and times the second of two epochs; a round is one pass of every design; medians over
rounds. Memory is the most anonymous memory (RssAnon) a pass had above what it had before the first batch.
"""

import argparse
import json
import os
import queue
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

sys.path.insert(1, str(Path(__file__).parents[1]))
os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from _record import record, row

FIELDS, NUMBERS, LABELS, BATCH, GROUP = 40, 7, 3, 8192, 131_072
# 10 to 100000 values a column, evenly on a logarithmic scale; three of the forty need more than 16 bits.
SIZES = tuple(int(size) for size in np.geomspace(10, 100_000, FIELDS))
NARROW = (200,) * FIELDS


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=10_000_000)
    parser.add_argument(
        "--long", type=int, default=50_000_000, help="rows of the table whose memory is measured; 0 leaves it out"
    )
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument(
        "--work", default=None, help="where the files go (about 5 kB for 10 rows); a temporary directory otherwise"
    )
    parser.add_argument("--caveat", default="", help="a remark for the record, such as a busy machine")
    parser.add_argument("--no-record", action="store_true")
    parser.add_argument("--run", nargs=2, metavar=("DESIGN", "FOLDER"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.run:
        design, folder = options.run
        print(json.dumps(timed(design, Path(folder))))
        return
    with tempfile.TemporaryDirectory(dir=options.work) as folder:
        rows = speed(options, Path(folder))
        rows += memory(options, Path(folder)) if options.long else []
    for line in rows:
        print(line)
    if not options.no_record:
        record("loader", rows, title="Loader: rows per second and memory", seeds=[0], caveat=options.caveat)


# --- the table, in three forms


def pieces(num_rows: int, sizes: tuple[int, ...]):
    """Columns of the table, a row group at a time."""
    random = np.random.default_rng(0)
    for start in range(0, num_rows, GROUP):
        n = min(GROUP, num_rows - start)
        ids = np.stack([(random.random(n, np.float32) * size).astype(np.int32) for size in sizes], axis=1)
        numbers = random.random((n, NUMBERS), np.float32)
        labels = (random.random((n, LABELS), np.float32) < 0.3).astype(np.float32)
        yield ids, numbers, labels


def layout(sizes: tuple[int, ...]):
    from polytask.data.packed import Layout

    return Layout(sizes, NUMBERS, tuple(f"y{k}" for k in range(LABELS)))


def write_rows(folder: Path, num_rows: int, sizes: tuple[int, ...]) -> None:
    """As Polytask encodes it. (The encoding of a file is another benchmark; here ids are ready.)"""
    from polytask.data.cache import Appender, Identity
    from polytask.data.columns import Columns

    form = layout(sizes)
    with Appender(folder / "rows", form, Identity("", "", form.labels)).appending() as appender:
        for ids, numbers, labels in pieces(num_rows, sizes):
            appender.append(form.pack(Columns(ids, numbers, {}, {name: labels[:, k] for k, name in enumerate(form.labels)})))


def write_rivals(folder: Path, num_rows: int, sizes: tuple[int, ...]) -> None:
    kinds = {"ids": (np.int32, FIELDS), "numbers": (np.float32, NUMBERS), "labels": (np.float32, LABELS)}
    arrays = {
        name: np.lib.format.open_memmap(folder / f"{name}.npy", "w+", dtype, (num_rows, width))
        for name, (dtype, width) in kinds.items()
    }
    writer, start = None, 0
    for piece in pieces(num_rows, sizes):
        for array, block in zip(arrays.values(), piece, strict=True):
            array[start : start + len(block)] = block
        names = [f"{kind}{j}" for kind, (_, width) in kinds.items() for j in range(width)]
        table = pa.table(dict(zip(names, (column for block in piece for column in block.T), strict=True)))
        writer = writer or pq.ParquetWriter(folder / "table.parquet", table.schema, compression="zstd")
        writer.write_table(table, row_group_size=GROUP)
        start += len(table)
    writer.close()
    for array in arrays.values():
        array.flush()


# --- the designs: each gives one epoch of batches


def polytask(folder: Path, *, shuffle: bool = True, prefetch: int = 2):
    from polytask.data import EncodedRows, Loader
    from polytask.tasks import Binary

    tasks = [Binary("y0"), Binary("y1", given="y0"), Binary("y2", given="y1")]
    loader = Loader(EncodedRows.open(folder / "rows"), tasks, batch_size=BATCH, shuffle=shuffle, prefetch=prefetch)
    while True:
        yield iter(loader)


def memmap_blocks(folder: Path, *, thread: bool = False):
    import torch

    arrays = [np.load(folder / f"{name}.npy", mmap_mode="r") for name in ("ids", "numbers", "labels")]
    random = np.random.default_rng(1)

    def epoch():
        starts = random.permutation(np.arange(0, len(arrays[0]), GROUP))
        for at in range(0, len(starts), 4):
            blocks = [slice(start, start + GROUP) for start in starts[at : at + 4]]
            buffer = [np.concatenate([array[block] for block in blocks]) for array in arrays]
            order = random.permutation(len(buffer[0]))
            for first in range(0, len(order), BATCH):
                index = order[first : first + BATCH]
                yield [torch.from_numpy(part.take(index, axis=0)) for part in buffer]

    while True:
        yield ahead(epoch()) if thread else epoch()


def row_groups(folder: Path):
    import torch

    file = pq.ParquetFile(folder / "table.parquet")
    random = np.random.default_rng(1)
    kinds = [("ids", FIELDS, np.int32), ("numbers", NUMBERS, np.float32), ("labels", LABELS, np.float32)]

    def matrix(table: pa.Table, kind: str, width: int, dtype: type) -> np.ndarray:
        columns = [table.column(f"{kind}{j}").to_numpy() for j in range(width)]
        out = np.empty((len(table), width), dtype)
        for start in range(0, len(out), 2048):  # a quarter faster than writing whole columns
            for j, column in enumerate(columns):
                out[start : start + 2048, j] = column[start : start + 2048]
        return out

    def epoch():
        groups = random.permutation(file.num_row_groups)
        for at in range(0, len(groups), 4):
            table = file.read_row_groups(groups[at : at + 4].tolist(), use_threads=False)
            buffer = [matrix(table, *kind) for kind in kinds]
            order = random.permutation(len(table))
            for first in range(0, len(order), BATCH):
                index = order[first : first + BATCH]
                yield [torch.from_numpy(part.take(index, axis=0)) for part in buffer]

    while True:
        yield ahead(epoch())


def ahead(batches):
    """A thread and a queue of two."""
    items, end = queue.Queue(2), object()

    def fill():
        for batch in batches:
            items.put(batch)
        items.put(end)

    threading.Thread(target=fill, daemon=True).start()
    return iter(items.get, end)


DESIGNS = {
    "polytask": polytask,
    "polytask, no thread": lambda folder: polytask(folder, prefetch=0),
    "polytask, in order": lambda folder: polytask(folder, shuffle=False),
    "npy memmap, shuffled blocks": memmap_blocks,
    "npy memmap, shuffled blocks, thread": lambda folder: memmap_blocks(folder, thread=True),
    "pyarrow row groups, thread": row_groups,
}


# --- measuring


def status(name: str) -> float:
    """Memory of this process in MiB: `RssAnon` is the anonymous memory now, `VmHWM` the most that was resident."""
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(name))
    return int(line.split()[1]) / 1024


def timed(design: str, folder: Path) -> dict[str, float]:
    """Two epochs; times of the second, memory of both."""
    import torch

    import polytask.data
    import polytask.tasks  # noqa: F401 - imported by every design, so that none pays for it in what is measured

    torch.set_num_threads(1)
    pa.set_cpu_count(1)
    epochs = DESIGNS[design](folder)
    before = peak = status("RssAnon")
    for _ in range(2):
        rows, wall, cpu = 0, time.perf_counter(), time.process_time()
        for number, batch in enumerate(next(epochs)):
            rows += batch.num_rows if hasattr(batch, "num_rows") else len(batch[0])
            if number % 16 == 0:
                peak = max(peak, status("RssAnon"))
        wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    return {"rows": rows, "wall": rows / wall, "cpu": rows / cpu, "memory": peak - before, "resident": status("VmHWM")}


def passed(design: str, folder: Path) -> dict[str, float]:
    command = [sys.executable, __file__, "--run", design, str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return json.loads(done.stdout)


def speed(options: argparse.Namespace, folder: Path) -> list[dict]:
    write_rows(folder, options.rows, SIZES)
    write_rivals(folder, options.rows, SIZES)
    found = {design: [] for design in DESIGNS}
    for number in range(options.rounds):
        for design in DESIGNS:
            found[design].append(passed(design, folder))
            print(number, design, found[design][-1], file=sys.stderr, flush=True)
    note = f"{options.rows:,} rows; median and extremes of {options.rounds} rounds"
    rows = []
    for unit, key in (("rows/s wall", "wall"), ("rows/cpu-s", "cpu")):
        rows += [summary(design, [result[key] for result in results], unit, note) for design, results in found.items()]
        for rival in list(DESIGNS)[3:]:
            ratios = [mine[key] / theirs[key] for mine, theirs in zip(found["polytask"], found[rival], strict=True)]
            rows.append(summary("polytask", ratios, f"x, {unit}", "of the same round", against=rival))
    rows += [summary(design, [result["memory"] for result in results], "MiB anonymous", "") for design, results in found.items()]
    for path in (*folder.glob("*.npy"), *folder.glob("*.parquet")):
        path.unlink()
    shutil.rmtree(folder / "rows")
    return rows


def summary(what: str, values: list[float], unit: str, note: str, against: str | None = None) -> dict:
    return row(what, float(np.median(values)), unit, interval=(min(values), max(values)), against=against, note=note)


def memory(options: argparse.Namespace, folder: Path) -> list[dict]:
    write_rows(folder, options.long, NARROW)
    size = sum(path.stat().st_size for path in (folder / "rows").iterdir()) / 2**30
    result = passed("polytask", folder)
    note = f"{options.long:,} rows, {size:.1f} GiB on disk, two epochs"
    return [
        row("polytask, long table", result["memory"], "MiB anonymous", note=note),
        row("polytask, long table", result["resident"], "MiB resident at most", note="interpreter and libraries included"),
        row("polytask, long table", result["cpu"], "rows/cpu-s", note=note),
    ]


if __name__ == "__main__":
    main()
