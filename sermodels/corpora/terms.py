"""On what terms the published corpora are had, and how they are cited; for the cards of models trained on them."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Terms:
    """Of one corpus."""

    title: str
    speech: str  # what one hears in it
    licence: str
    citation: str


_TERMS = {
    "emodb": Terms(
        title="EmoDB, the Berlin Database of Emotional Speech",
        speech="German; ten actors read ten sentences, recorded in a studio",
        licence="free of charge from its authors, whose page names none; the copy in audEERING's audb says CC0-1.0",
        citation="F. Burkhardt, A. Paeschke, M. Rolfes, W. F. Sendlmeier, B. Weiss: A database of German emotional "
        "speech. Interspeech 2005.",
    ),
    "savee": Terms(
        title="SAVEE, the Surrey Audio-Visual Expressed Emotion database",
        speech="British English; four men read sentences, recorded in a laboratory",
        licence="for research, from its authors on registration",
        citation="S. Haq, P. J. B. Jackson: Speaker-dependent audio-visual emotion recognition. AVSP 2009.",
    ),
    "cremad": Terms(
        title="CREMA-D, the Crowd-sourced Emotional Multimodal Actors Dataset",
        speech="US English; 91 actors read twelve sentences",
        licence="Open Database License 1.0, its contents under the Database Contents License 1.0",
        citation="H. Cao, D. G. Cooper, M. K. Keutmann, R. C. Gur, A. Nenkova, R. Verma: CREMA-D: Crowd-sourced "
        "Emotional Multimodal Actors Dataset. IEEE Transactions on Affective Computing 5(4), 2014.",
    ),
    "synthetic": Terms(
        title="the built-in corpus",
        speech="no speech at all, but sounds like it, synthesised by rules; a model of it is of no use to anybody",
        licence="none is needed: it is generated",
        citation="",
    ),
}


def terms(corpus: str) -> Terms:
    """Of the corpus that a reader of that name reads; of those that users bring nothing is known.

    Args:
        corpus: as a store names it.
    """
    own = Terms(
        title="a corpus of the user's own",
        speech="speech that this card knows nothing of",
        licence="unknown: ask its owner",
        citation="",
    )
    return _TERMS.get(corpus, own)
