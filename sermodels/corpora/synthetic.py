"""The built-in corpus: speech-like utterances of people who do not exist, for trying things without data.

Speakers differ in vocal-tract length, pitch, breathiness and expressiveness; each says the same sentences in
the seven emotions of EmoDB. What an emotion does to the voice follows the published acoustics of vocal emotion
in direction, relative to the speaker's own neutral voice, and is drawn anew for every utterance from
distributions that overlap. The microphone is drawn too, so that the average spectrum tells little: most of an
emotion lies in what changes over time. Sources of the directions:

- Scherer (2003), "Vocal communication of emotion: a review of research paradigms"
- Juslin & Laukka (2003), "Communication of emotions in vocal expression and music performance"
- Burkhardt & Sendlmeier (2000), "Verification of acoustical correlates of emotional speech using
  formant-synthesis"
"""

import json
import secrets
import shutil
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import numpy as np
import soundfile
from pydantic import Field

from sermodels.config.constraints import checked
from sermodels.config.parsing import parse, to_plain
from sermodels.corpora.synthesis import SAMPLE_RATE_HZ, Channel, Prosody, Voice, synthesise
from sermodels.corpora.utterance import Corpus, Utterance
from sermodels.errors import UserError

EMOTIONS = ("anger", "anxiety", "boredom", "disgust", "happiness", "neutral", "sadness")
SENTENCES = {
    "a": "'da ti 'mo l@ | 'na ku fi 'so",
    "b": "v@ 'li na 'pa to | mi 'ga su",
    "c": "'xo n@ bi 'ra | 'tu ve 'ma l@ ni",
    "d": "s@ 'ke lo 'mu di | na 'fo",
    "e": "ga 'no ri t@ | 'zi 'ba lu me",
    "f": "'me ra 'ki no | v@ 'da pu 'si l@",
}
_VERSION = 2  # raised whenever the same settings give other sound
_SETTINGS_FILE = "corpus.json"
_TwoDigits = Annotated[int, Field(ge=1, le=99, strict=True)]  # as the names of files have


@checked
class _Settings:
    """What a corpus is synthesised from, as _SETTINGS_FILE in its folder holds it."""

    seed: Annotated[int, Field(ge=0, lt=2**63, strict=True)]
    speakers: _TwoDigits
    clips_per_emotion: _TwoDigits


class Cue(NamedTuple):
    """How one property of the prosody depends on the emotion.

    A value is neutral + spread · (shift + z), z standard normal: a shift of 1 is as large as the scatter within
    an emotion.
    """

    neutral: float
    spread: float
    shifts: tuple[float, ...]  # one for each of EMOTIONS
    least: float = -np.inf
    most: float = np.inf


# Shifts in the order of EMOTIONS: anger, anxiety, boredom, disgust, happiness, neutral, sadness.
CUES = {
    "f0_level_st": Cue(neutral=0.0, spread=1.5, shifts=(0.5, 1.8, -0.5, -0.6, 0.8, 0.0, -0.4)),
    "f0_range_st": Cue(neutral=7.0, spread=1.8, shifts=(1.2, -1.5, -3.3, 0.3, 4.5, 0.0, -2.2), least=0.2),
    "f0_slope_st": Cue(neutral=-1.2, spread=1.0, shifts=(-0.5, 0.8, 0.3, -0.5, 0.6, 0.0, -0.6)),
    "f0_tremor_st": Cue(neutral=0.1, spread=0.3, shifts=(0.0, 7.0, 0.0, 0.0, 0.0, 0.0, 1.0), least=0.0),
    "rate": Cue(neutral=1.0, spread=0.12, shifts=(0.6, 1.0, -0.8, -0.6, 0.4, 0.0, -0.8), least=0.6, most=1.6),
    "rhythm": Cue(neutral=0.12, spread=0.05, shifts=(0.3, 1.0, 0.0, 1.2, 0.0, 0.0, 0.6), least=0.02, most=0.4),
    "pause_s": Cue(neutral=0.12, spread=0.05, shifts=(-0.5, 0.5, 0.5, 0.8, -0.5, 0.0, 1.0), least=0.01, most=0.6),
    "accent_db": Cue(neutral=6.0, spread=2.0, shifts=(3.0, 0.3, -2.0, 1.0, 0.8, 0.0, -1.0), least=0.0),
    "effort": Cue(neutral=0.5, spread=0.08, shifts=(0.5, 0.2, -0.4, 0.2, 0.3, 0.0, -0.5)),
    "effort_swing": Cue(neutral=0.25, spread=0.12, shifts=(5.0, -0.6, -2.0, 0.6, 0.2, 0.0, -1.5), least=0.0),
    "articulation": Cue(neutral=0.9, spread=0.1, shifts=(1.5, 0.2, -2.0, 0.8, 0.4, 0.0, -1.0), least=0.3, most=1.2),
    "jitter": Cue(neutral=0.008, spread=0.005, shifts=(0.8, 3.5, 0.0, 1.5, 0.0, 0.0, 0.8), least=0.001, most=0.04),
    "breath_db": Cue(neutral=0.0, spread=3.0, shifts=(-0.4, 0.6, 0.0, -0.2, 0.0, 0.0, 0.6)),
    "final_breath_db": Cue(neutral=4.0, spread=4.0, shifts=(-0.5, 1.0, 0.0, 0.0, 0.0, 0.0, 5.0), least=0.0),
    "final_creak": Cue(neutral=0.08, spread=0.15, shifts=(0.0, 0.0, 0.8, 5.5, 0.0, 0.0, 0.3), least=0.0, most=0.9),
}


def read(root: Path, *, seed: int = 0, speakers: int = 8, clips_per_emotion: int = 6) -> Corpus:
    """Return the built-in corpus that lies in `root`; synthesise it first if `root` is absent or empty.

    The same settings give the same bytes on every run. Files are mono WAV, 16 kHz, 16 bit, 1.5 to 4 seconds.

    Args:
        root: folder of the corpus, made when absent. It appears complete or not at all.
        seed: another seed gives other speakers and other utterances; 0 or more.
        speakers: 1 to 99; alternately male and female, "s01" is male.
        clips_per_emotion: of each speaker, 1 to 99; the sentences are taken in turn.

    Raises:
        UserError: `root` holds anything else (other settings, missing or foreign files) or cannot be written,
            or a setting is out of range.
    """
    given = {"seed": seed, "speakers": speakers, "clips_per_emotion": clips_per_emotion}
    settings = parse(_Settings, given, "synthetic corpus")
    plan = _plan(root, settings)
    try:
        if not root.exists() or (root.is_dir() and not any(root.iterdir())):
            _write(root, plan, settings)
        _check_folder(root, plan, settings)
    except OSError as error:
        raise UserError(f"{root}: cannot hold the synthetic corpus: {error.strerror}; name another folder") from None
    return Corpus(name="synthetic", utterances=tuple(plan), emotions=EMOTIONS)


def _plan(root: Path, settings: _Settings) -> list[Utterance]:
    """All utterances of the corpus, sorted by id."""
    plan = []
    for speaker in (f"s{n:02d}" for n in range(1, settings.speakers + 1)):
        for emotion in EMOTIONS:
            for take in range(settings.clips_per_emotion):
                sentence = list(SENTENCES)[take % len(SENTENCES)]
                name = f"{speaker}/{emotion}_{take + 1:02d}_{sentence}.wav"
                plan.append(Utterance(id=name, path=root / name, speaker=speaker, emotion=emotion, sentence=sentence))
    return plan


def _write(root: Path, plan: list[Utterance], settings: _Settings) -> None:
    """Synthesise the corpus beside `root` and move it there when it is complete."""
    partial = root.with_name(f".{root.name}.{secrets.token_hex(4)}.partial")
    try:
        for utterance in plan:
            path = partial / utterance.id
            path.parent.mkdir(parents=True, exist_ok=True)
            soundfile.write(path, _speak(utterance, settings.seed), SAMPLE_RATE_HZ, subtype="PCM_16")
        (partial / _SETTINGS_FILE).write_text(json.dumps({"version": _VERSION, **to_plain(settings)}) + "\n")
        partial.rename(root)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _check_folder(root: Path, plan: list[Utterance], settings: _Settings) -> None:
    """Raise UserError unless `root` holds this corpus and nothing else."""
    way_out = "name another folder or empty this one"
    found = _found_settings(root)
    if found is None:
        raise UserError(f"{root}: not a synthetic corpus (no valid {_SETTINGS_FILE}): {way_out}")
    for name, wanted in {"version": _VERSION, **to_plain(settings)}.items():
        if found.get(name) != wanted:
            raise UserError(f"{root}: holds a synthetic corpus of {name} {found.get(name)}, not {wanted}: {way_out}")
    here = {p.relative_to(root).as_posix() for p in root.rglob("*") if not p.is_dir()} - {_SETTINGS_FILE}
    expected = {utterance.id for utterance in plan}
    for what, names in (("is missing", expected - here), ("does not belong here", here - expected)):
        if names:
            more = f", and {len(names) - 1} more" if len(names) > 1 else ""
            raise UserError(f"{root}: {min(names)} {what}{more}: {way_out}")


def _found_settings(root: Path) -> dict[str, Any] | None:
    try:
        found = json.loads((root / _SETTINGS_FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return found if isinstance(found, dict) else None


def _speak(utterance: Utterance, seed: int) -> np.ndarray:
    """The sound (samples,) of one utterance: a function of the seed, speaker, emotion and take alone."""
    assert utterance.sentence is not None, "every name tells it"
    speaker = int(utterance.speaker[1:])
    emotion = EMOTIONS.index(utterance.emotion)
    take = int(utterance.id.split("_")[1])
    # The leading 1 and 2 keep the streams apart: seeds that differ in trailing zeros alone are the same seed.
    voice, expressiveness = _speaker(speaker, np.random.default_rng([1, seed, speaker]))
    rng = np.random.default_rng([2, seed, speaker, emotion, take])
    prosody = _prosody(emotion, expressiveness, rng)
    return synthesise(SENTENCES[utterance.sentence], voice, prosody, _channel(rng), rng)


def _speaker(number: int, rng: np.random.Generator) -> tuple[Voice, float]:
    """A speaker's voice, and the factor by which the speaker over- or underacts."""
    f0_hz, formant_scale = (112, 1.0) if number % 2 else (200, 1.16)
    voice = Voice(
        f0_hz=f0_hz * 2 ** (rng.normal(0, 1.8) / 12),
        formant_scale=formant_scale * rng.lognormal(sigma=0.03),
        open_noise_db=rng.normal(0, 2.5),
    )
    return voice, rng.uniform(0.8, 1.2)


def _prosody(emotion: int, expressiveness: float, rng: np.random.Generator) -> Prosody:
    drawn = {}
    for name, cue in CUES.items():
        value = cue.neutral + cue.spread * (expressiveness * cue.shifts[emotion] + rng.standard_normal())
        drawn[name] = float(np.clip(value, cue.least, cue.most))
    return Prosody(**drawn)


def _channel(rng: np.random.Generator) -> Channel:
    tilt_db = rng.normal(0, 5) * np.linspace(-1, 1, 8)
    return Channel(
        eq_db=tuple(tilt_db + rng.normal(0, 3, 8)),
        noise_db=rng.uniform(-68, -48),
        lead_s=rng.uniform(0.05, 0.5),
        tail_s=rng.uniform(0.05, 0.5),
        peak=rng.uniform(0.3, 0.9),
    )
