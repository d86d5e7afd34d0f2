import pytest

from polytask.data.catalog import Adult


@pytest.fixture(scope="module")
def adult(prepared):
    return prepared(Adult())


def test_rows_and_rates_are_those_of_the_official_files(adult):
    tables, _ = adult
    assert {part: table.num_rows for part, table in tables.items()} == {"train": 29_305, "valid": 3_256, "test": 16_281}

    def rate(name, *parts):
        rows = sum(tables[part].num_rows for part in parts)
        return sum(tables[part][name].to_numpy().sum() for part in parts) / rows

    assert rate("income", "train", "valid") == pytest.approx(0.2408, abs=5e-5)
    assert rate("income", "test") == pytest.approx(0.2362, abs=5e-5)
    assert rate("never_married", "train", "valid") == pytest.approx(0.3281, abs=5e-5)
    assert rate("never_married", "test") == pytest.approx(0.3338, abs=5e-5)
    assert rate("bachelor", "train", "valid") == pytest.approx(0.2478, abs=5e-5)


def test_missing_values_are_counted_as_in_the_source(adult):
    tables, _ = adult
    nulls = {part: sum(column.null_count for column in table.columns) for part, table in tables.items()}
    assert nulls["train"] + nulls["valid"] == 4_262
    assert nulls["test"] == 2_203


def test_what_gives_the_labels_away_is_no_input(adult):
    tables, _ = adult
    assert {"relationship", "education_num", "education", "marital_status", "fnlwgt"}.isdisjoint(tables["train"].column_names)
    assert set(tables["test"]["sex"].to_pylist()) == {"Male", "Female"}
