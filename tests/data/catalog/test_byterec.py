import pytest

from polytask.data.catalog import ByteRec
from polytask.errors import ConfigError, DataError

LINES = ["7\t1\t100\t9\t2\t0\t1\t0\t-1\t55\t{time}\t12", "8\t1\t100\t9\t2\t3\t0\t1\t41\t56\t{time}\t12"]


@pytest.fixture(scope="module")
def byterec(prepared):
    return prepared(ByteRec())


def test_rows_and_labels_are_those_of_the_sample(byterec):
    tables, run = byterec
    assert {part: table.num_rows for part, table in tables.items()} == {"train": 160, "valid": 20, "test": 20}
    totals = {name: sum(table[name].to_numpy().sum() for table in tables.values()) for name in ("finish", "like")}
    assert totals == {"finish": 76, "like": 7}
    assert [task["name"] for task in run["task"]] == ["finish", "like"]
    assert "time" not in [feature["name"] for feature in run["feature"]]


def test_values_are_read_as_written(byterec):
    tables, _ = byterec
    rows = [row for table in tables.values() for row in table.to_pylist() if row["uid"] == "8623" and row["item_id"] == "1209192"]
    assert [(row["author_id"], row["music_id"], row["finish"], row["duration_time"]) for row in rows] == [("10098", "-1", 1, 8)]


def test_parts_follow_each_other_in_time(byterec):
    tables, _ = byterec
    times = [tables[part]["time"].to_numpy() for part in ("train", "valid", "test")]
    assert times[0].max() <= times[1].min()
    assert times[1].max() <= times[2].min()


def test_a_track_is_read_from_its_file(tmp_path):
    text = "\n".join(LINES[row % 2].format(time=1000 - row) for row in range(50))
    (tmp_path / "final_track2_train.txt").write_text(text + "\n")
    made = ByteRec(form="track2").prepare(tmp_path, tmp_path / "out")
    assert made.rows == {"train": 40, "valid": 5, "test": 5}


def test_a_bad_line_is_named(tmp_path):
    (tmp_path / "final_track1_train.txt").write_text("1\t2\t3\n")
    with pytest.raises(DataError, match=r"final_track1_train\.txt"):
        ByteRec(form="track1").prepare(tmp_path, tmp_path / "out")


def test_unknown_form_is_refused():
    with pytest.raises(ConfigError, match="'track3'"):
        ByteRec(form="track3")
