"""What an installation carries."""

import shutil
import subprocess
import sys
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

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


def test_no_script_hides_a_library():
    """`python jobs/NAME.py` puts its folder before all libraries."""
    names = {path.stem for path in (ROOT / "jobs").iterdir() if not path.stem.startswith("__")}
    assert not names & {*sys.stdlib_module_names, *packages_distributions()}
