"""Trainings in worker processes, each kept in a file: an interrupted benchmark goes on where it was."""

from collections.abc import Callable, Iterable
from concurrent.futures import ProcessPoolExecutor, as_completed
from multiprocessing import get_context
from pathlib import Path
from typing import Any, Protocol


class Kept(Protocol):
    """A training with the file it is kept in; hashable, and fit to be sent to a process."""

    @property
    def file(self) -> Path: ...


def train_missing(
    jobs: Iterable[Kept], run: Callable[[Any], Any], told: Callable[[Any], str], *, processes: int
) -> list[tuple[Any, BaseException]]:
    """Trains what has no file yet, a line each; gives what failed and why, so that it only leaves its row out.

    Args:
        jobs: Trainings, in the order in which they are begun.
        run: Trains one and writes its file, in the process of a worker.
        told: Names one, and says what it took where its file is there.
        processes: How many at a time.
    """
    missing = [job for job in dict.fromkeys(jobs) if not job.file.exists()]
    failed: list[tuple[Any, BaseException]] = []
    if not missing:
        return failed
    with ProcessPoolExecutor(processes, mp_context=get_context("spawn")) as pool:
        running = {pool.submit(run, job): job for job in missing}
        for done, future in enumerate(as_completed(running), start=1):
            job, error = running[future], future.exception()
            failed += [(job, error)] if error else []
            print(f"{done}/{len(missing)} {told(job)}{f': failed: {error}' if error else ''}", flush=True)
    return failed
