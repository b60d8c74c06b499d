"""SAVEE, the Surrey Audio-Visual Expressed Emotion database: 480 clips, 4 speakers, 7 emotions, British English.

Source: Haq & Jackson, "Speaker-dependent audio-visual emotion recognition", AVSP 2009; "Multimodal emotion
recognition", in Machine Audition, IGI Global 2010. Four men, DC, JE, JK and KL, each say 15 sentences in each of six
emotions and 30 in a neutral voice.

Layout, as published twice: a folder a speaker, `AudioData/DC/a01.wav`, or flat, `ALL/DC_a01.wav`; with the code of the
emotion (a d f h n sa su) and the number of the sentence within it.

What is said: 3 sentences common to all emotions, 2 special to each and 10 further ones; neutral repeats the special
ones of the others. A name tells only emotion and number. Numbers 01 to 03 are taken as the common sentences, in the
order in which the authors describe them, and coded common01 to common03 here; all others keep their name as code, like
a04 or n17. Which neutral numbers repeat a special sentence no name tells: a neutral code may stand for a sentence that
has another code as well, so codes alone cannot keep sentences apart in a split.
"""

import re
from dataclasses import replace
from pathlib import Path

from sermodels.corpora.published import Published, read_published
from sermodels.corpora.utterance import Corpus, Utterance

SAVEE = Published(
    name="savee",
    folders=("AudioData", "ALL"),
    file_name=re.compile(
        r"(?P<speaker>DC|JE|JK|KL)[/_](?P<sentence>(?P<code>[a-z]{1,2})\d\d)\.(?i:wav)",
    ),
    example="DC/a01.wav or DC_a01.wav",
    codes={
        "a": "anger",
        "d": "disgust",
        "f": "fear",
        "h": "happiness",
        "n": "neutral",
        "sa": "sadness",
        "su": "surprise",
    },
    clips={
        "anger": 60,
        "disgust": 60,
        "fear": 60,
        "happiness": 60,
        "neutral": 120,
        "sadness": 60,
        "surprise": 60,
    },
    speakers=("DC", "JE", "JK", "KL"),
)
COMMON = ("01", "02", "03")  # numbers of the sentences that all emotions share


def read(root: Path) -> Corpus:
    """Read SAVEE from the folder that holds the recordings in either layout, or from the one above it.

    Raises:
        UserError: no such folder, an audio file that is not named as above, or an unknown code of emotion.
    """
    corpus = read_published(root, SAVEE)
    return replace(corpus, utterances=tuple(map(_with_common_sentence, corpus.utterances)))


def _with_common_sentence(utterance: Utterance) -> Utterance:
    assert utterance.sentence is not None, "every name tells it"
    number = utterance.sentence[-2:]
    return replace(utterance, sentence=f"common{number}") if number in COMMON else utterance
