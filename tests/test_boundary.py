"""Imports go one way, by public names: jobs → search → sermodels, and within these from the upper floor to the lower.

sermodels stands without Ray, MLflow and Optuna: what it imports in fact is seen in test_fresh_process.py.
"""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
ABOVE = {  # package → what it must not import
    "sermodels": {"search", "jobs", "ray", "mlflow", "optuna"},
    "search": {"jobs"},
}
FLOORS = {  # package → its rooms from the ground up; modules beside them are the ground, and import no room
    "sermodels": ("config", "corpora", "store", "networks", "training", "evaluation", "deploy"),
    "search": ("space", "scheduling", "tracking", "publish", "report", "run"),
}


def sources(package: str) -> list[Path]:
    return sorted((ROOT / package).rglob("*.py"))


def modules(path: Path) -> Iterator[str]:
    """What a file imports, anywhere in it: modules, and what could be one."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: imports are absolute here"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def imported(path: Path) -> Iterator[str]:
    """The packages that a file imports, anywhere in it."""
    return (module.split(".")[0] for module in modules(path))


@pytest.mark.parametrize("package", ABOVE)
def test_no_source_file_imports_what_stands_above_it(package):
    assert sources(package)
    found = {str(path.relative_to(ROOT)): set(imported(path)) & ABOVE[package] for path in sources(package)}
    assert {path: names for path, names in found.items() if names} == {}


@pytest.mark.parametrize("package", FLOORS)
def test_no_room_imports_from_a_floor_above_it(package):
    rooms = FLOORS[package]
    assert {path.parent.name for path in (ROOT / package).glob("*/__init__.py")} == set(rooms), "each has its floor"
    for path in sources(package):
        inside = path.relative_to(ROOT / package).parts
        floor = rooms.index(inside[0]) if len(inside) > 1 else -1
        for module in modules(path):
            top, room, *_ = [*module.split("."), ""]
            if top == package and room in rooms:
                assert rooms.index(room) <= floor, f"{path.relative_to(ROOT)} imports {module}"


def test_jobs_import_each_other_by_public_names_of_the_package():
    """Not as top-level modules, which are there only while the folder of a script leads sys.path."""
    own = {path.stem for path in (ROOT / "jobs").iterdir()}
    for path in sources("jobs"):
        assert not set(imported(path)) & own, path
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom):
                names = [*node.module.split("."), *(alias.name for alias in node.names)]
                assert not [name for name in names if name.startswith("_") and name != "__future__"], path


@pytest.mark.parametrize("package", ["jobs", "search", "sermodels"])
def test_no_source_file_changes_the_path_of_imports(package):
    assert [path for path in sources(package) if "sys.path" in path.read_text(encoding="utf-8")] == []
