"""What holds for every data set, and how files are found."""

import gzip
import hashlib
import http.server
import inspect
import threading
from functools import partial
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from polytask.config import parse_config
from polytask.data.catalog import DATASETS
from polytask.data.catalog._base import write_parquet
from polytask.data.catalog._sources import Source, cache_folder, downloaded_files, local_files, present
from polytask.data.catalog._tables import cut, read_text, to_numbers
from polytask.errors import DataError

BODY = b"a, b\n1, x\n"
SHA = hashlib.sha256(BODY).hexdigest()


def source(**changes):
    return Source(**{"name": "data.csv", "sha256": SHA, "size": len(BODY), "urls": ()} | changes)


def test_the_catalog_is_complete():
    assert len(DATASETS) == 13


@pytest.mark.parametrize("name", DATASETS)
def test_a_data_set_is_a_file_of_its_name_and_says_what_one_must_know(name):
    dataset = DATASETS[name]()
    assert Path(inspect.getfile(DATASETS[name])).stem == f"_{name}"
    assert getattr(DATASETS[name], "__final__", False)
    for text in (dataset.title, dataset.homepage, dataset.licence, dataset.citation, dataset.split, dataset.size):
        assert len(text) > 3
    for file in dataset.sources:
        assert file.sha256 is not None
        assert len(file.sha256) == 64
        assert all(url.startswith("https://") for url in file.urls)


@pytest.mark.parametrize("name", DATASETS)
def test_the_run_of_a_data_set_is_one_the_configuration_accepts(name):
    import tomllib

    dataset = DATASETS[name]()
    config = parse_config(tomllib.loads(dataset.run_toml(["train", "valid", "test", "truth_test"])))
    assert [task.name for task in config.tasks] == [task["name"] for task in dataset.tasks]
    assert len(config.declared) == len(dataset.features)


@pytest.mark.parametrize(("place", "packed"), [("data.csv", False), ("own/data.csv", False), ("own/data.csv.gz", True)])
def test_local_files_are_found_in_either_folder_packed_or_not(tmp_path, place, packed):
    path = tmp_path / place
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(gzip.compress(BODY) if packed else BODY)
    assert present([source()], "own", tmp_path)
    assert local_files([source()], tmp_path, "own") == {"data.csv": path}


def test_a_missing_local_file_is_named(tmp_path):
    assert not present([source()], "own", tmp_path)
    with pytest.raises(DataError, match=r"own must hold all files.*no data\.csv.*--from"):
        local_files([source()], tmp_path, "own")


def test_a_local_file_with_another_checksum_is_refused(tmp_path):
    (tmp_path / "data.csv").write_bytes(BODY.replace(b"1", b"2"))
    received = hashlib.sha256(BODY.replace(b"1", b"2")).hexdigest()
    with pytest.raises(DataError, match=rf"sha256 {SHA}\. Received: {received}"):
        local_files([source()], tmp_path, "own")


def test_a_folder_that_is_not_there_is_named(tmp_path):
    with pytest.raises(DataError, match="must exist"):
        DATASETS["adult"]().fetch(tmp_path / "out", source=tmp_path / "nowhere")


def test_files_to_fetch_by_hand_are_named(tmp_path, monkeypatch):
    monkeypatch.setenv("POLYTASK_CACHE", str(tmp_path))
    with pytest.raises(DataError, match=r"data\.csv must be fetched by hand.*https://home.*POLYTASK_DATA"):
        downloaded_files([source()], "own", "https://home", None)


@pytest.fixture
def web(tmp_path):
    folder = tmp_path / "web"
    folder.mkdir()

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *arguments):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=folder)) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield folder, f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def test_a_download_is_kept_and_the_next_address_is_tried(tmp_path, monkeypatch, web):
    folder, url = web
    monkeypatch.setenv("POLYTASK_CACHE", str(tmp_path / "cache"))
    (folder / "wrong.csv.gz").write_bytes(gzip.compress(b"something else"))
    (folder / "right.csv.gz").write_bytes(gzip.compress(BODY))
    sources = [source(urls=(f"{url}/gone.csv", f"{url}/wrong.csv.gz", f"{url}/right.csv.gz"))]
    files = downloaded_files(sources, "own", "", None)
    assert files == {"data.csv": cache_folder("own") / "data.csv.gz"}
    for path in folder.iterdir():
        path.unlink()
    assert downloaded_files(sources, "own", "", None) == files
    assert present(sources, "own", None)


def test_every_address_that_failed_is_named(tmp_path, monkeypatch, web):
    folder, url = web
    monkeypatch.setenv("POLYTASK_CACHE", str(tmp_path / "cache"))
    (folder / "wrong.csv").write_bytes(b"something")
    with pytest.raises(DataError, match=r"(?s)gone\.csv must be there.*wrong\.csv must have the sha256"):
        downloaded_files([source(urls=(f"{url}/gone.csv", f"{url}/wrong.csv"))], "own", "", None)


def test_parts_are_disjoint_cover_all_and_follow_the_seed():
    first, second, third = cut(1_000, (0.7, 0.2, 0.1), seed=5)
    assert sorted([*first, *second, *third]) == list(range(1_000))
    assert [len(part) for part in (first, second, third)] == [700, 200, 100]
    again, other = cut(1_000, (0.7, 0.2, 0.1), seed=5)[0], cut(1_000, (0.7, 0.2, 0.1), seed=6)[0]
    assert again.tolist() == first.tolist()
    assert other.tolist() != first.tolist()


def test_text_is_read_as_written(tmp_path):
    (tmp_path / "a").write_text("1, NA , null\n\n2,,x y \n")
    table = read_text(tmp_path / "a", ("n", "p", "q"))
    assert table.to_pylist() == [{"n": "1", "p": "NA", "q": "null"}, {"n": "2", "p": "", "q": "x y"}]
    assert to_numbers(table, ("n",), pa.int8())["n"].to_pylist() == [1, 2]


def test_a_ragged_line_is_named(tmp_path):
    (tmp_path / "a").write_text("1,2\n1,2,3\n")
    with pytest.raises(DataError, match=r"must be a table.*Expected 2 columns, got 3"):
        read_text(tmp_path / "a", ("p", "q"))


def test_nothing_is_left_of_a_file_that_failed(tmp_path):
    def tables():
        yield pa.table({"a": [1]})
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_parquet(tables(), tmp_path / "a.parquet", {})
    assert list(tmp_path.iterdir()) == []
    assert write_parquet([pa.table({"a": [1, 2]})] * 3, tmp_path / "a.parquet", {b"k": b"v"}) == 6
    assert pq.read_schema(tmp_path / "a.parquet").metadata[b"k"] == b"v"
