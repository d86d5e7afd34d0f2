"""Freed memory is kept for the next step."""

import platform
import subprocess
import sys

import pytest

import polytask.train._malloc as malloc

PROGRAM = """
import resource, runpy, sys
def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(20):
        block = bytearray(48 << 20)
        del block
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
print(faults(), runpy.run_path(sys.argv[1])["keep_freed_memory"](), faults())
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc is told")
def test_large_blocks_are_not_fetched_page_by_page_again():
    done = subprocess.run([sys.executable, "-c", PROGRAM, malloc.__file__], capture_output=True, text=True, check=True)
    before, told, after = done.stdout.split()
    assert told == "True"
    assert int(after) < int(before) / 4


def test_elsewhere_nothing_happens(monkeypatch):
    monkeypatch.setattr(platform, "system", lambda: "Darwin")
    assert malloc.keep_freed_memory() is False
