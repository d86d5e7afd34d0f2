import gzip

import numpy as np
import pytest

from polytask.data.catalog import CensusIncome
from polytask.data.catalog._census_income import _COLUMNS
from polytask.errors import ConfigError, DataError


@pytest.fixture(scope="module")
def both(prepared):
    return {group: prepared(CensusIncome(group=group)) for group in (1, 2)}


@pytest.fixture(params=[1, 2])
def census(request, both):
    return request.param, *both[request.param]


def rate(table, name):
    return table[name].to_numpy().mean()


def test_rows_and_rates_are_those_of_the_official_files(census):
    group, tables, run = census
    main = {1: "income", 2: "college"}[group]
    assert {part: table.num_rows for part, table in tables.items()} == {"train": 199_523, "valid": 49_881, "test": 49_881}
    assert [task["name"] for task in run["task"]] == [main, "never_married"]
    assert rate(tables["train"], "never_married") == pytest.approx(0.4335, abs=5e-5)
    assert rate(tables["train"], main) == pytest.approx({1: 0.0621, 2: 0.1964}[group], abs=5e-5)
    both = (rate(tables["valid"], main) + rate(tables["test"], main)) / 2
    assert both == pytest.approx({1: 0.0620, 2: 0.1950}[group], abs=5e-5)


def test_label_correlation_agrees_with_the_paper(census):
    group, tables, _ = census
    main = {1: "income", 2: "college"}[group]
    labels = [np.concatenate([tables[part][name].to_numpy() for part in ("valid", "test")]) for name in (main, "never_married")]
    assert abs(np.corrcoef(labels)[0, 1]) == pytest.approx({1: 0.1787, 2: 0.2376}[group], abs=5e-5)


def test_what_gives_the_labels_away_is_no_input(census):
    _, tables, run = census
    assert {"education", "marital_stat", "instance_weight", "income_50k"}.isdisjoint(tables["train"].column_names)
    kinds = [feature["kind"] for feature in run["feature"]]
    assert (kinds.count("numeric"), kinds.count("categorical")) == (7, 31)


def test_missing_values_are_only_where_they_are(census):
    _, tables, _ = census
    nulls = {name: tables["train"][name].null_count for name in tables["train"].column_names}
    migration = dict.fromkeys(["mig_chg_msa", "mig_chg_reg", "mig_move_reg", "mig_prev_sunbelt"], 99_696)
    birth = {"country_father": 6_713, "country_mother": 6_119, "country_self": 3_393, "state_prev_res": 708}
    assert {name: count for name, count in nulls.items() if count} == migration | birth
    assert "NA" in tables["train"]["hisp_origin"].to_pylist()


def test_both_groups_have_the_same_people_in_the_same_parts(both):
    (first, _), (second, _) = both.values()
    shared = [name for name in first["test"].column_names if name != "income"]
    assert all(first[part].select(shared).equals(second[part].select(shared)) for part in first)


def test_halves_are_cut_by_the_documented_seed(both, local_data):
    with gzip.open(local_data / "census-income" / "census-income.test.gz") as file:
        ages = [int(line.split(b",")[0]) for line in file]
    order = np.random.default_rng(0).permutation(99_762)
    for part, rows in (("valid", order[:49_881]), ("test", order[49_881:])):
        assert np.array_equal(both[1][0][part]["age"].to_numpy(), np.array(ages)[np.sort(rows)])


def test_values_are_read_as_written(census):
    _, tables, _ = census
    first = tables["train"].slice(0, 1).to_pylist()[0]
    assert first["age"] == 73
    assert first["citizenship"] == "Native- Born in the United States"
    assert first["det_ind_code"] == "0"
    assert first["country_self"] == "United-States"
    assert "Foreign born- Not a citizen of U S" in tables["train"]["citizenship"].to_pylist()


@pytest.mark.parametrize(("group", "more"), [(1, "education"), (2, "income_50k")])
def test_own_inputs_leave_out_what_the_groups_own_labels_are_made_of(prepared, group, more):
    tables, run = prepared(CensusIncome(group=group, inputs="own"))
    names = {feature["name"] for feature in run["feature"]}
    assert names & {"education", "marital_stat", "instance_weight", "income_50k"} == {more}
    assert names < set(tables["train"].column_names)


def test_unknown_group_or_inputs_are_refused():
    with pytest.raises(ConfigError, match=r"1 and 2.*3"):
        CensusIncome(group=3)
    with pytest.raises(ConfigError, match=r"'paper' and 'own'.*'all'"):
        CensusIncome(inputs="all")


def test_another_file_under_the_name_is_refused(tmp_path):
    for end in ("data", "test"):
        with gzip.open(tmp_path / f"census-income.{end}.gz", "wt") as file:
            file.write("1, 2\n")
    with pytest.raises(DataError, match=r"3676a81d.*Received"):
        CensusIncome().prepare(tmp_path, tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("column", "value", "words"), [("income_50k", "maybe", "maybe.*row 0"), ("race", "?", "race.*row 0"), ("age", "x", "age")]
)
def test_a_strange_value_is_named(tmp_path, column, value, words):
    row = dict.fromkeys(_COLUMNS, "0") | {"income_50k": "- 50000.", column: value}
    (tmp_path / "a").write_text(", ".join(row.values()) + "\n")
    with pytest.raises(DataError, match=words):
        CensusIncome().parts({"census-income.data": tmp_path / "a", "census-income.test": tmp_path / "a"})
