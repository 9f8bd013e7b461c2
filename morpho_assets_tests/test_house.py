"""The house: which room may use which, and what no room may load. docs/architecture.md shows the same as a picture."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import morpho_assets

ROOT = Path(morpho_assets.__file__).parent

# From the ground up: a module may use those of its own line and of the lines before it, never of one after it.
FLOORS = (
    ("__init__", "errors", "retry", "refusals", "yaml_files"),
    ("cluster", "compute", "terminal"),
    ("lake",),
    ("gallery",),
    ("imaging",),
    ("measure",),
    ("profiles",),
    ("learn",),
    ("predict",),
    ("evaluate",),
    ("settings",),
    ("studies",),
    ("simulator",),
    ("power",),
    ("report", "export"),
    ("stages",),
    ("plan",),
    ("workspace",),
    ("runs", "publication", "status", "lineage", "judging", "exporting", "trial"),
    ("reference", "check", "init"),
    (
        "input_commands",
        "design_command",
        "export_command",
        "lineage_command",
        "place_command",
        "segment_command",
        "verdict_command",
    ),
    ("assets", "definitions"),
    ("cli",),
)
SHELL = ("assets", "definitions", "cli")
"""What may import dagster and read the environment."""
HEAVY = ("torch", "cellpose", "umap", "matplotlib", "sklearn", "captum", "rdkit")
"""What only a function may import."""


def room(module: str) -> str:
    parts = module.split(".")
    return parts[1] if len(parts) > 1 else "__init__"


def modules() -> Iterator[tuple[str, ast.Module]]:
    for file in sorted(ROOT.rglob("*.py")):
        name = ".".join(file.relative_to(ROOT.parent).with_suffix("").parts)
        yield name, ast.parse(file.read_text())


def imports(tree: ast.Module, everywhere: bool) -> Iterator[tuple[int, str]]:
    """Line and name of what a module imports, at its top or also inside its functions; not for type checkers alone."""
    for node in ast.iter_child_nodes(tree) if not everywhere else _running(tree):
        if isinstance(node, ast.ImportFrom) and node.module:
            yield node.lineno, node.module
        elif isinstance(node, ast.Import):
            yield from ((node.lineno, each.name) for each in node.names)


def _running(node: ast.AST) -> Iterator[ast.AST]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.If) and getattr(child.test, "id", "") == "TYPE_CHECKING":
            continue
        yield child
        yield from _running(child)


def test_arrows_between_rooms_run_one_way() -> None:
    floor = {name: number for number, names in enumerate(FLOORS) for name in names}
    unknown = {room(name) for name, _ in modules()} - set(floor)
    assert not unknown, f"give {unknown} a place in FLOORS"
    wrong = [
        f"{name}:{line} uses {used}"
        for name, tree in modules()
        for line, used in imports(tree, everywhere=True)
        if used.startswith("morpho_assets.") and floor[room(used)] > floor[room(name)]
    ]
    assert not wrong


def test_no_room_imports_dagster_or_reads_the_environment() -> None:
    wrong = []
    for name, tree in modules():
        if room(name) in SHELL:
            continue
        wrong += [f"{name}:{line} imports {used}" for line, used in imports(tree, everywhere=True)
                  if used.split(".")[0].startswith("dagster")]  # fmt: skip
        wrong += [f"{name}:{node.lineno} reads os.{node.attr}" for node in ast.walk(tree)
                  if isinstance(node, ast.Attribute) and node.attr in ("environ", "getenv")
                  and isinstance(node.value, ast.Name) and node.value.id == "os"]  # fmt: skip
    assert not wrong


def test_heavy_libraries_are_imported_inside_functions() -> None:
    """A network is a class of torch's: its module may import torch, and is itself imported inside functions alone."""
    heavy = {
        name
        for name, tree in modules()
        if any(used.split(".")[0] in HEAVY for _, used in imports(tree, everywhere=False))
    }
    wrong = [
        f"{name}:{line} imports {used}"
        for name, tree in modules()
        if name not in heavy
        for line, used in imports(tree, everywhere=False)
        if used in heavy
    ]
    assert not wrong
    assert {room(name) for name in heavy} <= {"learn"}


@pytest.mark.parametrize("module", ["morpho_assets.definitions", "morpho_assets.cli"])
def test_loading_the_definitions_loads_nothing_heavy(module: str) -> None:
    code = f"import {module}, sys; print(*sorted(set({HEAVY!r}) & set(sys.modules)))"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == ""


def test_a_command_that_finds_nothing_to_do_waits_for_no_library_of_those_who_work() -> None:
    late = {"scipy", "numba", "dagster", "duckdb"}
    code = f"import morpho_assets.workspace, sys; print(*sorted({late!r} & set(sys.modules)))"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == ""


def test_no_module_of_a_room_uses_another_that_uses_it() -> None:
    """No circles: not between rooms, and not inside one."""
    used = {
        name: {each for _, each in imports(tree, everywhere=True) if each.startswith("morpho_assets.")}
        for name, tree in modules()
    }
    done: set[str] = set()

    def walk(name: str, path: tuple[str, ...]) -> None:
        assert name not in path, " -> ".join((*path[path.index(name) :], name))
        if name not in done:
            for each in sorted(used.get(name, ())):
                walk(each, (*path, name))
            done.add(name)

    for name in used:
        walk(name, ())
