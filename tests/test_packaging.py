"""What an installation carries."""

import ast
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from functools import cache
from importlib.metadata import EntryPoint, packages_distributions
from pathlib import Path

import pytest

from jobs.__main__ import main

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
PACKAGES = ("jobs", "search", "sermodels")
BUILD = "from setuptools import setup; setup(script_args=['--quiet', 'build_py', '--build-lib', 'installed'])"


@pytest.fixture(scope="module")
def installed(tmp_path_factory) -> Path:
    """The folder that setuptools makes a wheel of."""
    project = tmp_path_factory.mktemp("project")
    for name in ("pyproject.toml", "README.md"):
        shutil.copy(ROOT / name, project)
    for name in PACKAGES:
        shutil.copytree(ROOT / name, project / name, ignore=shutil.ignore_patterns("__pycache__"))
    subprocess.run([sys.executable, "-c", BUILD], cwd=project, check=True)
    return project / "installed"


def files(root: Path) -> set[Path]:
    found = (path for name in PACKAGES for path in (root / name).rglob("*") if path.is_file())
    return {path.relative_to(root) for path in found if "__pycache__" not in path.parts}


def test_every_file_of_every_package_is_installed_whatever_it_holds(installed):
    assert {path.suffix for path in files(installed)} == {".py", ".yaml", ".j2"}
    assert files(installed) == files(ROOT)


def test_jobs_run_as_installed(installed, tmp_path):
    for words in (["-m", "jobs"], [installed / "jobs" / "report.py", "--help"]):
        command = [sys.executable, *words]
        env = {"PYTHONPATH": str(installed)}
        done = subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True, check=True)
        assert "The report of a sweep as one HTML file" in done.stdout


def test_ser_is_a_command():
    value = PROJECT["scripts"]["ser"]
    assert EntryPoint(name="ser", value=value, group="console_scripts").load() is main


def test_no_script_hides_a_library():
    """`python jobs/NAME.py` puts its folder before all libraries."""
    names = {path.stem for path in (ROOT / "jobs").iterdir() if not path.stem.startswith("__")}
    assert not names & {*sys.stdlib_module_names, *offered()}


def distribution(text: str) -> str:
    """The name that stands at the beginning of a requirement, as the index spells it."""
    return re.sub(r"[-_.]+", "-", re.match(r"[\w.-]+", text)[0]).lower()


def imported(folder: Path) -> Iterator[str]:
    """The modules, without those within them, that the files of a folder import."""
    for path in folder.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                yield from (alias.name.partition(".")[0] for alias in node.names)
            elif isinstance(node, ast.ImportFrom):
                yield node.module.partition(".")[0]


@cache
def offered() -> dict[str, set[str]]:
    """The distributions that have each module."""
    return {module: set(map(distribution, names)) for module, names in packages_distributions().items()}


def undeclared(folders: tuple[str, ...], requirements: list[str]) -> set[str]:
    declared = {distribution(text) for text in requirements}
    modules = {module for folder in folders for module in imported(ROOT / folder)}
    ours = distribution(PROJECT["name"])
    return {m for m in modules & offered().keys() if not offered()[m] & {*declared, ours}}


def test_every_library_that_is_imported_is_declared():
    extras = PROJECT["optional-dependencies"]
    assert undeclared(("search", "sermodels"), PROJECT["dependencies"]) == {"transformers"}, "it is of an extra: peers"
    everything = [*PROJECT["dependencies"], *(text for extra in extras.values() for text in extra)]
    assert undeclared(("search", "sermodels", "jobs", "tests"), everything) == set()
    assert "pandas" in undeclared(("search",), ["numpy"])
