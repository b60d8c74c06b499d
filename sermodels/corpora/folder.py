"""Any corpus that lies as one folder a class: `anger/x.wav`, `neutral/some/where/y.flac`; WAV, FLAC, OGG or MP3.

The classes are the names of the folders, alphabetically; what lies below them may be nested. Sentences are unknown.
"""

import re
from pathlib import Path

from sermodels.corpora.files import audio_files
from sermodels.corpora.utterance import Corpus, Utterance
from sermodels.errors import UserError

NO_SPEAKERS = (
    "folder: no speaker_regex, so each file counts as its own speaker: splits by speaker then mean nothing, "
    "since one person's recordings may lie on both sides"
)


def read(root: Path, *, speaker_regex: str | None = None) -> Corpus:
    """Read one folder a class.

    Args:
        root: the folder of the class folders.
        speaker_regex: regular expression searched in the path relative to `root` (with "/"); its first group is the
            speaker. `/([a-z]+)_` finds kim in `anger/kim_03.wav`. Without it each file is its own speaker.

    Raises:
        UserError: no such folder, audio outside a class folder, fewer than two classes, an expression that is not
            valid or has no group, or a file that it does not match.
    """
    speaker_of = None if speaker_regex is None else _compile(speaker_regex)
    names = audio_files(root)
    utterances = tuple(
        Utterance(
            id=name,
            path=root / name,
            speaker=_speaker(root, name, speaker_of) if speaker_of else name,
            emotion=_emotion(root, name),
        )
        for name in names
    )
    emotions = tuple(sorted({utterance.emotion for utterance in utterances}))
    if len(emotions) < 2:
        raise UserError(f"{root}: audio in one folder only, {emotions[0]!r}; expected a folder for each class")
    warnings = (*([] if speaker_of else [NO_SPEAKERS]), *_folders_without_audio(root, emotions))
    return Corpus(name="folder", utterances=utterances, emotions=emotions, warnings=warnings)


def _compile(speaker_regex: str) -> re.Pattern[str]:
    try:
        speaker_of = re.compile(speaker_regex)
    except re.error as error:
        raise UserError(f"speaker_regex = {speaker_regex!r} is not a regular expression: {error}") from None
    if speaker_of.groups == 0:
        raise UserError(f"speaker_regex = {speaker_regex!r} has no group: put ( ) around what names the speaker")
    return speaker_of


def _speaker(root: Path, name: str, speaker_of: re.Pattern[str]) -> str:
    match = speaker_of.search(name)
    if match is None or not match[1]:
        raise UserError(f"{root / name}: speaker_regex = {speaker_of.pattern!r} finds no speaker in {name!r}")
    return match[1]


def _emotion(root: Path, name: str) -> str:
    emotion, slash, _ = name.partition("/")
    if not slash:
        raise UserError(f"{root / name}: lies in no class folder; expected a path like {root / 'anger' / name}")
    return emotion


def _folders_without_audio(root: Path, emotions: tuple[str, ...]) -> list[str]:
    folders = sorted(path.name for path in root.iterdir() if path.is_dir() and not path.name.startswith("."))
    silent = [name for name in folders if name not in emotions]
    return [f"folder: no audio file in {', '.join(silent)}, so no class of that name"] if silent else []
