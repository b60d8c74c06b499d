"""The audio files below a folder, by their path relative to it."""

from pathlib import Path

from sermodels.corpora import audio
from sermodels.errors import UserError


def audio_files(folder: Path) -> list[str]:
    """Paths of all audio files below `folder`, relative to it, with "/", sorted.

    Hidden files and folders are left out: copies made on a Mac hold a "._03a01Fa.wav" beside each recording.

    Raises:
        UserError: missing, not a folder, or without an audio file.
    """
    if not folder.exists():
        raise UserError(f"{folder}: no such folder; expected the folder of a corpus")
    if not folder.is_dir():
        raise UserError(f"{folder}: is a file; expected the folder of a corpus")
    names = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
    names = [name for name in names if not any(part.startswith(".") for part in name.split("/"))]
    audible = [name for name in names if Path(name).suffix.lower() in audio.SUFFIXES]
    if not audible:
        found = f"the first of {len(names)} files is {names[0]}" if names else "it is empty"
        raise UserError(f"{folder}: holds no audio file ({', '.join(audio.SUFFIXES)}); {found}")
    return audible
