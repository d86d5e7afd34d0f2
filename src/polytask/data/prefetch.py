"""Work done ahead in a thread that always ends."""

import contextlib
import threading
import weakref
from collections import deque
from collections.abc import Callable, Generator
from typing import Generic, TypeVar, final

T = TypeVar("T")


@final
class Prefetched(Generic[T]):
    """An iterator whose items are made ahead in a background thread.

    The thread is stopped and joined when the items are used up, on `close`, when the iterator is no longer referred to (an early
    `break`), and at interpreter exit: a thread that outlives the interpreter's end aborts the process. An error in the thread is
    raised in the consumer, with the traceback of the place where it happened.

    Args:
        make: Gives the generator that is run in the thread. It must not refer to the consumer.
        depth: Items that are kept ready; while one of them is used, another is in the making.

    Example:
        >>> list(Prefetched(lambda: (n for n in range(3)), depth=2))
        [0, 1, 2]
    """

    def __init__(self, make: Callable[[], Generator[T, None, None]], depth: int) -> None:
        channel = self._channel = _Channel[T](depth)
        # A daemon, for the interpreter waits for other threads before it calls anyone to stop them; the finalizer, which is
        # called at exit too, stops and joins it.
        thread = threading.Thread(target=_fill, args=(channel, make), name="polytask-prefetch", daemon=True)
        self.close = weakref.finalize(self, _stop, channel, thread)
        thread.start()

    def __iter__(self) -> "Prefetched[T]":
        return self

    def __next__(self) -> T:
        try:
            return self._channel.get()
        except BaseException:
            self.close()
            raise


@final
class _Channel(Generic[T]):
    """A bounded queue that can be shut from both ends."""

    def __init__(self, depth: int) -> None:
        self.depth = depth
        self.items: deque[T] = deque()
        self.changed = threading.Condition()
        self.ended = False
        self.error: BaseException | None = None
        self.stopped = False

    def put(self, item: T) -> bool:
        """Waits for room; False where nobody wants more."""
        with self.changed:
            self.changed.wait_for(lambda: len(self.items) < self.depth or self.stopped)
            self.items.append(item)
            self.changed.notify_all()
            return not self.stopped

    def end(self, error: BaseException | None) -> None:
        """Says that nothing more comes, and whether that is an error."""
        with self.changed:
            self.ended, self.error = True, error
            self.changed.notify_all()

    def get(self) -> T:
        """The next item; raises `StopIteration`, or the error, where there is none."""
        with self.changed:
            self.changed.wait_for(lambda: self.items or self.ended or self.stopped)
            if self.items and not self.stopped:
                item = self.items.popleft()
                self.changed.notify_all()
                return item
            # A fresh one: a kept exception would keep, by its traceback, all that the consumer holds.
            raise self.error or StopIteration

    def stop(self) -> None:
        """Says that nothing more is wanted."""
        with self.changed:
            self.stopped = True
            self.items.clear()
            self.changed.notify_all()


def _fill(channel: "_Channel[T]", make: Callable[[], Generator[T, None, None]]) -> None:
    failure = None
    try:
        with contextlib.closing(make()) as items:
            for item in items:
                if not channel.put(item):
                    break
    except BaseException as error:  # noqa: BLE001 - raised again in the consumer
        failure = error
    channel.end(failure)


def _stop(channel: "_Channel[T]", thread: threading.Thread) -> None:
    channel.stop()
    if thread is not threading.current_thread():
        thread.join()
