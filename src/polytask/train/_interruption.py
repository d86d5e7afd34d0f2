"""Ctrl-C and SIGTERM ask; the loop answers between two steps, after it has saved."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import final


@final
class Interrupted(KeyboardInterrupt):
    """Training was asked to stop and did, between two steps.

    Args:
        signum: Number of the signal that asked.
        step: Optimizer steps done.
        saved: Where the run can be taken up again, or None where nothing is kept.
    """

    def __init__(self, signum: int, *, step: int, saved: str | None) -> None:
        self.exit_code = 128 + signum
        where = f"Saved in {saved!r}; the same command resumes it." if saved else "Nothing was saved: no run directory was given."
        super().__init__(f"Stopped by {signal.Signals(signum).name} after step {step}. {where}")


@final
class Watch:
    """Remembers that a signal came.

    Args:
        signum: Number of the signal, or None as long as none came.
    """

    def __init__(self, signum: int | None = None) -> None:
        self.signum = signum


@contextmanager
def watching(*signals: signal.Signals) -> Iterator[Watch]:
    """Turns the first of these signals into a remark in `Watch`; a second one acts as it would have.

    Outside the main thread Python cannot handle signals: then nothing is watched.

    Example:
        >>> with watching(signal.SIGTERM) as watch:
        ...     signal.raise_signal(signal.SIGTERM)
        ...     watch.signum == signal.SIGTERM
        True
    """
    watch = Watch()
    if threading.current_thread() is not threading.main_thread():
        yield watch
        return
    before = {number: signal.getsignal(number) for number in signals}

    def restore() -> None:
        for number, handler in before.items():
            signal.signal(number, handler)

    def remember(signum: int, frame: FrameType | None) -> None:  # noqa: ARG001 - the signature of a handler
        watch.signum = signum
        restore()

    for number in signals:
        signal.signal(number, remember)
    try:
        yield watch
    finally:
        restore()
