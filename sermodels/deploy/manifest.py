"""The manifest of an exported model: hashes of its files, and the answer that its example must get.

A model's folder can be verified wherever it was copied to, with onnxruntime, numpy and soundfile alone:

    python -c 'from sermodels.deploy.manifest import verify; print(verify("best"))'
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sermodels.deploy.recogniser import Recogniser
from sermodels.errors import UserError
from sermodels.files import file_sha256
from sermodels.model_files import CARD, EXAMPLE, MANIFEST, MODEL

FORMAT = 1
WITHIN = 1e-4  # in probability: how far an answer may be from PyTorch's


def write_manifest(folder: Path, example: Mapping[str, float], about: Mapping[str, Any]) -> None:
    """Describe the files that a folder holds.

    Args:
        folder: of the model, with all its files but this one.
        example: PyTorch's probabilities of EXAMPLE, by emotion.
        about: where and with what it was made; plain JSON values.
    """
    files = {path.name: file_sha256(path) for path in sorted(folder.iterdir()) if path.name != MANIFEST}
    manifest = {"format": FORMAT, "made": dict(about), "files_sha256": files, "example": dict(example)}
    (folder / MANIFEST).write_text(json.dumps(manifest, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def verify(folder: str | Path) -> str:
    """Make sure that a model is whole and answers as it did when it was exported.

    Args:
        folder: of the model.

    Returns:
        One line that says what was found in order.

    Raises:
        UserError: a file is missing, or not the one that was written; or the example gets another answer.
    """
    folder = Path(folder)
    manifest = _read(folder / MANIFEST)
    for name, expected in manifest["files_sha256"].items():
        if expected is None or file_sha256(folder / name) != expected:
            raise UserError(
                f"{folder / name}: missing, or not the file that was exported: the manifest has another hash"
            )
    found = Recogniser(folder).answer(folder / EXAMPLE)
    if found.keys() != manifest["example"].keys():
        raise UserError(
            f"{folder}: its emotions are {', '.join(found)}; the manifest says {', '.join(manifest['example'])}"
        )
    off = max(abs(found[emotion] - probability) for emotion, probability in manifest["example"].items())
    if not off <= WITHIN:
        raise UserError(f"{folder}: {EXAMPLE} gets another answer than at export: a probability is off by {off:.1e}")
    return (
        f"{folder}: {len(manifest['files_sha256'])} files as exported; {EXAMPLE} within {max(off, 1e-7):.0e} of PyTorch"
    )


def _read(path: Path) -> dict[str, Any]:
    try:
        manifest = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror}; only an exported model can be verified") from None
    except ValueError as error:
        raise UserError(f"{path}: damaged: not JSON: {error}") from None
    expected = {"format": int, "files_sha256": dict, "example": dict}
    if not isinstance(manifest, dict) or any(not isinstance(manifest.get(k), kind) for k, kind in expected.items()):
        raise UserError(f"{path}: damaged: expected {', '.join(expected)}")
    if missing := {MODEL, EXAMPLE, CARD} - {name for name, sha256 in manifest["files_sha256"].items() if sha256}:
        raise UserError(f"{path}: damaged: no hash of {', '.join(sorted(missing))}")
    if not all(isinstance(probability, float) for probability in manifest["example"].values()):
        raise UserError(f"{path}: damaged: a probability of the example is no number")
    if manifest["format"] != FORMAT:
        raise UserError(f"{path}: format {manifest['format']}; this version reads {FORMAT}")
    return manifest
