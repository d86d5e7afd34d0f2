"""A table three times as large as the memory that is allowed is fitted, encoded and read in shuffled batches."""

import os
import resource
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

NUMBERS, CATEGORIES = 30, 10
ALLOWED = 144 << 20
TIMES = 3
ROW_BYTES = 4 * NUMBERS + CATEGORIES + 4  # as encoded: numbers and label in four bytes, ids in one
NUM_ROWS = TIMES * ALLOWED // ROW_BYTES + 1


def write_table(path: Path, num_rows: int) -> None:
    random = np.random.default_rng(0)
    writer = None
    for start in range(0, num_rows, 32_768):
        n = min(32_768, num_rows - start)
        columns = {f"x{j}": random.integers(0, 50, n).astype(np.float32) for j in range(NUMBERS)}
        columns |= {f"c{j}": random.integers(0, 100, n) for j in range(CATEGORIES)}
        piece = pa.table(columns | {"y": np.arange(start, start + n, dtype=np.float64)})
        writer = writer or pq.ParquetWriter(path, piece.schema, compression="lz4")
        writer.write_table(piece)
    writer.close()


def one_pass(path: Path, directory: Path) -> tuple[int, int]:
    from polytask.data import Categorical, EncodedRows, Loader, Numeric, Preprocessing, Schema, open_table
    from polytask.tasks import Regression

    table = open_table(path)
    features = [Numeric(f"x{j}") for j in range(NUMBERS)] + [Categorical(f"c{j}") for j in range(CATEGORIES)]
    preprocessing = Preprocessing.fit(table, Schema(tuple(features)), [Regression("y")])
    rows = EncodedRows.write(table, preprocessing, directory)
    keep = np.random.default_rng(0).random(len(rows)) < 0.9
    read = touched = 0
    for part in (rows, rows.subset(keep)):
        for batch in Loader(part, preprocessing.tasks, batch_size=4096):
            read += batch.num_rows
            touched += int(batch.features.categorical.sum()) + int(batch.labels["y"].observed.sum())
    return read, len(rows) + int(keep.sum())


def in_limits(folder: Path) -> None:
    """Run in a process of its own, in an address space that leaves room for a third of the table."""
    one_pass(folder / "warm.parquet", folder / "warm")  # libraries, threads and their arenas are there before the limit is set
    used = int(next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmSize")).split()[1])
    limit = used * 1024 + ALLOWED
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    try:
        np.ones(ALLOWED * 3 // 2, np.uint8)  # half of the table
    except MemoryError:
        pass
    else:
        raise AssertionError("the limit does not bite")
    read, expected = one_pass(folder / "large.parquet", folder / "large")
    size = sum(file.stat().st_size for file in (folder / "large").iterdir())
    sys.stdout.write(f"{read == expected} {size >= TIMES * ALLOWED}\n")


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs Linux")
def test_a_table_three_times_as_large_as_memory_is_read(tmp_path):
    write_table(tmp_path / "warm.parquet", 40_000)
    write_table(tmp_path / "large.parquet", NUM_ROWS)
    # Arrow's own allocator and glibc reserve address space far ahead of what is used.
    settled = {"ARROW_DEFAULT_MEMORY_POOL": "system", "MALLOC_ARENA_MAX": "1", "OMP_NUM_THREADS": "1"}
    command = [sys.executable, __file__, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, env=os.environ | settled, timeout=600, check=False)
    assert done.stdout == "True True\n", done.stderr


if __name__ == "__main__":
    in_limits(Path(sys.argv[1]))
