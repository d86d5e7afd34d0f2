import pyarrow as pa
import pytest

from polytask.data.catalog import AliCcp
from polytask.errors import ConfigError, DataError


def counts(tables, *parts):
    rows = pa.concat_tables(tables[part] for part in parts)
    return rows.num_rows, *(rows[name].to_numpy().sum() for name in ("click", "purchase"))


def test_the_sample_of_torch_rechub(prepared):
    tables, run = prepared(AliCcp(form="rechub"))
    assert [counts(tables, part) for part in ("train", "valid", "test")] == [(100, 7, 1), (50, 3, 1), (50, 2, 1)]
    row = tables["train"].to_pylist()[0]
    assert (row["210"], row["D109_14"]) == ("1", pytest.approx(0.4734))
    kinds = [feature["kind"] for feature in run["feature"]]
    assert (kinds.count("categorical"), kinds.count("numeric")) == (23, 8)


def test_the_sample_of_aitm_has_a_header_in_one_file_only(prepared):
    tables, _ = prepared(AliCcp(form="aitm"))
    assert counts(tables, "train", "valid")[:2] == (48, 3)
    assert counts(tables, "test")[0] == 50
    assert tables["test"]["101"][0].as_py() == "180467"


def test_the_sample_of_esmm_has_lists(prepared):
    tables, _ = prepared(AliCcp(form="esmm"))
    rows = pa.concat_tables(tables.values())
    assert counts(tables, "train", "valid", "test") == (10, 2, 1)
    lengths = {name: sum(map(len, rows[name].to_pylist())) for name in ("109_14", "110_14", "127_14", "150_14", "210", "853")}
    assert lengths == {"109_14": 1_170, "110_14": 3_420, "127_14": 2_090, "150_14": 1_910, "210": 55, "853": 6}
    assert rows["205"].null_count == 0


@pytest.fixture
def raw(tmp_path):
    """The official form, written by hand: \\x01 between features, \\x02 before the id, \\x03 before the value."""

    def features(*given):
        return "\x01".join(f"{name}\x02{value}\x03{weight}" for name, value, weight in given)

    history = [("109_14", "c1", 2.5), ("109_14", "c2", 0.5)]
    common = [f"u{user},3," + features(("101", user, 1.0), ("121", user % 7, 1.0), *history) for user in range(400)]
    exposures = []
    for row in range(1_000):
        bought = ("508", f"b{row}", 1.5) if row % 2 else ("210", f"n{row}", 1.0)
        own = features(("205", f"i{row}", 1.0), bought, ("210", "n", 1.0))
        exposures.append(f"{row},{int(row % 5 == 0)},{int(row % 50 == 0)},u{row % 400},3,{own}")
    for part in ("train", "test"):
        (tmp_path / f"common_features_{part}.csv").write_text("\n".join(common) + "\n")
        (tmp_path / f"sample_skeleton_{part}.csv").write_text("\n".join(exposures) + "\n")
    return tmp_path


def test_the_official_form_is_joined(raw):
    import pyarrow.parquet as pq

    made = AliCcp(form="raw").prepare(raw, raw / "out")
    tables = {part: pq.read_table(path) for part, path in made.files.items()}
    assert counts(tables, "test") == (1_000, 200, 20)
    row = tables["test"].to_pylist()[403]
    assert (row["101"], row["121"], row["205"], row["508"], row["508_weight"], row["click"]) == (
        "3",
        "3",
        "i403",
        ["b403"],
        [1.5],
        0,
    )
    assert (row["109_14"], row["109_14_weight"]) == (["c1", "c2"], [2.5, 0.5])
    assert (row["210"], row["301"], row["853"], row["150_14"]) == (["n"], None, [], [])
    assert tables["test"].to_pylist()[2]["210"] == ["n2", "n"]


def test_validation_takes_one_user_in_a_hundred_whole(raw):
    import pyarrow.parquet as pq

    made = AliCcp(form="raw").prepare(raw, raw / "out")
    users = {part: set(pq.read_table(made.files[part])["101"].to_pylist()) for part in ("train", "valid")}
    assert made.rows["train"] + made.rows["valid"] == 1_000
    assert users["train"].isdisjoint(users["valid"])
    assert 1 <= len(users["valid"]) <= 12


@pytest.mark.parametrize(
    ("file", "line", "words"),
    [
        ("sample_skeleton_train.csv", "5,1,0,u3", "sample_skeleton_train.csv, line 1001"),
        ("sample_skeleton_train.csv", "5,7,0,u3,0,", "line 1001"),
        ("sample_skeleton_train.csv", "5,1,0,nobody,0,", "every common index.*'nobody'"),
        ("sample_skeleton_train.csv", "5,1,0,u3,1,205:7", "field .x02 id .x03 value"),
        ("common_features_train.csv", "u3", "common_features_train.csv, line 401"),
    ],
)
def test_a_bad_line_is_named(raw, file, line, words):
    with (raw / file).open("a") as opened:
        opened.write(line + "\n")
    with pytest.raises(DataError, match=words):
        AliCcp(form="raw").prepare(raw, raw / "out")
    assert not list((raw / "out").glob("*")) if (raw / "out").exists() else True


def test_unknown_form_is_refused():
    with pytest.raises(ConfigError, match="'parquet'"):
        AliCcp(form="parquet")
