"""EmoDB, the Berlin Database of Emotional Speech: 535 clips, 10 speakers, 7 emotions, German.

Source: Burkhardt, Paeschke, Rolfes, Sendlmeier, Weiss, "A database of German emotional speech", Interspeech 2005.
Ten actors, five of each sex, say ten sentences without emotional content; kept were the recordings that listeners
recognised and found natural, so classes and speakers are of unequal size.

Layout: `wav/SSTTTEv.wav`, with the two digits of the speaker, the code of the text (also called the sentence), the
first letter of the German word for the emotion, and the version: `03a01Fa.wav` is speaker 03, sentence a01,
happiness (Freude), version a. A is Angst, called anxiety here and fear elsewhere.
"""

import re
from pathlib import Path

from sermodels.corpora.published import Published, read_published
from sermodels.corpora.utterance import Corpus

EMODB = Published(
    name="emodb",
    folders=("wav",),
    file_name=re.compile(r"(?P<speaker>\d\d)(?P<sentence>[a-z]\d\d)(?P<code>[A-Z])[a-z]\.(?i:wav)"),
    example="03a01Fa.wav",
    codes={
        "W": "anger",
        "A": "anxiety",
        "L": "boredom",
        "E": "disgust",
        "F": "happiness",
        "N": "neutral",
        "T": "sadness",
    },
    clips={
        "anger": 127,
        "anxiety": 69,
        "boredom": 81,
        "disgust": 46,
        "happiness": 71,
        "neutral": 79,
        "sadness": 62,
    },
    speakers=("03", "08", "09", "10", "11", "12", "13", "14", "15", "16"),
)


def read(root: Path) -> Corpus:
    """Read EmoDB from the folder that holds `wav/`, or from `wav/` itself.

    Raises:
        UserError: no such folder, an audio file that is not named as above, or an unknown letter of emotion.
    """
    return read_published(root, EMODB)
