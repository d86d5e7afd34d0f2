import pytest

from polytask.data.catalog import AliExpress
from polytask.errors import ConfigError, DataError


@pytest.fixture(scope="module")
def aliexpress(prepared):
    return prepared(AliExpress())


def test_rows_and_labels_are_those_of_the_sample(aliexpress):
    tables, run = aliexpress
    rows = {part: table.num_rows for part, table in tables.items()}
    assert (rows["train"] + rows["valid"], rows["test"]) == (100, 20)

    def total(name, *parts):
        return sum(tables[part][name].to_numpy().sum() for part in parts)

    assert (total("click", "train", "valid"), total("conversion", "train", "valid")) == (60, 2)
    assert (total("click", "test"), total("conversion", "test")) == (10, 2)
    kinds = [feature["kind"] for feature in run["feature"]]
    assert (kinds.count("categorical"), kinds.count("numeric")) == (16, 63)


def test_validation_takes_whole_searches(aliexpress):
    tables, _ = aliexpress
    searches = [set(tables[part]["search_id"].to_pylist()) for part in ("train", "valid")]
    assert searches[0].isdisjoint(searches[1])
    assert searches[1]


def test_values_are_read_as_written(aliexpress):
    tables, _ = aliexpress
    row = next(row for part in ("train", "valid") for row in tables[part].to_pylist() if row["search_id"] == "81")
    assert (row["categorical_1"], row["categorical_6"], row["click"]) == ("9", "4", 1)
    assert row["numerical_25"] == pytest.approx(0.33557800)


def test_a_country_is_fetched_by_hand(tmp_path, monkeypatch):
    monkeypatch.delenv("POLYTASK_DATA", raising=False)
    monkeypatch.setenv("POLYTASK_CACHE", str(tmp_path / "cache"))
    with pytest.raises(DataError, match=r"AliExpress_ES/train\.csv.*by hand.*tianchi"):
        AliExpress(country="ES").fetch(tmp_path / "out")


def test_a_country_is_read_from_its_folder(tmp_path):
    names = ["search_id", *(f"categorical_{index}" for index in range(1, 17)), *(f"numerical_{index}" for index in range(1, 64))]
    lines = [",".join([*names, "click", "conversion"])]
    lines += [",".join([str(row // 3), *["7"] * 16, *["0.5"] * 63, str(row % 2), "0"]) for row in range(60)]
    for part in ("train", "test"):
        (tmp_path / "AliExpress_NL").mkdir(exist_ok=True)
        (tmp_path / "AliExpress_NL" / f"{part}.csv").write_text("\n".join(lines))
    made = AliExpress(country="NL").prepare(tmp_path, tmp_path / "out")
    assert made.rows == {"train": 54, "valid": 6, "test": 60}


def test_unknown_country_is_refused():
    with pytest.raises(ConfigError, match="'XX'"):
        AliExpress(country="XX")
