"""`build`: building a spectrogram store, against a loop over the files written from librosa's documentation.

Both make the same four views of every recording with the same front-end and keep the same float16 images: the
recordings' own agree to a rounding of float16. Both use a process a core, of one thread each. The builder also hashes
sources and images, and reads all of it back to verify it; the loop saves an array a recording. The builder runs before
and after the loop, and its slower time counts. Two minutes on two cores.
"""

import os
import time
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path

import librosa
import numpy as np
import scipy.ndimage
import soundfile
import torch
import torchaudio
from threadpoolctl import threadpool_limits

from jobs.benchmarks.inputs import recordings
from jobs.benchmarks.result import Result
from jobs.shared.progress import counted
from sermodels.config.settings import Augmentation, FrontEnd
from sermodels.corpora.utterance import Corpus, Utterance
from sermodels.store.build import build
from sermodels.store.frontend import VIEWS
from sermodels.store.open import Store

CLIPS = 2100
SAME = 2**-10  # two roundings to float16 of a number below 1
SETTINGS, AUGMENTATION = FrontEnd(), Augmentation()


def measure(scratch: Path, clips: int = CLIPS) -> Result:
    """Build a store of synthetic recordings both ways.

    Raises:
        ArithmeticError: the images differ, so that the times compare nothing.
    """
    torch.set_num_threads(1)
    cores, corpus = len(os.sched_getaffinity(0)), recordings(scratch / "recordings", clips)
    before, _ = _build(corpus, scratch / "before.arrow", cores)
    loop = _loop(corpus, scratch / "arrays", cores)
    after, store = _build(corpus, scratch / "after.arrow", cores)
    difference = _difference(store, scratch / "arrays")
    ours, arithmetic_s = max(before, after, key=lambda clock: clock.total_s), _arithmetic_s(corpus)
    most, count = cores / arithmetic_s, len(corpus.utterances)
    return Result(
        name="build",
        compared=f"building a store of {count} synthetic recordings of 1.5 to 4 s, each as four views, against a loop "
        f"over the files with librosa; {cores} processes each",
        value=loop.total_s / ours.total_s,
        unit="× more clips a second",
        required="≥ 3",
        limit=f"decoding, resampling and the FFTs of shown frames alone, on every core: {most:.0f} clips a second, "
        f"{most * loop.total_s / count:.1f}×",
        parts={
            "store_clips_per_s": count / ours.total_s,
            "loop_clips_per_s": count / loop.total_s,
            "store_clips_per_s_without_start": ours.steady_per_s,
            "loop_clips_per_s_without_start": loop.steady_per_s,
            "ratio_without_start": ours.steady_per_s / loop.steady_per_s,
            "store_before_s": before.total_s,
            "loop_s": loop.total_s,
            "store_after_s": after.total_s,
            "decode_resample_fft_s_per_clip_and_core": arithmetic_s,
            "largest_difference_of_pixels": difference,
        },
    )


class _Clock:
    """When each clip was done; made when the work begins."""

    def __init__(self) -> None:
        self._began, self._done = time.perf_counter(), []
        self.total_s = 0.0

    def clip(self) -> None:
        self._done.append(time.perf_counter())

    def end(self) -> None:
        self.total_s = time.perf_counter() - self._began

    @property
    def steady_per_s(self) -> float:
        """Clips a second over the last three quarters: processes have started, nothing is verified yet."""
        skipped = len(self._done) // 4
        return (len(self._done) - 1 - skipped) / (self._done[-1] - self._done[skipped])


def _build(corpus: Corpus, out: Path, workers: int) -> tuple[_Clock, Store]:
    clock = _Clock()
    with counted("clips of the store") as progress:

        def tell(done: int, total: int) -> None:
            clock.clip()
            progress(done, total)

        store = build(corpus, out, SETTINGS, AUGMENTATION, seed=0, workers=workers, strict=True, progress=tell)
    clock.end()
    return clock, store


def _loop(corpus: Corpus, out: Path, workers: int) -> _Clock:
    out.mkdir()
    clock, total = _Clock(), len(corpus.utterances)
    with ProcessPoolExecutor(workers, initializer=threadpool_limits, initargs=(1,)) as pool, counted("clips") as tell:
        for done, _ in enumerate(pool.map(partial(_transform, out), corpus.utterances, chunksize=8), start=1):
            clock.clip()
            tell(done, total)
    clock.end()
    return clock


def _transform(out: Path, utterance: Utterance) -> None:
    """One recording as the loop does it: four images in one array."""
    rate_hz, rng = SETTINGS.sample_rate_hz, np.random.default_rng()
    y, _ = librosa.load(utterance.path, sr=rate_hz)
    noise = rng.standard_normal(len(y), dtype=np.float32) * np.sqrt(np.mean(y**2))
    noisy = y + noise * 10 ** (-rng.uniform(*AUGMENTATION.snr_db) / 20)
    shift = round(rate_hz * rng.uniform(*AUGMENTATION.shift_s))
    shifted = np.pad(y, (shift, 0)) if shift > 0 else y[-shift:]
    speed = round(rng.uniform(*AUGMENTATION.speed), 2)
    faster = librosa.resample(y, orig_sr=rate_hz * speed, target_sr=rate_hz)
    images = np.stack([_image(waveform) for waveform in (y, noisy, shifted, faster)])
    np.save(out / f"{utterance.id.replace('/', '_')}.npy", images.astype(np.float16))


def _image(y: np.ndarray) -> np.ndarray:
    power = librosa.feature.melspectrogram(
        y=librosa.util.fix_length(y, size=SETTINGS.clip_samples),
        sr=SETTINGS.sample_rate_hz,
        n_fft=SETTINGS.n_fft,
        hop_length=SETTINGS.hop_length,
        win_length=SETTINGS.win_length,
        window="hamming",
        n_mels=SETTINGS.n_mels,
        pad_mode="constant",
        htk=True,
        norm=None,
    )
    level_db = librosa.power_to_db(power, ref=np.max, amin=1e-30, top_db=-SETTINGS.floor_db)
    image = 1 - level_db / SETTINGS.floor_db
    scale = SETTINGS.width / image.shape[1]
    return scipy.ndimage.zoom(image, (1, scale), order=1, mode="nearest", grid_mode=True)


def _difference(store: Store, arrays: Path) -> float:
    """The largest difference of the recordings' own images; the altered views are drawn apart."""
    differences = [
        np.abs(store.pixels[clip * len(VIEWS)] - np.load(arrays / f"{name.replace('/', '_')}.npy")[0]).max()
        for clip, name in enumerate(store.clip_id)
    ]
    if not max(differences) <= SAME:
        raise ArithmeticError(f"images differ by {max(differences)}: the two sides do not make the same")
    return float(max(differences))


def _arithmetic_s(corpus: Corpus, clips: int = 20) -> float:
    """Seconds a clip, on one core, of what no builder can leave out: decoding, the speed view's samples, the FFTs."""
    total_s = 0.0
    for utterance in corpus.utterances[:: len(corpus.utterances) // clips][:clips]:
        share = min(1, soundfile.info(utterance.path).frames / SETTINGS.clip_samples)
        frames = round(2 * SETTINGS.width * share)  # a column of the image is made from two
        framed = torch.zeros(frames, SETTINGS.n_fft, dtype=torch.float64)
        began = time.perf_counter()
        waveform = torch.from_numpy(soundfile.read(utterance.path, dtype="float32")[0])
        torchaudio.functional.resample(waveform, 97, 100)
        for _ in VIEWS:
            for part in framed.split(128):  # in parts that fit the cache, the fastest way
                torch.fft.rfft(part)
        total_s += time.perf_counter() - began
    return total_s / clips
