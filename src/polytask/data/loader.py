"""Batches of encoded rows: shuffled, reproducible, resumable at any row."""

import math
from collections.abc import Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import NamedTuple, final

import numpy as np
import torch
from jaxtyping import Int

from polytask.batch import Batch
from polytask.data.columns import Columns, concatenate
from polytask.data.prefetch import Prefetched
from polytask.data.store import Rows, Scratch
from polytask.errors import CheckpointError, ConfigError, message
from polytask.tasks import Task

# Rows and bytes that are shuffled together. A table of no more rows is shuffled perfectly; rows of 128 bytes fill both bounds.
BUFFER_ROWS = 1 << 19
BUFFER_BYTES = 1 << 26
# A buffer is made of this many blocks or more from all over the table: so many places are mixed in every batch.
_BLOCKS = 128
# Rows of a block where the table is large, and blocks of a table where it is small.
_MAX_BLOCK = 4096
_MIN_BLOCKS = 1024


class Buffer(NamedTuple):
    """What is shuffled together: pieces of the table (start and stop of each), and the permutation of their rows."""

    pieces: Int[np.ndarray, "p 2"]
    within: Int[np.ndarray, " b"]

    @property
    def rows(self) -> Int[np.ndarray, " b"]:
        """Row numbers in the order in which they come."""
        numbers: np.ndarray = np.concatenate([np.arange(start, stop) for start, stop in self.pieces.tolist()])
        return numbers.take(self.within)


@final
@dataclass(frozen=True)
class Order:
    """The order of an epoch: blocks of neighbouring rows in random order, and their rows permuted inside a buffer.

    It is a function of the seed, the epoch and the rank, and of nothing that happened before; position p of an epoch is found
    without going through the p positions before it. (The random numbers are those of NumPy's `SFC64`, `Generator.shuffle` and
    `Generator.permutation`.)

    Args:
        num_rows: Number of rows n of the table.
        size: Positions of a buffer.
        seed: Chooses the order, with the epoch.
        rank: Which of the equal parts of an epoch this is.
        world: Number of parts; n modulo world rows of every epoch (other ones each time) are in none.

    Example:
        >>> order = Order(num_rows=5, size=4)
        >>> sorted(row for buffer in order.buffers(epoch=0) for row in buffer.rows.tolist())
        [0, 1, 2, 3, 4]
    """

    num_rows: int
    size: int
    seed: int = 0
    rank: int = 0
    world: int = 1

    @property
    def length(self) -> int:
        """Number of positions of an epoch."""
        return self.num_rows // self.world

    @property
    def block(self) -> int:
        """Rows of a block."""
        return max(1, min(_MAX_BLOCK, self.size // _BLOCKS, math.ceil(self.num_rows / _MIN_BLOCKS)))

    def buffers(self, epoch: int, first: int = 0) -> Iterator[Buffer]:
        """The buffers of an epoch, from number `first` on."""
        blocks = np.arange(math.ceil(self.num_rows / self.block))
        self._random(epoch, 0).shuffle(blocks)
        lengths = np.minimum(self.block, self.num_rows - blocks * self.block)
        ends = np.cumsum(lengths)
        for number in range(first, math.ceil(self.length / self.size)):
            start = self.rank * self.length + number * self.size
            stop = min(start + self.size, (self.rank + 1) * self.length)
            low, high = np.searchsorted(ends, [start, stop - 1], side="right").tolist()
            starts = blocks[low : high + 1] * self.block
            stops = starts + lengths[low : high + 1]
            # The blocks at both ends may belong to two buffers or ranks.
            starts[0] += start - (ends[low] - lengths[low])
            stops[-1] -= ends[high] - stop
            # Read in the order of the table; the permutation makes it random.
            pieces = np.stack([starts, stops], axis=1)[np.argsort(starts)]
            yield Buffer(pieces, self._random(epoch, 1, self.rank, number).permutation(stop - start))

    def _random(self, *key: int) -> np.random.Generator:
        return np.random.Generator(np.random.SFC64([self.seed, *key]))


@final
class Loader:
    """Batches of encoded rows, shuffled anew in every epoch.

    Rows are read in blocks of neighbouring rows that are picked in random order, and permuted in a buffer of 524288 rows (fewer
    where that were more than 64 MiB): a table that fits is shuffled perfectly, of a larger one every batch mixes 128 places or
    more. The order depends on seed, epoch and rank alone. A thread reads ahead.

    Iterating goes from the current position to the end of the epoch; then the next epoch is current. Breaking off keeps the
    position: the next iteration goes on there.

    Args:
        rows: What to read.
        tasks: Tasks whose labels are wanted.
        batch_size: Rows of a batch; the last one of an epoch may be shorter.
        shuffle: Whether rows come in random order, or in that of the table.
        seed: Chooses the orders.
        drop_last: Whether a last batch that is shorter is left out.
        prefetch: Batches that are made ahead in a thread; 0 makes each when it is asked for.
        shard: (rank, world) where `world` processes share an epoch. All have equally many rows; n modulo world rows go to none.

    Raises:
        ConfigError: If a number is out of its range.

    Example:
        >>> from polytask.data.packed import Layout
        >>> from polytask.data.store import EncodedRows
        >>> columns = Columns(np.arange(5, dtype=np.int32)[:, None], np.zeros((5, 0), np.float32), {}, {})
        >>> loader = Loader(EncodedRows.in_memory(Layout((9,), 0).pack(columns)), [], batch_size=2)
        >>> [batch.num_rows for batch in loader], loader.state_dict()
        ([2, 2, 1], {'epoch': 1, 'row': 0})
    """

    def __init__(
        self,
        rows: Rows,
        tasks: Sequence[Task],
        *,
        batch_size: int,
        shuffle: bool = True,
        seed: int = 0,
        drop_last: bool = False,
        prefetch: int = 2,
        shard: tuple[int, int] = (0, 1),
    ) -> None:
        rank, world = shard
        bounds = {
            "batch_size": (batch_size, 1),
            "seed": (seed, 0),
            "prefetch": (prefetch, 0),
            "world": (world, 1),
            "rank": (rank, 0),
        }
        for name, (value, least) in bounds.items():
            if value < least:
                raise ConfigError(message(f"A loader's {name} is at least {least}.", received=value))
        if rank >= world:
            raise ConfigError(message(f"A loader's rank is below its world of {world}.", received=rank))
        self.batch_size, self.drop_last, self.prefetch = batch_size, drop_last, prefetch
        buffer = max(1, min(BUFFER_ROWS, BUFFER_BYTES // max(rows.layout.row_bytes, 1)))
        order = Order(len(rows), buffer, seed, rank, world)
        self._reader = _Reader(rows, tuple(tasks), order, batch_size, shuffle)
        self._epoch = self._row = 0
        self._running: Prefetched[Batch] | Generator[Batch, None, None] | None = None

    @property
    def num_rows(self) -> int:
        """Number of rows of an epoch, of this rank."""
        return self._reader.order.length

    def __len__(self) -> int:
        """Number of batches of an epoch, of this rank."""
        return self.num_rows // self.batch_size if self.drop_last else math.ceil(self.num_rows / self.batch_size)

    def __iter__(self) -> Iterator[Batch]:
        """Batches from the current position to the end of the epoch."""
        self.close()
        rest = (self.num_rows - self._row) % self.batch_size if self.drop_last else 0
        make = partial(self._reader.batches, self._epoch, self._row, self.num_rows - rest)
        running = self._running = Prefetched(make, self.prefetch) if self.prefetch else make()
        try:
            for batch in running:
                self._row += batch.num_rows
                yield batch
            # Another iteration, or another position, may have begun since.
            if self._running is running:
                self._epoch, self._row = self._epoch + 1, 0
        finally:
            running.close()
            if self._running is running:
                self._running = None

    def state_dict(self) -> dict[str, int]:
        """The position after the last batch that was handed out."""
        return {"epoch": self._epoch, "row": self._row}

    def load_state_dict(self, state: Mapping[str, int]) -> None:
        """Goes on from a position, with the same remaining order.

        Raises:
            CheckpointError: If there is no such position.
        """
        epoch, row = state["epoch"], state["row"]
        if epoch < 0 or not 0 <= row <= self.num_rows:
            expected = f"A position lies in an epoch of {self.num_rows} rows."
            raise CheckpointError(
                message(expected, received=dict(state), way_out="Resume with the data the run was started with.")
            )
        self.close()
        self._epoch, self._row = epoch, row

    def close(self) -> None:
        """Stops reading ahead; the position stays."""
        if self._running is not None:
            self._running.close()
            self._running = None


@final
@dataclass(frozen=True)
class _Reader:
    """Makes batches; it knows nothing of the loader, so a thread that runs it does not keep the loader alive."""

    rows: Rows
    tasks: tuple[Task, ...]
    order: Order
    batch_size: int
    shuffle: bool
    scratch: Scratch = field(default_factory=Scratch)

    def batches(self, epoch: int, row: int, stop: int) -> Generator[Batch, None, None]:
        """Batches of positions `row` to `stop` of an epoch."""
        columns = self._shuffled(epoch, row, stop) if self.shuffle else self._in_order(row, stop)
        pin = torch.cuda.is_available()
        for part in columns:
            yield part.to_batch(self.tasks, pin=pin)

    def _in_order(self, row: int, stop: int) -> Iterator[Columns]:
        before = self.order.rank * self.order.length
        for start in range(before + row, before + stop, self.batch_size):
            yield self.rows.load(np.array([[start, min(start + self.batch_size, before + stop)]])).unpack()

    def _shuffled(self, epoch: int, row: int, stop: int) -> Iterator[Columns]:
        parts, missing = list[Columns](), min(self.batch_size, stop - row)
        if missing <= 0:
            return
        first, skipped = divmod(row, self.order.size)
        for pieces, within in self.order.buffers(epoch, first):
            buffer, at, skipped = self.rows.load(pieces, self.scratch), skipped, 0
            while at < len(within) and missing:
                part = buffer.take(within[at : at + missing])
                parts.append(part.unpack())
                at, row, missing = at + part.num_rows, row + part.num_rows, missing - part.num_rows
                if not missing:
                    yield concatenate(parts)
                    parts, missing = [], min(self.batch_size, stop - row)
