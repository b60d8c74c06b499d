"""Private names of other libraries are used in the modules named library_internals alone."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = ("search", "sermodels", "jobs")
PROMISED = {"_asdict", "_fields", "_replace", "_exit"}  # of named tuples, and of `os`
SAMPLE = """
from ray._private import ray_constants
from ray.tune import _structure
from jobs._cli import run
import optuna._typing
class Ours(Theirs):
    def use(self, other):
        self._own = other.public
        return self._own, self._theirs, other._inside, other._replace(a=1), super()._helper()
"""


def own(module: str) -> bool:
    """Whether a module is the project's, by its absolute name; jobs import those beside them."""
    top = module.split(".")[0]
    return top in PACKAGES or (ROOT / "jobs" / f"{top}.py").exists()


def private(name: str) -> bool:
    return name.startswith("_") and not name.startswith("__") and name not in PROMISED


def foreign_names(tree: ast.AST) -> Iterator[str]:
    """Private names that a file uses and that are not made in it."""
    nodes = list(ast.walk(tree))
    made = {node.name for node in nodes if isinstance(node, ast.FunctionDef | ast.ClassDef)}
    made |= {node.attr for node in nodes if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store)}
    made |= {node.id for node in nodes if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)}
    for node in nodes:
        if isinstance(node, ast.Attribute):
            yield from filter(private, {node.attr} - made)
        elif isinstance(node, ast.ImportFrom) and not own(node.module):
            yield from filter(private, [*node.module.split("."), *(alias.name for alias in node.names)])
        elif isinstance(node, ast.Import):
            yield from filter(private, [part for alias in node.names for part in alias.name.split(".")])


def test_what_is_looked_for_is_found():
    assert list(foreign_names(ast.parse(SAMPLE))) == [
        "_private",
        "_structure",
        "_typing",
        "_theirs",
        "_inside",
        "_helper",
    ]


@pytest.mark.parametrize("package", PACKAGES)
def test_no_other_module_uses_one(package):
    files = [path for path in (ROOT / package).rglob("*.py") if path.stem != "library_internals"]
    assert len(files) > 10
    found = {str(path.relative_to(ROOT)): list(foreign_names(ast.parse(path.read_text("utf-8")))) for path in files}
    assert {path: names for path, names in found.items() if names} == {}
