"""Compiled code on disk: every process finds what the first one left, however many come."""

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest

import morpho_assets
from morpho_assets_tests.project import ROOT

SOURCES = sorted(Path(morpho_assets.__file__).parent.rglob("*.py"))
AGGREGATES = """
import time
import numpy as np
from morpho_assets.profiles.group_statistics import OVER_GROUPS

values, result = np.arange(6.0), np.empty(2)
values.setflags(write=False)
start = time.perf_counter()
for kernel in OVER_GROUPS.values():
    kernel(values, np.array([3, 6]), False, 0.1, result)
print(time.perf_counter() - start, sum(sum(k.stats.cache_misses.values()) for k in OVER_GROUPS.values()))
"""


def _aggregate(cache: Path) -> tuple[float, int]:
    """Seconds that a new process takes to have its kernels, and how many it compiles."""
    environment = {**os.environ, "NUMBA_CACHE_DIR": str(cache), "PYTHONPATH": str(ROOT)}
    run = subprocess.run(
        [sys.executable, "-c", AGGREGATES], env=environment, capture_output=True, text=True, check=True
    )
    seconds, misses = run.stdout.split()
    return float(seconds), int(misses)


def _is_compiled(cache: Path, first: str = "") -> bool:
    """Whether a new process thinks that its kernels are compiled, after running some code."""
    asked = "from morpho_assets.measure.kernels import is_compiled; from morpho_assets.measure.ranks import sort_items"
    environment = {**os.environ, "NUMBA_CACHE_DIR": str(cache), "PYTHONPATH": str(ROOT)}
    code = f"{asked}\n{first}\nprint(is_compiled(sort_items))"
    run = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    return run.stdout.strip() == "True"


def test_who_waits_for_the_compiler_can_be_told(tmp_path):
    assert not _is_compiled(tmp_path)
    assert _is_compiled(tmp_path, "import numpy; sort_items(numpy.arange(3, dtype=numpy.uint32))")
    assert _is_compiled(tmp_path)


def _files(cache: Path) -> set[tuple[Path, int]]:
    return {(file, file.stat().st_mtime_ns) for file in cache.rglob("*") if file.is_file()}


def test_a_second_process_compiles_nothing_and_leaves_no_file(tmp_path):
    _aggregate(tmp_path)
    left = _files(tmp_path)
    assert _aggregate(tmp_path)[1] == 0
    assert left == _files(tmp_path) != set()


@pytest.mark.slow
def test_the_sixtieth_process_is_as_fast_as_the_second(tmp_path):
    _aggregate(tmp_path)
    left = _files(tmp_path)
    runs = [_aggregate(tmp_path) for _ in range(59)]
    assert _files(tmp_path) == left
    assert {misses for _, misses in runs} == {0}
    seconds = [seconds for seconds, _ in runs]
    assert min(seconds[-10:]) < 2 * min(seconds[:10])  # the least: other processes can only slow one down


def _cached(node: ast.expr) -> bool:
    return isinstance(node, ast.Call) and any(
        word.arg == "cache" and isinstance(word.value, ast.Constant) and word.value.value for word in node.keywords
    )


def _kernels(tree: ast.Module, decorators: set[str]) -> list[ast.FunctionDef]:
    """The functions that a decorator with `cache=True`, or one of these names for such, compiles."""
    return [
        node
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef)
        and any(_cached(d) or (isinstance(d, ast.Name) and d.id in decorators) for d in node.decorator_list)
    ]


def _named(tree: ast.Module) -> set[str]:
    """Names that stand for a decorator with `cache=True`."""
    found = [node for node in ast.walk(tree) if isinstance(node, ast.Assign | ast.AnnAssign) and node.value]
    targets = [
        node.target if isinstance(node, ast.AnnAssign) else node.targets[0] for node in found if _cached(node.value)
    ]
    return {target.id for target in targets if isinstance(target, ast.Name)}


def _takes_a_function(kernel: ast.FunctionDef) -> bool:
    arguments = [*kernel.args.posonlyargs, *kernel.args.args, *kernel.args.kwonlyargs]
    names = {argument.arg for argument in arguments}
    called = {
        node.func.id for node in ast.walk(kernel) if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)
    }
    annotated = any(a.annotation and "Callable" in ast.unparse(a.annotation) for a in arguments)
    nested = any(isinstance(node, ast.FunctionDef | ast.Lambda) for node in ast.walk(kernel) if node is not kernel)
    return bool(names & called) or annotated or nested


def test_no_cached_kernel_takes_a_function():
    """What numba keeps on disk is found by the types of the arguments; a function's is new in every process."""
    trees = {file: ast.parse(file.read_text()) for file in SOURCES}
    decorators = set().union(*map(_named, trees.values()))
    kernels = [(file, kernel) for file, tree in trees.items() for kernel in _kernels(tree, decorators)]
    assert len(kernels) > 50
    assert [f"{file.name}: {kernel.name}" for file, kernel in kernels if _takes_a_function(kernel)] == []


@pytest.mark.parametrize("body", ["f(v: Callable[[float], float])", "f(v):\n  return v(1)", "f(v):\n  g = lambda x: x"])
def test_a_kernel_that_takes_a_function_is_seen(body):
    source = f"kernel = njit(cache=True)\n@kernel\ndef {body}" + ("" if ":\n" in body else ": pass")
    tree = ast.parse(source)
    (kernel,) = _kernels(tree, _named(tree))
    assert _takes_a_function(kernel)
