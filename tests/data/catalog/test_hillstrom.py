import numpy as np
import pyarrow as pa
import pytest

from polytask.data.catalog import Hillstrom


@pytest.fixture(scope="module")
def hillstrom(prepared):
    return prepared(Hillstrom())


def test_rows_and_rates_are_those_of_the_source(hillstrom):
    tables, _ = hillstrom
    whole = pa.concat_tables(tables.values())
    assert whole.num_rows == 64_000
    mean = {name: whole[name].to_numpy().mean() for name in ("visit", "conversion", "spend")}
    assert mean == pytest.approx({"visit": 0.1468, "conversion": 578 / 64_000, "spend": 1.0509}, abs=5e-5)
    arm = whole["segment"].to_numpy()
    by_arm = {name: whole["visit"].to_numpy()[arm == name].mean() for name in np.unique(arm)}
    assert by_arm == pytest.approx({"Mens E-Mail": 0.18276, "No E-Mail": 0.10617, "Womens E-Mail": 0.15140}, abs=5e-6)


def test_the_funnel_has_no_exception(hillstrom):
    tables, run = hillstrom
    for table in tables.values():
        visit, conversion, spend = (table[name].to_numpy() for name in ("visit", "conversion", "spend"))
        assert np.all(visit[conversion == 1] == 1)
        assert np.array_equal(spend > 0, conversion == 1)
    assert [task.get("given") for task in run["task"]] == [None, "visit", "conversion"]


def test_parts_have_the_same_shares_of_arms_and_conversions(hillstrom):
    tables, _ = hillstrom
    counts = {}
    for part, table in tables.items():
        groups = np.char.add(table["segment"].to_numpy().astype(str), table["conversion"].to_numpy().astype(str))
        counts[part] = np.unique(groups, return_counts=True)[1]
    assert np.abs(counts["train"] - 3 * counts["test"]).max() <= 3
    assert np.abs(counts["valid"] - counts["test"]).max() <= 2
