import errno
import json
import multiprocessing
import os
import signal
import time
from pathlib import Path

import numpy as np
import pytest

from polytask.data.cache import Appender, Identity, Manifest, holds
from polytask.data.store import EncodedRows
from polytask.errors import DataError

IDENTITY = Identity("digest", "fingerprint", ("click", "buy"))


def write(directory, packed, identity=IDENTITY, pieces=3):
    with Appender(directory, packed.layout, identity).appending() as appender:
        for index in np.array_split(np.arange(packed.num_rows), pieces):
            appender.append(packed.take(index))


def names(path):
    return sorted(item.name for item in path.iterdir())


def test_what_was_appended_is_read_back(tmp_path, make_packed, make_columns, assert_same):
    kinds = {"ragged": True, "weighted": True}
    write(tmp_path / "rows", make_packed(1000, **kinds))
    assert names(tmp_path) == ["rows"]
    rows = EncodedRows.open(tmp_path / "rows")
    assert len(rows) == 1000
    assert_same(rows.read(slice(None)), make_columns(1000, **kinds))
    manifest = json.loads((tmp_path / "rows" / "manifest.json").read_text())
    assert manifest["num_rows"] == 1000


def test_an_error_leaves_nothing_behind(tmp_path, make_packed):
    packed = make_packed(10)

    def interrupted():
        with Appender(tmp_path / "rows", packed.layout, IDENTITY).appending() as appender:
            appender.append(packed)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert names(tmp_path) == []


class SmallDisk:
    """A file on a disk with room for 90 kB that takes 777 bytes at a time."""

    def __init__(self, file):
        self.file, self.room = file, 90_000

    def write(self, data):
        if not self.room:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        taken = min(len(data), self.room, 777)
        self.room -= taken
        return self.file.write(data[:taken])

    def __getattr__(self, name):
        return getattr(self.file, name)


def test_a_full_disk_is_explained_and_leaves_nothing_behind(tmp_path, make_packed, monkeypatch, make_columns, assert_same):
    opened = Path.open

    def small(suffix, file):
        return SmallDisk(file) if suffix == ".bin" else file

    monkeypatch.setattr(Path, "open", lambda self, *how, **more: small(self.suffix, opened(self, *how, **more)))
    packed = make_packed(5000)
    write(tmp_path / "fits", packed.take(np.arange(1000)))
    with pytest.raises(DataError, match=r"(?s)No space left on device after 1667 rows.*Nothing was left behind. Free some room"):
        write(tmp_path / "rows", packed)
    monkeypatch.undo()
    assert names(tmp_path) == ["fits"]
    assert_same(EncodedRows.open(tmp_path / "fits").read(slice(None)), make_columns(1000))


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_an_unwritable_directory_is_explained(tmp_path, make_packed):
    tmp_path.chmod(0o500)
    with pytest.raises(DataError, match="Permission denied"):
        write(tmp_path / "rows", make_packed(3))


def test_a_path_below_a_file_is_explained(tmp_path, make_packed):
    (tmp_path / "file").write_text("mine")
    with pytest.raises(DataError, match=r"writable to '.*file/rows'.*Name a directory"):
        write(tmp_path / "file" / "rows", make_packed(3))


def test_stale_rows_are_replaced_and_open_ones_stay_readable(tmp_path, make_packed):
    write(tmp_path / "rows", make_packed(30))
    old = EncodedRows.open(tmp_path / "rows")
    other = Identity("digest", "another table", IDENTITY.labels)
    assert not holds(tmp_path / "rows", other)
    write(tmp_path / "rows", make_packed(20), other)
    assert len(EncodedRows.open(tmp_path / "rows")) == 20
    assert old.read(slice(29, 30)).numeric[0, 0] == 29.5
    assert names(tmp_path) == ["rows"]


def test_the_loser_of_two_writers_takes_what_is_there(tmp_path, make_packed):
    packed = make_packed(10)
    with Appender(tmp_path / "rows", packed.layout, IDENTITY).appending() as appender:
        appender.append(packed)
        write(tmp_path / "rows", packed)
        winner = (tmp_path / "rows").stat().st_ino
    assert (tmp_path / "rows").stat().st_ino == winner
    assert names(tmp_path) == ["rows"]


def _race(directory, packed, barrier):
    barrier.wait()
    for _ in range(5):
        write(directory, packed)


def test_processes_that_write_the_same_rows_do_not_disturb_each_other(tmp_path, make_packed):
    context = multiprocessing.get_context("fork")
    barrier, packed = context.Barrier(3), make_packed(2000)
    writers = [context.Process(target=_race, args=(tmp_path / "rows", packed, barrier)) for _ in range(3)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    assert [writer.exitcode for writer in writers] == [0, 0, 0]
    assert len(EncodedRows.open(tmp_path / "rows")) == 2000
    assert names(tmp_path) == ["rows"]


def _hang(directory, packed):
    with Appender(directory, packed.layout, IDENTITY).appending() as appender:
        appender.append(packed)
        time.sleep(60)


def test_what_a_killed_writer_left_is_swept_and_a_living_one_spared(tmp_path, make_packed):
    packed = make_packed(10)
    process = multiprocessing.get_context("fork").Process(target=_hang, args=(tmp_path / "rows", packed))
    process.start()
    while not list(tmp_path.glob(".rows.*.part/rows.bin")):
        time.sleep(0.01)
    write(tmp_path / "rows", packed)
    assert len(names(tmp_path)) == 2
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    write(tmp_path / "rows", packed)
    assert names(tmp_path) == ["rows"]


def test_a_directory_of_something_else_is_never_removed(tmp_path, make_packed):
    (tmp_path / "rows").mkdir()
    (tmp_path / "rows" / "thesis.txt").write_text("mine")
    with pytest.raises(DataError, match="something else"):
        write(tmp_path / "rows", make_packed(3))
    assert (tmp_path / "rows" / "thesis.txt").read_text() == "mine"
    assert names(tmp_path) == ["rows"]


def test_an_empty_directory_is_taken(tmp_path, make_packed):
    (tmp_path / "rows").mkdir()
    write(tmp_path / "rows", make_packed(3))
    assert len(EncodedRows.open(tmp_path / "rows")) == 3


@pytest.mark.parametrize("damage", ["cut", "missing", "manifest", "format", "no directory"])
def test_damaged_rows_are_refused_by_name(tmp_path, make_packed, damage):
    directory = tmp_path / "rows"
    write(directory, make_packed(10, ragged=True))
    if damage == "cut":
        os.truncate(directory / "rows.bin", 359)
        match = r"rows\.bin' must have 360 bytes\. Received: 359 bytes"
    elif damage == "missing":
        (directory / "list-1-ids.bin").unlink()
        match = r"list-1-ids\.bin'.*Received: no file"
    elif damage == "manifest":
        (directory / "manifest.json").write_text('{"format": 1')
        match = "must hold encoded rows"
    elif damage == "format":
        plain = json.loads((directory / "manifest.json").read_text()) | {"format": 0}
        (directory / "manifest.json").write_text(json.dumps(plain))
        match = "another format"
    else:
        directory, match = tmp_path / "nowhere", "nowhere' must hold encoded rows"
    with pytest.raises(DataError, match=match):
        Manifest.read(directory)
    assert not holds(directory, IDENTITY)


def test_rows_cut_short_while_open_are_noticed(tmp_path, make_packed):
    write(tmp_path / "rows", make_packed(100))
    rows = EncodedRows.open(tmp_path / "rows")
    os.truncate(tmp_path / "rows" / "rows.bin", 400)
    with pytest.raises(DataError, match=r"rows\.bin' must be as long as it was"):
        rows.read(slice(0, 100))
