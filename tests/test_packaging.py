"""What an installation carries."""

import tomllib
from fnmatch import fnmatch
from pathlib import Path

ROOT = Path(__file__).parents[1]
SETUPTOOLS = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]


def test_every_package_and_every_file_that_is_no_code_is_named():
    for top in ("search", "sermodels"):
        for path in (ROOT / top).rglob("*"):
            if path.is_dir() or "__pycache__" in path.parts:
                continue
            package = ".".join(path.parent.relative_to(ROOT).parts)
            assert package in SETUPTOOLS["packages"], f"{path} would not be installed"
            patterns = ["*.py", *SETUPTOOLS["package-data"].get(package, [])]
            assert any(fnmatch(path.name, pattern) for pattern in patterns), f"{path} would not be installed"
