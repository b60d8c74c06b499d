"""What every corpus reader returns."""

from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True, kw_only=True)
class Utterance:
    """One recording of one speaker saying one sentence with one emotion."""

    id: str  # unique in its corpus and the same on every machine: the path below the folder of recordings, with "/"
    path: Path  # the audio file
    speaker: str
    emotion: str  # one of its corpus' emotions
    sentence: str | None = None  # what is said, as the corpus codes it; None where the corpus does not tell


@dataclass(frozen=True, kw_only=True)
class Corpus:
    """The utterances of a corpus, sorted by id, and what a person should know of them."""

    name: str
    utterances: tuple[Utterance, ...]
    emotions: tuple[str, ...]  # class i of the classifier is emotions[i]; fixed order for the published corpora
    warnings: tuple[str, ...] = field(default=())  # e.g. counts that differ from the published ones
