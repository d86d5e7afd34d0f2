"""Imports flow one way: a module imports only from the layers above its own."""

import ast
from pathlib import Path

import polytask

ROOT = Path(polytask.__file__).parent

# Each line is a layer; a module may import from its own line and from those above it.
LAYERS = [
    ["errors", "files", "lock"],
    ["batch", "precision"],
    ["losses"],
    ["metrics"],
    ["tasks"],
    ["data"],
    ["encoders"],
    ["sharing"],
    ["heads"],
    ["spaces", "biases"],
    ["model"],
    ["balancers"],
    ["optimizers"],
    ["evaluate", "monitors"],
    ["callbacks", "checkpoint", "train"],
    ["calibration", "fusion", "policies"],
    ["testing"],
    ["config"],
    ["run"],
    ["cli"],
]
RANK = {name: rank for rank, names in enumerate(LAYERS) for name in names}


def layer(module: Path) -> str:
    return module.relative_to(ROOT).parts[0].removesuffix(".py")


def imports(module: Path) -> set[str]:
    """First parts of what a module takes from Polytask, also inside functions and type-checking blocks."""
    found = set()
    for node in ast.walk(ast.parse(module.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] == "polytask":
            parts = node.module.split(".")
            found |= {parts[1]} if len(parts) > 1 else {alias.name for alias in node.names}
        elif isinstance(node, ast.Import):
            found |= {parts[1] for alias in node.names if (parts := alias.name.split("."))[0] == "polytask" and len(parts) > 1}
    return found - {"__version__"}


MODULES = [path for path in ROOT.rglob("*.py") if path.parent != ROOT or not path.stem.startswith("__")]


def test_every_module_has_a_layer():
    assert len(MODULES) > 40
    assert {layer(module) for module in MODULES} == set(RANK)


def test_no_import_against_the_stream():
    against = [
        f"{module.relative_to(ROOT)} imports {name}"
        for module in MODULES
        for name in imports(module)
        if RANK[name] > RANK[layer(module)]
    ]
    assert against == []


def test_members_of_a_family_are_taken_from_their_package():
    """`from polytask.sharing._mmoe import MMoE` is for the family itself only."""
    reached = [
        f"{module.relative_to(ROOT)}: {node.module}"
        for module in MODULES
        for node in ast.walk(ast.parse(module.read_text()))
        if isinstance(node, ast.ImportFrom)
        and node.module
        and any(part.startswith("_") for part in node.module.split("."))
        and node.module.split(".")[1] != layer(module)
    ]
    assert reached == []


def test_the_help_of_the_command_does_not_import_torch():
    import subprocess
    import sys

    lines = ["import sys", "from polytask.cli import main", "try: main(['--help'])", "except SystemExit: pass"]
    program = "\n".join([*lines, "sys.exit('torch' in sys.modules)"])
    assert subprocess.run([sys.executable, "-c", program], capture_output=True, check=False, timeout=60).returncode == 0
