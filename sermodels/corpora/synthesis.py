"""A source–filter formant synthesiser: a sentence, a voice and a prosody become speech-like sound.

The path is that of the cascade formant synthesiser (Klatt, 1980, "Software for a cascade/parallel formant
synthesizer"; glottal pulse as in Klatt & Klatt, 1990): glottal pulses and aspiration pass a cascade of
resonators, frication passes one filter of its own, a channel follows. Everything that moves (fundamental
frequency, formants, amplitudes, vocal effort) is a track of frames of 5 ms.

T frames of 5 ms, N samples at 16 kHz, K resonators in cascade.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import signal

Array = NDArray[np.float64]

SAMPLE_RATE_HZ = 16_000
DURATION_S = (1.5, 3.5)  # sentences that would come out shorter or longer are spoken slower or faster
_HOP = 80  # samples a frame: 5 ms
_FILTER_FRAMES = 2  # for which a filter stays as it is: half the work, and formants move slowly
_OVERSAMPLING = 4  # of the glottal pulses, whose sharp closure would otherwise alias
_MEAN_ACCENT = 0.4  # of the track over a sentence
_BREATH_DB = -48.0  # aspiration of an average neutral voice
_SOFTEST_DB = -30.0  # gain of the tense voice in the softest
_OPEN_QUOTIENT = 0.65  # share of a glottal cycle in which air flows
_UPPER_FORMANTS_HZ = (3500.0, 4500.0)  # of every sound; the lower three move
_BANDWIDTHS_HZ = (70.0, 90.0, 130.0, 220.0, 300.0)
_NEUTRAL_HZ = (500.0, 1500.0, 2500.0)  # formants of a uniform tube, towards which lax speech tends
_EQ_HZ = (0.0, 125.0, 350.0, 800.0, 1800.0, 3500.0, 5500.0, 8000.0)  # where a channel's gains are given


class Segment(NamedTuple):
    """A stretch of speech with one target for everything; amplitudes relative to a stressed vowel."""

    duration_s: float
    formants_hz: tuple[float, float, float]  # of a male vocal tract
    voicing: float = 0.0
    frication: float = 0.0
    frication_hz: float = 4000.0  # centre of the noise
    accent: float = 0.0  # how strongly its syllable is accented, about 0…1
    ending: float = 0.0  # how near the end of its phrase, 0…1


@dataclass(frozen=True, kw_only=True)
class Voice:
    """What stays the same in all that a speaker says."""

    f0_hz: float  # mean fundamental frequency of the neutral voice
    formant_scale: float  # 1 for a male vocal tract, about 1.17 for a shorter female one
    open_noise_db: float  # breathiness of the neutral voice, relative to the average speaker


@dataclass(frozen=True, kw_only=True)
class Prosody:
    """How one sentence is said; relative to the speaker's neutral voice where a level is meant."""

    f0_level_st: float  # semitones above the speaker's mean
    f0_range_st: float  # height of the pitch accents, semitones
    f0_slope_st: float  # drift of the baseline, semitones a second
    f0_tremor_st: float  # depth of a 5–7 Hz tremor, semitones
    rate: float  # 1 is about 5 syllables a second
    rhythm: float  # standard deviation of a syllable's log duration
    pause_s: float  # typical length of a pause between phrases
    accent_db: float  # how much louder an accented syllable is
    effort: float  # vocal effort, 0 soft (steep spectrum) … 1 tense (flat spectrum)
    effort_swing: float  # by how much effort is higher on an accent than between accents
    articulation: float  # 1 reaches the formant targets, 0 mumbles
    jitter: float  # standard deviation of a glottal cycle's length, relative
    breath_db: float  # aspiration, relative to the neutral voice
    final_breath_db: float  # by how much aspiration rises towards the end of a phrase
    final_creak: float  # 0…1, weakening of every other glottal cycle at the end of a phrase


@dataclass(frozen=True, kw_only=True)
class Channel:
    """Room and microphone of one recording."""

    eq_db: tuple[float, ...]  # gain at each of the eight _EQ_HZ
    noise_db: float  # noise floor relative to the peak of the speech
    lead_s: float  # silence before the speech
    tail_s: float  # silence after it
    peak: float  # largest absolute sample, below 1


class _Tracks(NamedTuple):
    """What the segments of a sentence ask for in every frame."""

    formants_hz: Array  # (T, 3), male
    voicing: Array  # (T,)
    frication: Array  # (T,)
    frication_hz: Array  # (T,)
    accent: Array  # (T,) 0 between accents, about 1 at an accented vowel
    ending: Array  # (T,) 0 at the start of a phrase, 1 at its end


_VOWELS_HZ = {
    "a": (750.0, 1250.0, 2500.0),
    "e": (420.0, 2050.0, 2600.0),
    "i": (280.0, 2250.0, 3000.0),
    "o": (420.0, 800.0, 2450.0),
    "u": (310.0, 850.0, 2300.0),
    "@": _NEUTRAL_HZ,
}
_CONSONANTS = {
    "p": (Segment(0.060, (280, 800, 2200)), Segment(0.015, (350, 850, 2200), 0.0, 0.25, 1200)),
    "t": (Segment(0.055, (280, 1700, 2700)), Segment(0.020, (350, 1700, 2700), 0.0, 0.5, 4500)),
    "k": (Segment(0.055, (280, 1900, 2300)), Segment(0.025, (350, 1900, 2300), 0.0, 0.4, 2000)),
    "b": (Segment(0.055, (220, 800, 2200), 0.12), Segment(0.010, (350, 900, 2200), 0.4, 0.1, 1200)),
    "d": (Segment(0.050, (220, 1700, 2700), 0.12), Segment(0.010, (350, 1700, 2700), 0.4, 0.2, 4000)),
    "g": (Segment(0.050, (220, 1900, 2300), 0.12), Segment(0.015, (350, 1900, 2300), 0.4, 0.2, 2000)),
    "s": (Segment(0.095, (320, 1600, 2600), 0.0, 0.35, 5500),),
    "f": (Segment(0.085, (320, 1000, 2300), 0.0, 0.12, 4500),),
    "x": (Segment(0.090, (320, 1700, 2500), 0.0, 0.35, 2700),),
    "z": (Segment(0.070, (280, 1600, 2600), 0.25, 0.15, 5500),),
    "v": (Segment(0.055, (280, 1000, 2300), 0.35, 0.05, 4000),),
    "m": (Segment(0.065, (260, 1050, 2200), 0.40),),
    "n": (Segment(0.060, (260, 1500, 2500), 0.40),),
    "l": (Segment(0.060, (350, 1250, 2700), 0.55),),
    "r": (Segment(0.050, (450, 1250, 1900), 0.50, 0.05, 2000),),
}
_VOWEL_S = 0.105
_SILENCE = Segment(0.04, _NEUTRAL_HZ)


def synthesise(sentence: str, voice: Voice, prosody: Prosody, channel: Channel, rng: np.random.Generator) -> Array:
    """Speak one sentence.

    Args:
        sentence: syllables of a consonant and a vowel, apart by spaces; "'" begins an accented one, "|" is a
            pause.
        voice: the speaker.
        prosody: the manner.
        channel: the recording.
        rng: source of all that is random in it: noise, jitter, the exact height of each accent.

    Returns:
        Samples (N,) at 16 kHz within ±channel.peak; `DURATION_S` long, plus the silences around.
    """
    tracks = _tracks(sentence, prosody, rng)
    gain = 10 ** (prosody.accent_db * (tracks.accent - 1) / 20)
    effort = prosody.effort + prosody.effort_swing * (tracks.accent - _MEAN_ACCENT)
    creak = prosody.final_creak * tracks.ending
    flow, openness = _glottis(_f0_hz(tracks, voice, prosody, rng), creak, prosody.jitter, rng)
    source = _at_samples(tracks.voicing * gain) * _with_effort(flow, _at_samples(np.clip(effort, 0, 1)))
    breath_db = _BREATH_DB + voice.open_noise_db + prosody.breath_db + prosody.final_breath_db * tracks.ending
    loud = np.maximum(tracks.voicing, 0.5 * tracks.frication) * np.sqrt(gain) * 10 ** (breath_db / 20)
    source += _at_samples(loud) * (0.3 + openness) * rng.standard_normal(len(source))
    speech = _filter(source, _resonators(*_formants_hz(tracks.formants_hz, voice, prosody)))
    noise = _at_samples(tracks.frication * gain) * rng.standard_normal(len(source))
    speech += _frication(noise, tracks.frication_hz * voice.formant_scale)
    return _record(speech, channel, rng)


def _tracks(sentence: str, prosody: Prosody, rng: np.random.Generator) -> _Tracks:
    segments = _segments(sentence, prosody, rng)
    durations = np.array([s.duration_s for s in segments])
    durations *= np.clip(durations.sum(), *DURATION_S) / durations.sum()
    frames = np.maximum(1, np.diff(np.round(np.cumsum([0, *durations]) * SAMPLE_RATE_HZ / _HOP))).astype(int)

    def track(values: Sequence[float] | Sequence[tuple[float, ...]], width: int) -> Array:
        return _smooth(np.repeat(np.array(values, dtype=float), frames, axis=0), width)

    return _Tracks(
        formants_hz=track([s.formants_hz for s in segments], 13),
        voicing=track([s.voicing for s in segments], 5),
        frication=track([s.frication for s in segments], 5),
        frication_hz=track([s.frication_hz for s in segments], 5),
        accent=track([s.accent for s in segments], 25),
        ending=track([s.ending for s in segments], 33),
    )


def _segments(sentence: str, prosody: Prosody, rng: np.random.Generator) -> list[Segment]:
    """All segments of a sentence, with the durations and accents of this time."""
    segments = [_SILENCE]
    for phrase in sentence.split("|"):
        syllables = phrase.split()
        for place, syllable in enumerate(syllables, start=1):
            segments += _syllable(syllable, len(syllables) - place, prosody, rng)
        pause_s = prosody.pause_s * rng.lognormal(sigma=0.4)
        segments.append(segments[-1]._replace(duration_s=pause_s, voicing=0.0))
    return [*segments[:-1], _SILENCE]


def _syllable(syllable: str, to_come: int, prosody: Prosody, rng: np.random.Generator) -> list[Segment]:
    """The segments of one syllable, of which `to_come` follow in its phrase."""
    accented = syllable.startswith("'")
    stretch = (1.25 if accented else 0.9) * (1.0 if to_come else 1.3) / prosody.rate
    stretch *= rng.lognormal(sigma=prosody.rhythm)
    accent = rng.normal(1.0, 0.2) if accented else rng.normal(0.05, 0.1)
    ending = max(0.0, 1 - to_come / 2)
    consonant, vowel = tuple(syllable.removeprefix("'"))
    spoken = [*_CONSONANTS[consonant], Segment(_VOWEL_S, _VOWELS_HZ[vowel], 1.0)]
    return [s._replace(duration_s=s.duration_s * stretch, accent=accent, ending=ending) for s in spoken]


def _smooth(track: Array, width: int) -> Array:
    """Let targets (T, …) flow into one another, by a Hann window of an odd number of frames; ends held."""
    window = signal.windows.hann(width + 2)[1:-1]
    window = (window / window.sum()).reshape(-1, *[1] * (track.ndim - 1))
    held = np.pad(track, [(width // 2, width // 2), *[(0, 0)] * (track.ndim - 1)], mode="edge")
    smoothed: Array = signal.convolve(held, window, mode="valid", method="direct")
    return smoothed


def _at_samples(track: Array, rate: int = 1) -> Array:
    """Interpolate a track (T,) of frames to (T · _HOP · rate,) samples."""
    return np.interp(np.arange(len(track) * _HOP * rate) / (_HOP * rate), np.arange(len(track)), track)


def _f0_hz(tracks: _Tracks, voice: Voice, prosody: Prosody, rng: np.random.Generator) -> Array:
    """Fundamental frequency (T,): level, accents, drift, tremor and a little wander."""
    time_s = np.arange(len(tracks.accent)) * _HOP / SAMPLE_RATE_HZ
    wander = _smooth(rng.standard_normal(len(time_s)), 41)
    tremor = np.sin(2 * np.pi * (rng.uniform(5, 7) * time_s + rng.random()))
    semitones = (
        prosody.f0_level_st
        + prosody.f0_range_st * (tracks.accent - _MEAN_ACCENT)
        + prosody.f0_slope_st * (time_s - time_s[-1] / 2)
        + prosody.f0_tremor_st * tremor
        + wander
    )
    f0_hz: Array = np.clip(voice.f0_hz * 2 ** (semitones / 12), 60, 600)
    return f0_hz


def _glottis(f0_hz: Array, creak: Array, jitter: float, rng: np.random.Generator) -> tuple[Array, Array]:
    """Derivative of the glottal flow (N,), and how open the glottis is (N,), 0…1; pitch and creak are (T,)."""
    step = _at_samples(f0_hz, _OVERSAMPLING) / (SAMPLE_RATE_HZ * _OVERSAMPLING)  # cycles a sample
    cycle = np.cumsum(step).astype(int)
    phase = np.cumsum(step * (1 + jitter * rng.standard_normal(cycle[-1] + 1))[cycle])
    cycle, starts = phase.astype(int), np.flatnonzero(np.diff(phase.astype(int), prepend=-1))
    size = 1 + 4 * jitter * rng.standard_normal(len(starts))  # shimmer goes with jitter
    size[1::2] *= 1 - _at_samples(creak, _OVERSAMPLING)[starts[1::2]]
    place = np.minimum((phase - cycle) / _OPEN_QUOTIENT, 1)
    slope = np.where(place < 1, 2 * place - 3 * place**2, 0.0)
    openness = place**2 * (1 - place) * 6.75
    return signal.resample_poly(size[cycle] * slope, 1, _OVERSAMPLING), openness[::_OVERSAMPLING]


def _with_effort(flow: Array, effort: Array) -> Array:
    """Fade the flow (N,) between a soft voice, its spectrum 12 dB an octave steeper, and a tense one (N,)."""
    pole = np.exp(-2 * np.pi * 700 / SAMPLE_RATE_HZ)
    soft: Array = signal.lfilter([(1 - pole) ** 2], np.poly([pole, pole]), flow)
    return 10 ** (_SOFTEST_DB * (1 - effort) / 20) * flow + soft


def _formants_hz(lower_hz: Array, voice: Voice, prosody: Prosody) -> tuple[Array, Array]:
    """Formants (T, K) of this speaker and manner, and their bandwidths (T, K)."""
    neutral = np.array(_NEUTRAL_HZ)
    lower = neutral + prosody.articulation * (lower_hz - neutral)
    upper = np.broadcast_to(_UPPER_FORMANTS_HZ, (len(lower), len(_UPPER_FORMANTS_HZ)))
    formants = voice.formant_scale * np.concatenate([lower, upper], axis=1)
    return formants, np.broadcast_to(_BANDWIDTHS_HZ, formants.shape)


def _resonators(centres_hz: Array, bandwidths_hz: Array) -> Array:
    """Second-order sections (T, K, 6) of Klatt's resonators, gain 1 at 0 Hz; centres and bandwidths (T, K)."""
    radius = np.exp(-np.pi * bandwidths_hz / SAMPLE_RATE_HZ)
    a1 = -2 * radius * np.cos(2 * np.pi * centres_hz / SAMPLE_RATE_HZ)
    a2 = radius**2
    zero = np.zeros_like(a1)
    return np.stack([1 + a1 + a2, zero, zero, zero + 1, a1, a2], axis=-1)


def _frication(noise: Array, centre_hz: Array) -> Array:
    """Limit noise (N,) to a band about 1500 Hz wide around a moving centre (T,), where its gain is about 1."""
    sections = _resonators(np.minimum(centre_hz, 7000)[:, None], np.full((len(centre_hz), 1), 1500.0))
    sections[..., 0] = (1 - sections[..., 5]) / 2
    return _filter(signal.lfilter([1, 0, -1], [1], noise), sections)


def _filter(source: Array, sections: Array) -> Array:
    """Pass a signal (N,) through all-pole sections in series (T, K, 6) that change in time."""
    last = np.zeros((2, sections.shape[1]))  # the last two outputs of each section
    out = np.empty_like(source)
    hop = _FILTER_FRAMES * _HOP
    for place, section in enumerate(sections[::_FILTER_FRAMES]):
        a1, a2 = section[:, 4], section[:, 5]
        # scipy's state is made of outputs times coefficients; kept over a change of these, it would click.
        state = np.stack([-a1 * last[0] - a2 * last[1], -a2 * last[0]], axis=1)
        part = slice(place * hop, (place + 1) * hop)
        out[part], state = signal.sosfilt(section, source[part], zi=state)
        last[0] = -state[:, 1] / a2
        last[1] = -(state[:, 0] + a1 * last[0]) / a2
    return out


def _record(speech: Array, channel: Channel, rng: np.random.Generator) -> Array:
    """Put speech (N,) into its room: silences, noise floor, the microphone's frequency response, level."""
    silences = [round(s * SAMPLE_RATE_HZ) for s in (channel.lead_s, channel.tail_s)]
    speech = np.pad(speech / np.abs(speech).max(), silences)
    room = signal.lfilter([1.0], [1.0, -0.8], rng.standard_normal(len(speech)))
    heard = speech + 10 ** (channel.noise_db / 20) * room
    gains = 10 ** (np.array(channel.eq_db) / 20)
    microphone = signal.firwin2(255, _EQ_HZ, gains, fs=SAMPLE_RATE_HZ)
    recorded: Array = signal.fftconvolve(heard, microphone, mode="same")
    loudest: float = np.abs(recorded).max()
    return channel.peak * recorded / loudest
