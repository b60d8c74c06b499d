"""What the readers of published corpora share: names become utterances, counts are held against the published ones."""

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from sermodels.corpora.files import audio_files
from sermodels.corpora.utterance import Corpus, Utterance
from sermodels.errors import UserError


@dataclass(frozen=True, kw_only=True)
class Published:
    """A corpus as its authors published it."""

    name: str  # of the reader
    folders: tuple[str, ...]  # where the recordings may lie below the root, if not in the root itself
    file_name: re.Pattern[str]  # of a recording, with the groups speaker, sentence and code
    example: str  # of a file name, for errors
    codes: dict[str, str]  # code of an emotion in the file name → emotion
    clips: dict[str, int]  # emotion → number of clips, in the order of the classes
    speakers: tuple[str, ...]


def read_published(root: Path, published: Published) -> Corpus:
    """Read a published corpus; ids are relative to the folder of its recordings, whichever folder `root` is.

    Args:
        root: the corpus or the folder of its recordings.
        published: what its files are called, and how many there should be.

    Returns:
        All classes of the corpus, in their fixed order; a warning for each count that differs.

    Raises:
        UserError: no such folder, an audio file with another name, or a code that the corpus does not know.
    """
    folder = next((root / name for name in published.folders if (root / name).is_dir()), root)
    names = _matches(folder, published)
    utterances = tuple(_utterance(folder, name, match, published) for name, match in names.items())
    return Corpus(
        name=published.name,
        utterances=utterances,
        emotions=tuple(published.clips),
        warnings=(*_clips_that_differ(utterances, published), *_speakers_that_differ(utterances, published)),
    )


def _matches(folder: Path, published: Published) -> dict[str, re.Match[str]]:
    matches = {name: published.file_name.fullmatch(name) for name in audio_files(folder)}
    strangers = [name for name, match in matches.items() if match is None]
    expected = f"expected names like {published.example}"
    if len(strangers) == len(matches):
        found = f"none of its {len(matches)} audio files is named as in {published.name}; the first is {strangers[0]}"
        raise UserError(f"{folder}: {found}, {expected}")
    if strangers:
        raise UserError(f"{folder / strangers[0]}: not a recording of {published.name}: {expected}; move it elsewhere")
    return {name: match for name, match in matches.items() if match}


def _utterance(folder: Path, name: str, match: re.Match[str], published: Published) -> Utterance:
    code = match["code"]
    if code not in published.codes:
        known = ", ".join(f"{code} {emotion}" for code, emotion in published.codes.items())
        raise UserError(f"{folder / name}: emotion {code!r} is unknown in {published.name}; known are {known}")
    return Utterance(
        id=name,
        path=folder / name,
        speaker=match["speaker"],
        emotion=published.codes[code],
        sentence=match["sentence"],
    )


def _clips_that_differ(utterances: Sequence[Utterance], published: Published) -> list[str]:
    found = Counter(utterance.emotion for utterance in utterances)
    off = [f"{emotion} {found[emotion]} of {n}" for emotion, n in published.clips.items() if found[emotion] != n]
    total = sum(published.clips.values())
    return [f"{published.name}: {len(utterances)} clips, published are {total}: {', '.join(off)}"] if off else []


def _speakers_that_differ(utterances: Sequence[Utterance], published: Published) -> list[str]:
    found, expected = {utterance.speaker for utterance in utterances}, set(published.speakers)
    groups = {"missing": expected - found, "unknown": found - expected}
    off = [f"{_some(sorted(speakers))} {group}" for group, speakers in groups.items() if speakers]
    count = f"{published.name}: {len(found)} speakers, published are {len(expected)}"
    return [f"{count}: {'; '.join(off)}"] if off else []


def _some(names: Sequence[str], limit: int = 5) -> str:
    more = f" and {len(names) - limit} more" if len(names) > limit else ""
    return ", ".join(names[:limit]) + more
