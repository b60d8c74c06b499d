"""A store with shuffled columns has the same clips and pixels, in another order, and is another store."""

import numpy as np

from sermodels.store.shuffle import shuffled, shuffled_fingerprint


def test_every_image_keeps_its_columns_and_loses_their_order(store, tmp_path):
    copy = shuffled(store, tmp_path / "shuffled.arrow")
    copy.verify()
    assert copy.pixels.shape == store.pixels.shape
    moved = 0
    for own, original in zip(copy.pixels, store.pixels, strict=True):
        assert np.array_equal(np.sort(own, axis=1), np.sort(original, axis=1)), "each mel band has the same pixels"
        columns = sorted(map(bytes, np.ascontiguousarray(original.T)))
        assert sorted(map(bytes, np.ascontiguousarray(own.T))) == columns, "columns move as a whole"
        moved += not np.array_equal(own, original)
    assert moved == len(store.pixels)


def test_the_copy_is_another_store_of_the_same_clips(store, tmp_path):
    copy, other = (shuffled(store, tmp_path / f"{seed}.arrow", seed) for seed in (0, 1))
    assert len({store.fingerprint, copy.fingerprint, other.fingerprint}) == 3
    assert copy.fingerprint == shuffled_fingerprint(store), "known before it is written"
    assert copy.corpus == "synthetic, columns shuffled"
    for column in ("speaker", "emotion", "view", "clip", "sentence", "duration_s"):
        assert np.array_equal(getattr(copy, column), getattr(store, column)), column
    assert copy.clip_id == store.clip_id


def test_the_copy_is_written_once_and_the_same_whenever(store, tmp_path):
    first = shuffled(store, tmp_path / "one.arrow")
    written = (tmp_path / "one.arrow").stat().st_mtime_ns
    again = shuffled(store, tmp_path / "one.arrow")
    assert (tmp_path / "one.arrow").stat().st_mtime_ns == written
    elsewhere = shuffled(store, tmp_path / "two.arrow")
    assert first.fingerprint == again.fingerprint == elsewhere.fingerprint
    assert (tmp_path / "one.arrow").read_bytes() == (tmp_path / "two.arrow").read_bytes()
