"""The one door to all corpora: a name, a place and options become a corpus."""

import inspect
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from sermodels.config.parsing import unknown
from sermodels.corpora import cremad, emodb, folder, savee, synthetic, table
from sermodels.corpora.utterance import Corpus
from sermodels.errors import UserError

READERS: Mapping[str, Callable[..., Corpus]] = {
    "emodb": emodb.read,
    "savee": savee.read,
    "cremad": cremad.read,
    "folder": folder.read,
    "csv": table.read,
    "synthetic": synthetic.read,
}


def read_corpus(name: str, root: Path, options: Mapping[str, Any]) -> Corpus:
    """Read a corpus with the reader called `name`.

    Args:
        name: one of READERS.
        root: its folder; of `csv`, its file.
        options: the reader's keyword arguments, such as `speaker_regex` of `folder`.

    Raises:
        UserError: an unknown name, an option that the reader does not take, or whatever the reader finds.
    """
    if name not in READERS:
        raise UserError(unknown("corpus", name, READERS))
    reader = READERS[name]
    _, *taken = inspect.signature(reader).parameters
    for option in options:
        if option not in taken:
            raise UserError(f"corpus {name}: {unknown('option', option, taken)}")
    return reader(root, **options)
