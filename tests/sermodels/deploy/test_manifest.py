"""A copy of a model is the model, or the difference is named; onnxruntime, numpy and soundfile are enough."""

import json
import os
import re
import shutil
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest

from sermodels.deploy.manifest import verify
from sermodels.deploy.recogniser import Recogniser
from sermodels.errors import UserError
from sermodels.model_files import CARD, EXAMPLE, MANIFEST, MODEL

ROOT = Path(__file__).parents[3]


@pytest.fixture
def copy(model, tmp_path):
    return shutil.copytree(model, tmp_path / "copy")


def change(folder, **values):
    manifest = json.loads((folder / MANIFEST).read_text())
    (folder / MANIFEST).write_text(json.dumps(manifest | values))


def test_a_copy_is_whole_and_answers_as_before(copy):
    assert "8 files as exported" in verify(copy)
    assert verify(str(copy)) == verify(copy)


@pytest.mark.parametrize("name", [MODEL, EXAMPLE, CARD, "config.yaml", "model.safetensors", "metrics.json"])
def test_a_changed_or_missing_file_is_named(name, copy):
    content = (copy / name).read_bytes()
    (copy / name).write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    with pytest.raises(UserError, match=re.escape(name)):
        verify(copy)
    (copy / name).unlink()
    with pytest.raises(UserError, match=re.escape(name)):
        verify(copy)


def test_an_answer_that_differs_is_told(copy):
    example = json.loads((copy / MANIFEST).read_text())["example"]
    change(copy, example=example | {"anger": example["anger"] + 2e-4})
    with pytest.raises(UserError, match=r"another answer.* off by 2\.0e-04"):
        verify(copy)
    change(copy, example={"joy": 1.0})
    with pytest.raises(UserError, match=r"its emotions are anger, .*; the manifest says joy"):
        verify(copy)


@pytest.mark.parametrize(
    "content",
    [
        "",
        "{",
        "[]",
        "{}",
        '{"format": 1, "files_sha256": [], "example": {}}',
        '{"format": 1, "files_sha256": {}, "example": {}}',
    ],
)
def test_a_damaged_manifest_is_named(content, copy):
    (copy / MANIFEST).write_text(content)
    with pytest.raises(UserError, match=r"manifest\.json: damaged"):
        verify(copy)


def test_a_manifest_that_vouches_for_nothing_is_damaged(copy):
    hashes = json.loads((copy / MANIFEST).read_text())["files_sha256"]
    change(copy, files_sha256=hashes | {MODEL: None})
    with pytest.raises(UserError, match=r"no hash of model\.onnx"):
        verify(copy)
    (copy / "model.safetensors").unlink()
    change(copy, files_sha256=hashes | {"model.safetensors": None})
    with pytest.raises(UserError, match=r"model\.safetensors: missing"):
        verify(copy)
    change(copy, files_sha256=hashes, example={"anger": "much"})
    with pytest.raises(UserError, match=r"model\.safetensors: missing|no number"):
        verify(copy)


def test_a_manifest_of_another_format_and_none(copy):
    change(copy, format=2)
    with pytest.raises(UserError, match="format 2; this version reads 1"):
        verify(copy)
    (copy / MANIFEST).unlink()
    with pytest.raises(UserError, match="only an exported model can be verified"):
        verify(copy)


@pytest.fixture(scope="module")
def bare(tmp_path_factory):
    """The interpreter of a fresh environment that has what the card names, and nothing else."""
    folder = tmp_path_factory.mktemp("bare") / "env"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder], check=True)
    packages = [f"{name}=={version(name)}" for name in ("onnxruntime", "numpy", "soundfile")]
    installed = subprocess.run(
        [sys.executable, "-m", "pip", "--python", folder, "install", "--quiet", "--no-compile", *packages],
        capture_output=True,
        text=True,
    )
    if installed.returncode:
        pytest.skip(f"no packages to be had: {installed.stderr.strip().splitlines()[-1]}")
    return folder / "bin" / "python"


def answers(python, code, cwd):
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT)}
    done = subprocess.run([python, "-c", code], cwd=cwd, env=environment, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_fresh_environment_without_pytorch_verifies_it(bare, copy):
    code = "from sermodels.deploy.manifest import verify; print(verify('.')); import importlib.util as u; "
    code += "print(u.find_spec('torch'), u.find_spec('librosa'))"
    assert answers(bare, code, copy).splitlines()[1:] == ["None None"]


def test_the_three_lines_of_the_card_answer_there(bare, copy):
    (code,) = re.findall(r"```python\n(.*?)```", (copy / CARD).read_text(), re.DOTALL)
    assert len(code.splitlines()) == 3
    found = [float(number) for number in re.findall(r"\d\.\d+(?:e-\d+)?", answers(bare, code, copy))]
    assert found == pytest.approx(list(Recogniser(copy).answer(copy / EXAMPLE).values()), abs=1e-6)


@pytest.mark.parametrize(
    ("call", "missing"),
    [
        ("from_samples(np.ones(9000, np.float32), 'x', 44100, 16000)", "make 16000 Hz of 44100 Hz"),
        ("trimmed(np.ones(9000, np.float32), 30)", "cut silence"),
    ],
)
def test_what_takes_librosa_there_says_so(bare, copy, call, missing):
    code = f"from sermodels.corpora import audio; import numpy as np\ntry: audio.{call}\n"
    code += "except Exception as error: print(type(error).__name__, error)"
    assert f"UserError to {missing} takes librosa: pip install librosa" in answers(bare, code, copy)
