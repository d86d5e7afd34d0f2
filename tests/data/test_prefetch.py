import gc
import subprocess
import sys
import threading
import traceback

import pytest

from polytask.data import prefetch
from polytask.data.prefetch import Prefetched


def alive() -> int:
    return sum(thread.name == "polytask-prefetch" for thread in threading.enumerate())


def counting(seen=None):
    number = 0
    while True:
        if seen is not None:
            seen.append(number)
        yield number
        number += 1


def fails_after(count):
    yield from range(count)
    raise KeyError("the place of the error")


def test_items_come_in_order_and_the_thread_ends():
    assert list(Prefetched(lambda: (n for n in range(1000)), depth=3)) == list(range(1000))
    assert alive() == 0


def test_no_more_is_made_than_is_kept_ready():
    seen = []
    items = Prefetched(lambda: counting(seen), depth=2)
    assert [next(items), next(items)] == [0, 1]
    threading.Event().wait(0.05)
    assert len(seen) <= 2 + 2 + 1  # taken, ready, and one in the making
    items.close()


def test_an_early_break_ends_the_thread():
    for number in Prefetched(counting, depth=2):
        if number == 3:
            break
    gc.collect()
    assert alive() == 0


def test_closing_ends_the_thread_and_the_items_and_may_be_repeated():
    items = Prefetched(counting, depth=2)
    next(items)
    items.close()
    assert alive() == 0
    items.close()
    with pytest.raises(StopIteration):
        next(items)


def test_the_generator_is_closed_in_its_own_thread():
    closed = []

    def numbers():
        try:
            yield from counting()
        finally:
            closed.append(threading.current_thread().name)

    items = Prefetched(numbers, depth=1)
    next(items)
    items.close()
    assert closed == ["polytask-prefetch"]


def test_an_error_is_raised_where_it_is_waited_for_with_its_own_place():
    items = Prefetched(lambda: fails_after(2), depth=5)
    assert [next(items), next(items)] == [0, 1]
    with pytest.raises(KeyError, match="the place") as caught:
        next(items)
    assert "fails_after" in [frame.name for frame in traceback.extract_tb(caught.value.__traceback__)]
    assert alive() == 0


def test_an_error_of_the_consumer_ends_the_thread():
    def consume():
        for number in Prefetched(counting, depth=2):
            if number == 2:
                raise RuntimeError("mine")

    with pytest.raises(RuntimeError, match="mine"):
        consume()
    gc.collect()
    assert alive() == 0


@pytest.mark.parametrize("ending", ["", "sys.exit(0)", "items.close()", "items = None"])
def test_the_interpreter_ends_quietly_in_the_middle(ending):
    script = f"""
import runpy, sys, numpy
Prefetched = runpy.run_path({prefetch.__file__!r})["Prefetched"]  # the module alone: without torch it starts quickly
def blocks():
    while True:
        yield numpy.zeros(1_000_000).cumsum()
items = Prefetched(blocks, depth=2)
next(items)
{ending}
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (0, "")
