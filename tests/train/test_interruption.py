"""The first signal is remembered; the second acts."""

import signal
import threading

import pytest

from polytask.train._interruption import Interrupted, watching


def test_the_first_signal_is_remembered_and_the_second_acts():
    before = signal.getsignal(signal.SIGINT)
    with watching(signal.SIGINT, signal.SIGTERM) as watch:
        assert watch.signum is None
        signal.raise_signal(signal.SIGINT)
        assert watch.signum == signal.SIGINT
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
    assert signal.getsignal(signal.SIGINT) is before


def test_handlers_are_put_back_after_an_error():
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(ValueError, match="x"), watching(signal.SIGTERM):
        raise ValueError("x")
    assert signal.getsignal(signal.SIGTERM) is before


def test_other_threads_watch_nothing():
    found = []

    def work():
        with watching(signal.SIGTERM) as watch:
            found.append(watch.signum)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert found == [None]


def test_it_says_what_was_saved_and_how_to_go_on():
    stopped = Interrupted(signal.SIGTERM, step=7, saved="runs/a/checkpoints/latest.safetensors")
    assert stopped.exit_code == 143
    assert str(stopped) == (
        "Stopped by SIGTERM after step 7. Saved in 'runs/a/checkpoints/latest.safetensors'; the same command resumes it."
    )
    assert "Nothing was saved" in str(Interrupted(signal.SIGINT, step=7, saved=None))
    assert not isinstance(stopped, Exception)  # `except Exception` of a callback does not swallow it
