"""The built-in corpus: the same bytes every time, all or nothing on disk, and sound that behaves like speech."""

import hashlib
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import librosa
import numpy as np
import pytest
import soundfile

from sermodels.corpora import synthetic
from sermodels.corpora.synthesis import SAMPLE_RATE_HZ, Channel, Prosody, Voice, synthesise
from sermodels.corpora.utterance import Corpus
from sermodels.errors import UserError

FLAT = Prosody(
    f0_level_st=0.0,
    f0_range_st=0.0,
    f0_slope_st=0.0,
    f0_tremor_st=0.0,
    rate=1.0,
    rhythm=0.0,
    pause_s=0.2,
    accent_db=0.0,
    effort=0.6,
    effort_swing=0.0,
    articulation=1.0,
    jitter=0.0,
    breath_db=0.0,
    final_breath_db=0.0,
    final_creak=0.0,
)
MAN = Voice(f0_hz=120.0, formant_scale=1.0, open_noise_db=0.0)
LEAST = {"seed": 0, "speakers": 1, "clips_per_emotion": 1}
CLEAN = Channel(eq_db=(0.0,) * 8, noise_db=-80.0, lead_s=0.1, tail_s=0.1, peak=0.5)


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    return synthetic.read(tmp_path_factory.mktemp("corpora") / "small", seed=3, speakers=4, clips_per_emotion=2)


@pytest.fixture(scope="module")
def pitch(corpus: Corpus) -> dict[str, np.ndarray]:
    """Of the utterances of the first sentence: their fundamental frequency where voiced, semitones above 1 Hz."""
    return {u.id: _pitch_st(u.path) for u in corpus.utterances if u.sentence == "a"}


def _pitch_st(path: Path) -> np.ndarray:
    samples, _ = librosa.load(path, sr=8000)
    f0_hz, voiced, _ = librosa.pyin(
        samples, fmin=60, fmax=600, sr=8000, frame_length=512, hop_length=160, resolution=0.2
    )
    return 12 * np.log2(f0_hz[voiced])


def _digests(root: Path) -> dict[str, str]:
    return {
        path.relative_to(root).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() for path in root.rglob("*.wav")
    }


def _say(sentence: str, prosody: Prosody = FLAT, voice: Voice = MAN) -> np.ndarray:
    return synthesise(sentence, voice, prosody, CLEAN, np.random.default_rng(0))


def _energy(samples: np.ndarray, low_hz: float, high_hz: float) -> float:
    spectrum = np.abs(np.fft.rfft(samples)) ** 2
    hz = np.fft.rfftfreq(len(samples), 1 / SAMPLE_RATE_HZ)
    return spectrum[(hz >= low_hz) & (hz < high_hz)].sum()


def test_every_speaker_says_the_same_in_every_emotion(corpus: Corpus) -> None:
    assert corpus.emotions == tuple(sorted(corpus.emotions))
    assert [u.id for u in corpus.utterances] == sorted(u.id for u in corpus.utterances)
    said = Counter((u.speaker, u.emotion, u.sentence) for u in corpus.utterances)
    assert len(said) == len(corpus.utterances) == 4 * 7 * 2
    assert {u.speaker for u in corpus.utterances} == {"s01", "s02", "s03", "s04"}
    assert len({sentence for _, _, sentence in said}) == 2


def test_files_are_16_khz_16_bit_of_plausible_length_and_not_clipped(corpus: Corpus) -> None:
    for utterance in corpus.utterances:
        info = soundfile.info(utterance.path)
        assert (info.samplerate, info.channels, info.subtype) == (16_000, 1, "PCM_16")
        assert 1.5 <= info.duration <= 4.0
        assert 0.2 < np.abs(soundfile.read(utterance.path)[0]).max() < 0.95


def test_same_bytes_again_and_in_a_smaller_corpus(corpus: Corpus, tmp_path: Path) -> None:
    synthetic.read(tmp_path / "again", seed=3, speakers=2, clips_per_emotion=1)
    again, first = _digests(tmp_path / "again"), _digests(corpus.utterances[0].path.parents[1])
    assert len(again) == 14
    assert again.items() <= first.items()


def test_every_utterance_and_every_seed_sounds_different(corpus: Corpus, tmp_path: Path) -> None:
    other = synthetic.read(tmp_path / "other", seed=4, speakers=1, clips_per_emotion=1)
    digests = [*_digests(corpus.utterances[0].path.parents[1]).values(), *_digests(tmp_path / "other").values()]
    assert len(set(digests)) == len(digests) == len(corpus.utterances) + len(other.utterances)


def test_reading_back_changes_nothing(corpus: Corpus) -> None:
    root = corpus.utterances[0].path.parents[1]
    before = {path: path.stat().st_mtime_ns for path in root.rglob("*")}
    assert synthetic.read(root, seed=3, speakers=4, clips_per_emotion=2) == corpus
    assert {path: path.stat().st_mtime_ns for path in root.rglob("*")} == before


@pytest.fixture(scope="module")
def least(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the smallest corpus, which was empty before. Read-only."""
    folder = tmp_path_factory.mktemp("least")
    assert len(synthetic.read(folder, **LEAST).utterances) == 7
    return folder


def test_an_empty_folder_is_filled(least: Path) -> None:
    assert len(list(least.rglob("*.wav"))) == 7


def _nothing(root: Path) -> None:
    pass


def _foreign_file(root: Path) -> None:
    (root / "s01" / "notes.txt").write_text("mine")


def _missing_clip(root: Path) -> None:
    (root / "s01" / "anger_01_a.wav").unlink()


def _no_settings(root: Path) -> None:
    (root / "corpus.json").unlink()


def _broken_settings(root: Path) -> None:
    (root / "corpus.json").write_text("[1")


@pytest.mark.parametrize(
    ("spoil", "changed", "said"),
    [
        (_nothing, {"seed": 1}, "seed 0, not 1"),
        (_nothing, {"speakers": 2}, "speakers 1, not 2"),
        (_nothing, {"clips_per_emotion": 2}, "clips_per_emotion 1, not 2"),
        (_foreign_file, {}, "s01/notes.txt does not belong here"),
        (_missing_clip, {}, "s01/anger_01_a.wav is missing"),
        (_no_settings, {}, "corpus.json"),
        (_broken_settings, {}, "corpus.json"),
    ],
)
def test_a_folder_that_holds_anything_else_is_refused(
    least: Path, tmp_path: Path, spoil: Callable[[Path], None], changed: dict[str, int], said: str
) -> None:
    shutil.copytree(least, tmp_path, dirs_exist_ok=True)
    spoil(tmp_path)
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(UserError, match=said) as caught:
        synthetic.read(tmp_path, **{**LEAST, **changed})
    assert str(tmp_path) in str(caught.value)
    assert "\n" not in str(caught.value)
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize(
    ("setting", "value", "allowed"),
    [
        ("seed", -1, "greater than or equal to 0"),
        ("seed", 2**63, f"less than {2**63}"),
        ("speakers", 0, "greater than or equal to 1"),
        ("speakers", 100, "less than or equal to 99"),
        ("speakers", True, "a valid integer"),
        ("clips_per_emotion", 0, "greater than or equal to 1"),
        ("clips_per_emotion", 100, "less than or equal to 99"),
        ("clips_per_emotion", 2.0, "a valid integer"),
        ("clips_per_emotion", "2", "a valid integer"),
    ],
)
def test_a_setting_out_of_range_is_refused(tmp_path: Path, setting: str, value: object, allowed: str) -> None:
    with pytest.raises(UserError) as caught:
        synthetic.read(tmp_path / "corpus", **{setting: value})
    assert str(caught.value) == f"synthetic corpus: {setting}: Input should be {allowed} (found {value!r})"
    assert not any(tmp_path.iterdir())


def test_a_file_in_the_place_of_the_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    for root in (tmp_path / "file", tmp_path / "file" / "corpus"):
        with pytest.raises(UserError, match="file"):
            synthetic.read(root, speakers=1, clips_per_emotion=1)
    assert (tmp_path / "file").read_text() == "mine"


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL])
def test_an_interrupted_synthesis_leaves_no_corpus(tmp_path: Path, how: signal.Signals) -> None:
    code = "import sys, pathlib; from sermodels.corpora import synthetic; synthetic.read(pathlib.Path(sys.argv[1]))"
    root = tmp_path / "corpus"
    process = subprocess.Popen(
        [sys.executable, "-c", code, str(root)],
        stderr=subprocess.DEVNULL,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # ignored where tests run behind a shell's &
    )
    deadline = time.monotonic() + 60
    while not list(tmp_path.rglob("*.wav")) and time.monotonic() < deadline:
        time.sleep(0.02)
    process.send_signal(how)
    assert process.wait(timeout=60) != 0
    assert not root.exists()
    if how is signal.SIGINT:
        assert not any(tmp_path.iterdir())


def test_women_speak_higher_than_men(corpus: Corpus, pitch: dict[str, np.ndarray]) -> None:
    mean = {
        speaker: np.mean([np.median(semitones) for name, semitones in pitch.items() if name.startswith(speaker)])
        for speaker in ("s01", "s02", "s03", "s04")
    }
    assert min(mean["s02"], mean["s04"]) > max(mean["s01"], mean["s03"]) + 3  # semitones


def test_emotions_differ_in_pitch_range_and_overlap(corpus: Corpus, pitch: dict[str, np.ndarray]) -> None:
    ranges = {
        emotion: [np.subtract(*np.percentile(pitch[name], [90, 10])) for name in pitch if f"/{emotion}_" in name]
        for emotion in corpus.emotions
    }
    mean = {emotion: np.mean(values) for emotion, values in ranges.items()}
    assert min(mean["anger"], mean["happiness"]) > max(mean["boredom"], mean["sadness"]) + 2  # semitones
    guessed = [
        emotion == min(mean, key=lambda other: abs(mean[other] - value))
        for emotion, values in ranges.items()
        for value in values
    ]
    assert np.mean(guessed) < 0.7  # pitch range alone does not tell the emotion


def test_hurried_and_slow_emotions_differ_in_length(corpus: Corpus) -> None:
    seconds = {
        emotion: np.mean([soundfile.info(u.path).duration for u in corpus.utterances if u.emotion == emotion])
        for emotion in ("anxiety", "sadness")
    }
    assert seconds["sadness"] > seconds["anxiety"] + 0.2


def test_voice_is_harmonic() -> None:
    vowel = _say("ma ma ma ma ma ma ma ma")[8000:24000]
    on = sum(_energy(vowel, 120 * k - 20, 120 * k + 20) for k in range(1, 9))
    between = sum(_energy(vowel, 120 * k + 40, 120 * k + 80) for k in range(1, 9))
    assert on > 10 * between


def test_formants_tell_vowels_apart_and_scale_with_the_vocal_tract() -> None:
    def brightness(samples: np.ndarray) -> float:
        return _energy(samples, 1900, 2600) / _energy(samples, 600, 1400)

    assert brightness(_say("li li li li li li li")) > 10 * brightness(_say("la la la la la la la"))
    short = Voice(f0_hz=120.0, formant_scale=1.2, open_noise_db=0.0)
    centroids = [
        librosa.feature.spectral_centroid(y=_say("la la la la la la", voice=v), sr=16_000) for v in (MAN, short)
    ]
    assert centroids[1].mean() > 1.08 * centroids[0].mean()


def test_sibilants_are_noise_above_4_khz_and_pauses_are_silent() -> None:
    samples = _say("ma ma ma | ma ma sa")
    level = librosa.feature.rms(y=samples, frame_length=512, hop_length=80)[0]
    spoken = np.flatnonzero(level > 0.05 * level.max())
    longest_gap_s = np.diff(spoken).max() * 80 / SAMPLE_RATE_HZ
    assert 0.1 < longest_gap_s < 0.5
    high = [_energy(part, 4000, 8000) / _energy(part, 0, 8000) for part in np.array_split(samples, 60)]
    assert max(high) > 0.8
    assert np.median(high) < 0.1


def test_moving_formants_make_no_clicks() -> None:
    samples = _say("la ni mu la ni mu la ni")
    assert _energy(samples, 5000, 8000) < 1e-5 * _energy(samples, 0, 8000)


def test_what_a_manner_changes_is_heard() -> None:
    words = "'la na 'ma li na 'la ma na"

    def high_share(prosody: Prosody) -> float:
        samples = _say(words, prosody)
        return _energy(samples, 2000, 8000) / _energy(samples, 0, 8000)

    assert high_share(replace(FLAT, effort=1.0)) > 4 * high_share(replace(FLAT, effort=0.5))
    assert high_share(replace(FLAT, breath_db=30.0)) > 4 * high_share(FLAT)
    quick, slow = (_say(f"{words} {words}", replace(FLAT, rate=rate)) for rate in (1.3, 0.9))
    assert len(slow) > 1.3 * len(quick)


def test_creak_at_the_end_of_a_phrase_halves_the_pitch() -> None:
    def subharmonics(samples: np.ndarray) -> float:
        return sum(_energy(samples, 60 + 120 * k - 15, 60 + 120 * k + 15) for k in range(5)) / _energy(samples, 0, 600)

    clear, creaky = (_say("la na la na la na la na", replace(FLAT, final_creak=creak)) for creak in (0.0, 0.7))
    assert subharmonics(creaky[-8000:-2000]) > 5 * subharmonics(clear[-8000:-2000])
    assert subharmonics(creaky[3000:9000]) < 2 * subharmonics(clear[3000:9000])
