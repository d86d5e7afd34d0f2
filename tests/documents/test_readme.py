"""Every block of the two READMEs runs, and both say the same."""

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
READMES = ["README.md", "README.zh-CN.md"]
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```", re.MULTILINE | re.DOTALL)


def blocks(readme: str, language: str) -> list[str]:
    return [body for name, body in BLOCK.findall((ROOT / readme).read_text()) if name == language]


@pytest.fixture
def workplace(tmp_path, monkeypatch):
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def commands(readme: str) -> list[str]:
    return [
        line[2:].split("#")[0].strip()
        for block in blocks(readme, "console")
        for line in block.splitlines()
        if line.startswith("$ ")
    ]


@pytest.mark.parametrize("readme", READMES)
def test_python_blocks_run(readme, workplace):
    found = blocks(readme, "python")
    assert len(found) >= 2
    for block in found:
        exec(compile(block, readme, "exec"), {"__name__": readme})


def test_console_blocks_run(workplace):
    """In the order of the page, each command with the files the ones before it left."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    ran = 0
    for command in commands("README.md"):
        words = shlex.split(command)
        if words[0] != "polytask":
            continue
        done = subprocess.run(
            [sys.executable, "-m", "polytask", *words[1:]],
            capture_output=True,
            text=True,
            env=environment,
            check=False,
            timeout=300,
        )
        assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
        ran += 1
    assert ran >= 5


def test_both_readmes_have_the_same_blocks_and_sections():
    first, second = ((ROOT / name).read_text() for name in READMES)
    assert [language for language, _ in BLOCK.findall(first)] == [language for language, _ in BLOCK.findall(second)]
    assert blocks(READMES[0], "python") == blocks(READMES[1], "python")
    assert commands(READMES[0]) == commands(READMES[1])
    assert len(re.findall(r"^## ", first, re.MULTILINE)) == len(re.findall(r"^## ", second, re.MULTILINE))


def test_links_point_at_files_that_exist():
    pages = [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("benchmarks/*.md")]
    broken = [
        f"{page.relative_to(ROOT)}: {target}"
        for page in pages
        for target in re.findall(r"\]\((?!https?:|#|mailto:)([^)#]+)", BLOCK.sub("", page.read_text()))
        if not (page.parent / target).exists()
    ]
    assert broken == []
