"""One writer a directory, and a lock that no dead process holds."""

import os
import signal
import time

import pytest

from polytask.errors import ConfigError
from polytask.lock import locked


def in_fork(work):
    """Exit code of a fork that does some work; 7 where the lock was refused with the holder's name."""
    holder = os.getpid()
    child = os.fork()
    if child:
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    try:
        work()
    except ConfigError as error:
        os._exit(7 if f"process {holder} on " in str(error) else 8)
    except BaseException:  # noqa: BLE001 - a fork must not go on with its parent's tests
        os._exit(9)
    os._exit(0)


def take(directory):
    with locked(directory):
        pass


def test_another_process_is_refused_and_told_who_holds_it(tmp_path):
    with locked(tmp_path):
        assert in_fork(lambda: take(tmp_path)) == 7
        assert in_fork(lambda: take(tmp_path / "another")) == 0
    assert in_fork(lambda: take(tmp_path)) == 0


def test_the_same_process_may_hold_it_twice(tmp_path):
    with locked(tmp_path):
        take(tmp_path)
        assert in_fork(lambda: take(tmp_path)) == 7  # the inner one did not let go
    assert in_fork(lambda: take(tmp_path)) == 0


def test_a_killed_process_holds_nothing(tmp_path):
    child = os.fork()
    if not child:
        with locked(tmp_path):
            (tmp_path / "held").touch()
            time.sleep(60)
    while not (tmp_path / "held").exists():
        time.sleep(0.01)
    with pytest.raises(ConfigError, match=f"process {child} on .*Wait for it"):
        take(tmp_path)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    take(tmp_path)


def test_a_directory_that_cannot_be_written(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(ConfigError, match=r"must be writable.*Not a directory"):
        take(tmp_path / "file" / "run")
