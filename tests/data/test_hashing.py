"""The hash is a fixed function: the same in every process, on every machine, for ever."""

import hashlib

import numpy as np
import pyarrow as pa
from hypothesis import given, settings
from hypothesis import strategies as st

from polytask.data.hashing import hash_integers, hash_text

WORD = (1 << 64) - 1


def mix(state):
    state = (state ^ (state >> 30)) * 0xBF58476D1CE4E5B9 & WORD
    state = (state ^ (state >> 27)) * 0x94D049BB133111EB & WORD
    return state ^ (state >> 31)


def one_by_one(text):
    """The definition, with Python's whole numbers."""
    content = text.encode()
    if len(content) > 1024:
        content = hashlib.blake2b(content, digest_size=16).hexdigest().encode()
    state = mix((len(content) + 0x9E3779B97F4A7C15) & WORD)
    for start in range(0, len(content), 8):
        word = int.from_bytes(content[start : start + 8], "little")
        state = mix(((state ^ word) + 0x9E3779B97F4A7C15) & WORD)
    return state


def test_values_are_those_written_down_once():
    assert hash_text(pa.array(["", "a", "Bern", "a longer text of words", "東京"])).tolist() == FIXED
    assert hash_integers(pa.array([0, 1, -1, 2**62])).tolist() == [
        16294208416658607535,
        10451216379200822465,
        16490336266968443936,
        mix((2**62 + 0x9E3779B97F4A7C15) & WORD),
    ]


FIXED = [16294208416658607535, 6774081908283191102, 700966251408354108, one_by_one("a longer text of words"), one_by_one("東京")]


@settings(max_examples=100, deadline=None)
@given(st.lists(st.text(max_size=40), max_size=30), st.integers(0, 5))
def test_all_texts_at_once_are_hashed_as_one_by_one(texts, skip):
    array = pa.array(texts, pa.string()).slice(skip)  # a slice shares the buffers of the whole
    assert hash_text(array).tolist() == [one_by_one(text) for text in texts[skip:]]
    assert hash_text(array.cast(pa.large_string())).tolist() == hash_text(array).tolist()


def test_long_texts():
    texts = ["x" * 1024, "x" * 1025, "short", "y" * 100_000]
    assert hash_text(pa.array(texts)).tolist() == [one_by_one(text) for text in texts]


def test_buckets_are_filled_evenly():
    hashes = np.concatenate([hash_text(pa.array([f"user_{i}" for i in range(50_000)])), hash_integers(pa.array(range(50_000)))])
    for part in (hashes[:50_000], hashes[50_000:]):
        counts = np.bincount((part % np.uint64(500)).astype(int), minlength=500)
        # Chi-square of 499 degrees of freedom: mean 499, deviation 31.6.
        assert abs(((counts - 100) ** 2 / 100).sum() - 499) < 5 * 31.6
    assert len(np.unique(hashes)) == len(hashes)
