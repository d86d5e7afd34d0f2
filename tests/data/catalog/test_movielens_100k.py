import hashlib
import zipfile

import numpy as np
import pytest

from polytask.data.catalog import MovieLens100k
from polytask.data.catalog._sources import Source
from polytask.errors import ConfigError, DataError

USERS = "1|24|M|technician|85711\n2|53|F|other|94043\n"
ITEMS = (
    "1|Toy Story (1995)|01-Jan-1995||http://x|0|0|0|1|1|1|0|0|0|0|0|0|0|0|0|0|0|0|0\n"
    '2|Amélie, "the" film|||http://y|0|0|0|0|0|0|0|0|1|0|0|0|0|0|1|0|0|0|0\n'
)
RATINGS = "".join(f"{1 + row % 2}\t{1 + row % 3 % 2}\t{1 + row % 5}\t{880000000 + row}\n" for row in range(80))


@pytest.fixture
def archive(tmp_path, monkeypatch):
    """An archive in the official form, small; its checksum is made the expected one."""
    path = tmp_path / "ml-100k.zip"

    def write(**files):
        contents = {"u.user": USERS, "u.item": ITEMS, "u2.base": RATINGS, "u2.test": RATINGS[:300]} | files
        with zipfile.ZipFile(path, "w") as packed:
            for name, text in contents.items():
                packed.writestr(name if "/" in name else f"ml-100k/{name}", text.encode("latin-1"))
        source = Source("ml-100k.zip", hashlib.sha256(path.read_bytes()).hexdigest(), 1 << 20)
        monkeypatch.setattr(MovieLens100k, "sources", property(lambda self: (source,)))
        return tmp_path

    return write


def test_ratings_are_joined_with_people_and_films(archive):
    import pyarrow.parquet as pq

    folder = archive()
    made = MovieLens100k(fold=2).prepare(folder, folder / "out")
    assert (made.rows["train"], made.rows["valid"]) == (70, 10)
    rows = pq.read_table(made.files["test"]).to_pylist()
    assert rows[0] | {"genres": None} == {
        "user_id": "1",
        "item_id": "1",
        "rating": 1,
        "timestamp": 880000000,
        "like": 0,
        "age": 24,
        "gender": "M",
        "occupation": "technician",
        "zip_code": "85711",
        "year": 1995,
        "genres": None,
    }
    assert rows[0]["genres"] == ["Animation", "Children", "Comedy"]
    film = next(row for row in rows if row["item_id"] == "2")
    assert (film["year"], film["genres"]) == (None, ["Drama", "Romance"])
    assert np.array_equal([row["like"] for row in rows], [row["rating"] >= 4 for row in rows])


def test_an_archive_that_leaves_its_folder_is_refused(archive):
    folder = archive(**{"../../evil": "x"})
    with pytest.raises(DataError, match="must stay inside"):
        MovieLens100k(fold=2).prepare(folder, folder / "out")


def test_a_bad_line_is_named(archive):
    folder = archive(**{"u.user": USERS + "3|4|M\n"})
    with pytest.raises(DataError, match=r"u\.user, line 3 must have 5 values\. Received: 3"):
        MovieLens100k(fold=2).prepare(folder, folder / "out")


def test_unknown_split_is_refused():
    with pytest.raises(ConfigError, match=r"1 to 5.*6"):
        MovieLens100k(fold=6)


def test_the_official_archive_is_expected_over_https():
    (source,) = MovieLens100k().sources
    assert source.urls == ("https://files.grouplens.org/datasets/movielens/ml-100k.zip",)
    assert source.size == 4_924_029
