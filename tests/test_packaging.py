"""What an installation carries."""

import shutil
import subprocess
import sys
import tomllib
from importlib.metadata import EntryPoint, packages_distributions
from pathlib import Path

import pytest

from jobs.__main__ import main

ROOT = Path(__file__).parents[1]
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
    value = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["scripts"]["ser"]
    assert EntryPoint(name="ser", value=value, group="console_scripts").load() is main


def test_no_script_hides_a_library():
    """`python jobs/NAME.py` puts its folder before all libraries."""
    names = {path.stem for path in (ROOT / "jobs").iterdir() if not path.stem.startswith("__")}
    assert not names & {*sys.stdlib_module_names, *packages_distributions()}
