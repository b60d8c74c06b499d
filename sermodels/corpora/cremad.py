"""CREMA-D, the Crowd-sourced Emotional Multimodal Actors Dataset: 7442 clips, 91 speakers, 6 emotions, US English.

Source: Cao, Cooper, Keutmann, Gur, Nenkova, Verma, "CREMA-D: Crowd-sourced Emotional Multimodal Actors Dataset",
IEEE Transactions on Affective Computing 5(4), 2014. 48 actors and 43 actresses say 12 sentences. The class is the
emotion that the actor was asked for, not the one that listeners voted for.

Layout: `AudioWAV/1001_DFA_ANG_XX.wav`, with the number of the actor, the code of the sentence (three letters), the
emotion, and its level: LO, MD, HI, or XX where none was asked for. One file as published, 1040_ITH_SAD_X.wav, has a
single X. Recordings published silent or damaged are found when they are decoded, not here.
"""

import re
from pathlib import Path

from sermodels.corpora.published import Published, read_published
from sermodels.corpora.utterance import Corpus

CREMAD = Published(
    name="cremad",
    folders=("AudioWAV",),
    file_name=re.compile(r"(?P<speaker>\d{4})_(?P<sentence>[A-Z]{3})_(?P<code>[A-Z]{3})_(LO|MD|HI|XX?)\.(?i:wav)"),
    example="1001_DFA_ANG_XX.wav",
    codes={
        "ANG": "anger",
        "DIS": "disgust",
        "FEA": "fear",
        "HAP": "happiness",
        "NEU": "neutral",
        "SAD": "sadness",
    },
    clips={"anger": 1271, "disgust": 1271, "fear": 1271, "happiness": 1271, "neutral": 1087, "sadness": 1271},
    speakers=tuple(str(number) for number in range(1001, 1092)),
)


def read(root: Path) -> Corpus:
    """Read CREMA-D from the folder that holds `AudioWAV/`, or from `AudioWAV/` itself.

    Raises:
        UserError: no such folder, an audio file that is not named as above, or an unknown code of emotion.
    """
    return read_published(root, CREMAD)
