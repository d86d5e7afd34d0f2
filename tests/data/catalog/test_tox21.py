import pyarrow as pa
import pytest

from polytask.data.catalog import Tox21
from polytask.data.catalog._tox21 import _grams
from polytask.errors import ConfigError

# labelled, positive
ASSAYS = {
    "NR-AR": (7_265, 309),
    "NR-AR-LBD": (6_758, 237),
    "NR-AhR": (6_549, 768),
    "NR-Aromatase": (5_821, 300),
    "NR-ER": (6_193, 793),
    "NR-ER-LBD": (6_955, 350),
    "NR-PPAR-gamma": (6_450, 186),
    "SR-ARE": (5_832, 942),
    "SR-ATAD5": (7_072, 264),
    "SR-HSE": (6_467, 372),
    "SR-MMP": (5_810, 918),
    "SR-p53": (6_774, 423),
}


@pytest.fixture(scope="module")
def tox21(prepared):
    return prepared(Tox21())


def test_labels_are_those_of_the_source(tox21):
    tables, run = tox21
    whole = pa.concat_tables(tables.values())
    assert whole.num_rows == 7_831
    assert [task["name"] for task in run["task"]] == list(ASSAYS)
    counted = {name: (whole.num_rows - whole[name].null_count, sum(filter(None, whole[name].to_pylist()))) for name in ASSAYS}
    assert counted == ASSAYS
    assert sum(whole[name].null_count for name in ASSAYS) == 16_026


def test_fingerprints_are_lists_of_bits(tox21):
    tables, _ = tox21
    whole = pa.concat_tables(tables.values())
    by_name = dict(zip(whole["mol_id"].to_pylist(), whole["fingerprint"].to_pylist(), strict=True))
    assert by_name["TOX3021"][:5] == [33, 56, 69, 73, 80]
    assert by_name["TOX3020"][:3] == [5, 25, 27]
    assert sum(not bits for bits in by_name.values()) == 8
    assert {bit for bits in by_name.values() for bit in bits} <= set(range(1_024))


def test_formulas_need_no_derived_file(prepared, tox21):
    tables, run = prepared(Tox21(inputs="smiles"))
    assert [feature["name"] for feature in run["feature"]] == ["smiles"]
    assert tables["test"]["mol_id"].equals(tox21[0]["test"]["mol_id"])
    assert [source.name for source in Tox21(inputs="smiles").sources] == ["tox21.csv"]


def test_pieces_of_a_formula():
    assert _grams("CCOc1") == ["CCO", "COc", "Oc1"]
    assert _grams("C") == ["C"]


def test_unknown_inputs_are_refused():
    with pytest.raises(ConfigError, match=r"'fingerprint' and 'smiles'.*'graph'"):
        Tox21(inputs="graph")
