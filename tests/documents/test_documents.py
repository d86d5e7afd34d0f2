"""Every block of the pages in docs/ runs, in the order of its page; the table of sharings says something of each."""

import importlib.util
import re
import shlex
import tomllib
from pathlib import Path

import pytest
from typer.testing import CliRunner

from polytask.cli import app
from polytask.config import parse_config
from polytask.data.synthetic import Feed
from polytask.run import check
from polytask.sharing import SHARINGS
from polytask.spaces import SPACES

ROOT = Path(__file__).parents[2]
PAGES = sorted(
    str(path.relative_to(ROOT))
    for path in ROOT.glob("docs/**/*.md")
    if path != ROOT / "docs" / "methods.md" and "```" in path.read_text()
)
# A toml block that is a whole file is named in its fence; without a name it is a part of a run.
BLOCK = re.compile(r"^```(\w+)(?: (\S+))?\n(.*?)^```", re.MULTILINE | re.DOTALL)
RUN = {
    "data": {"train": "train.parquet"},
    "task": [
        {"kind": "binary", "name": "click"},
        {"kind": "binary", "name": "buy", "given": "click"},
        {"kind": "regression", "name": "watch", "given": "click"},
    ],
    "features": {"exclude": ["session", "time", "like"]},
}


@pytest.fixture(scope="module")
def rows(tmp_path_factory):
    folder = tmp_path_factory.mktemp("feed")
    Feed().write(folder / "train.parquet", 400)
    return folder


def run_console(block):
    """The commands of a block, in the folder of the page and in this process; each must succeed."""
    commands = [line[2:] for line in block.splitlines() if line.startswith("$ ")]
    assert commands
    for command in commands:
        words = shlex.split(command)
        assert words[0] == "polytask"
        done = CliRunner().invoke(app, words[1:])
        assert done.exit_code == 0, f"{command}\n{done.output}\n{done.exception}"


def bind(block, rows):
    """A part of a run, put into a run of three tasks: every name and value in it must be valid, and the model be built."""
    part = tomllib.loads(block)
    found = check(parse_config({**RUN, **part}, folder=rows), rows / "run")
    assert found["model"]


@pytest.mark.parametrize("page", PAGES)
def test_blocks_run(page, rows, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    names = {"__name__": page}
    for language, file, block in BLOCK.findall((ROOT / page).read_text()):
        if language == "python":
            exec(compile(block, page, "exec"), names)
        elif language == "toml" and file:
            Path(file).write_text(block)
        elif language == "toml":
            bind(block, rows)
        elif language == "console":
            run_console(block)
        else:
            assert language == "mermaid", f"{page} has a block of {language} that nothing runs"


@pytest.mark.parametrize("name", SHARINGS)
def test_every_sharing_can_be_declared(name, rows):
    bind(f'[sharing]\nname = "{name}"', rows)


@pytest.mark.parametrize("name", SPACES)
def test_every_space_can_be_declared(name, rows):
    options = '\nactions = { buy = ["cart"] }' if name == "entire_space_paths" else ""
    tasks = [*RUN["task"], {"kind": "binary", "name": "cart", "label": "like", "given": "click"}]
    part = tomllib.loads(f'[space]\nname = "{name}"{options}')
    found = check(parse_config({**RUN, "task": tasks, **part}, folder=rows), rows / "run")
    assert [line["task"] for line in found["tasks"][:4]] == ["click", "buy", "watch", "cart"]
    assert all(line["label"] is None and not line["served"] for line in found["tasks"][4:])


def test_there_is_a_page_for_each_idea():
    assert {
        "docs/spaces.md",
        "docs/tutorial.md",
        "docs/balancing/losses.md",
        "docs/balancing/methods.md",
        *(f"docs/sharing/{name}.md" for name in ("hard", "soft", "mixtures", "routing")),
    } <= set(PAGES)


def generator():
    spec = importlib.util.spec_from_file_location("generate", ROOT / "docs" / "generate.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_table_of_sharings_says_something_of_each():
    lines = [line for line in generator().sharing_table().splitlines() if line.startswith("| [")]
    assert [re.match(r"\| \[`(\w+)`\]", line)[1] for line in lines] == list(SHARINGS)
    for line in lines:
        cells = [cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]]
        assert len(cells) == 6
        assert all(len(cell) > 2 for cell in cells), f"a part of the docstring is missing: {line}"


def test_the_table_of_spaces_says_something_of_each():
    lines = [line for line in generator().spaces_table().splitlines() if line.startswith("| [")]
    assert [re.match(r"\| \[`(\w+)`\]", line)[1] for line in lines] == list(SPACES)
    cells = {
        name: [cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for name, line in zip(SPACES, lines, strict=True)
    }
    assert all(len(found) == 7 and min(map(len, found)) > 1 for found in cells.values()), cells
    assert [name for name, found in cells.items() if found[2] != "none"] == ["entire_space_paths", "dr", "counterfactual"]
    assert [name for name, found in cells.items() if found[3] == "no"] == ["clicked", "oversample", "rejection", "ips", "snips"]


@pytest.mark.parametrize(
    ("text", "first"),
    [
        ("Ma et al., KDD 2018, equations 6 and 7. Trunk: others.", "Ma et al., KDD 2018, equations 6 and 7"),
        ('Yang, "Deep: A Tensor", ICLR 2017; Tucker.', 'Yang, "Deep: A Tensor", ICLR 2017'),
        ("where tasks conflict (`MMoE`: less; `PLE`) or so: reasons.", "where tasks conflict (`MMoE`: less; `PLE`) or so"),
    ],
)
def test_a_statement_ends_outside_of_quotations_and_brackets(text, first):
    assert generator().statement(text) == first


def test_junctions_are_read_off_a_forward_pass():
    found = generator().junction
    assert [found(SHARINGS[name]) for name in ("single_task", "shared_bottom", "mmoe")] == ["none", "`n h`", "`e n h`, `n d`"]
