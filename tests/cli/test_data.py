import json

import pytest

from polytask.cli import main
from polytask.cli.data import choose
from polytask.data.catalog import DATASETS
from polytask.errors import ConfigError


@pytest.fixture
def polytask(capsys, monkeypatch, tmp_path):
    monkeypatch.delenv("POLYTASK_DATA", raising=False)
    monkeypatch.setenv("POLYTASK_CACHE", str(tmp_path / "cache"))

    def run(*words):
        with pytest.raises(SystemExit) as ended:
            main(words)
        output = capsys.readouterr()
        return ended.value.code, output.out, output.err

    return run


def test_all_data_sets_are_listed(polytask):
    code, out, _ = polytask("data", "--json")
    listed = {entry["name"]: entry for entry in json.loads(out)}
    assert code == 0
    assert listed.keys() == DATASETS.keys()
    assert listed["tox21"]["tasks"] == "12 binary"
    assert listed["adult"]["present"] is False
    assert listed["feed"]["present"] is True
    code, out, _ = polytask("data")
    assert code == 0
    assert all(name in out for name in DATASETS)


def test_one_data_set_is_described(polytask):
    code, out, _ = polytask("data", "census_income", "--group", "2", "--json")
    about = json.loads(out)
    assert code == 0
    assert [task["name"] for task in about["tasks"]] == ["college", "never_married"]
    assert (about["options"]["group"], about["licence"]) == (2, "CC BY 4.0")
    code, out, _ = polytask("data", "census_income")
    assert "instance_weight" in out
    assert "--out" in out


def test_a_data_set_is_made(polytask, tmp_path):
    code, out, _ = polytask("data", "feed", "--rows", "500", "--set", "seed=3", "-o", str(tmp_path / "feed"), "--json")
    made = json.loads(out)
    assert code == 0
    assert (made["rows"]["train"], made["rows"]["test"]) == (400, 50)
    assert made["run"] == str(tmp_path / "feed" / "run.toml")
    assert (tmp_path / "feed" / "truth_test.parquet").is_file()
    code, out, err = polytask("data", "feed", "--rows", "50", "-o", str(tmp_path / "feed"))
    assert (code, out) == (0, "")
    assert f"polytask train {tmp_path / 'feed' / 'run.toml'}" in err


def test_local_files_are_named_where_they_are_missing(polytask, tmp_path):
    code, _, err = polytask("data", "adult", "--from", str(tmp_path), "-o", str(tmp_path / "out"))
    assert code == 2
    assert "no adult.data, adult.test" in err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("name", "settings", "words"),
    [
        ("census_incomes", [], "Did you mean 'census_income'"),
        ("census_income", ["groop=1"], "Did you mean 'group'"),
        ("census_income", ["group"], "KEY=VALUE"),
        ("census_income", ["group=one"], "'group' of 'census_income' must be like 1.*'one'"),
        ("school", ["fold=12"], "1 to 10"),
    ],
)
def test_mistakes_are_named(name, settings, words):
    with pytest.raises(ConfigError, match=words):
        choose(name, settings)


def test_options_have_the_type_of_their_default():
    dataset = choose("feed", ["correlation=-1", "rows=77"])
    assert (dataset.correlation, dataset.rows) == (-1.0, 77)
    assert choose("tox21", ["inputs=smiles"]).inputs == "smiles"
