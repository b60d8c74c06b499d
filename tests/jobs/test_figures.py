"""jobs/figures.py as a user runs it."""

import json

import pytest
from conftest import TINY
from here import job_here
from processes import error_line

PICTURES = ("attention", "confusion", "similarity")


@pytest.fixture(scope="module")
def trained(store, tmp_path_factory):
    """A home with a trained chain, and the folder of its student."""
    folder = tmp_path_factory.mktemp("trained")
    settings = [f"{key}={value}" for key, value in TINY.items() if not isinstance(value, dict)]
    settings += [
        f"{stage}.{key}={value}".replace(" ", "")
        for stage, values in TINY.items()
        if isinstance(values, dict)
        for key, value in values.items()
    ]
    done = job_here("train.py", "--store", store.path, "--home", folder, "--out", folder / "square", *settings)
    assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture(scope="module")
def drawn(store, model, trained):
    out = trained / "figures"
    words = [trained / "square", model, "--store", store.path, "--out", out, "--similarity", "--home", trained]
    return out, job_here("figures.py", *words)


def test_the_pictures_are_there(drawn):
    out, done = drawn
    assert done.returncode == 0, done.stderr
    assert {path.name for path in out.iterdir()} == {*(f"{name}.png" for name in PICTURES), "figures.json"}
    for name in PICTURES:
        assert (out / f"{name}.png").read_bytes().startswith(b"\x89PNG")


def test_the_numbers_behind_them_are_there(drawn, store):
    out, done = drawn
    figures = json.loads((out / "figures.json").read_text())
    assert figures["clip"] in store.clip_id
    assert set(figures["models"]) == {"square", "best"}
    for measured in figures["models"].values():
        for name in ("stability", "stability of the untrained network"):
            assert set(measured[name]) == {"noise", "shift", "speed"}
            assert all(-1 <= value <= 1 for value in measured[name].values())
    assert set(figures["cosine"]) == {"with matching", "without matching"}
    assert "cosine similarity to the teacher" in done.stdout


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (["--clip", "nobody.wav"], "--clip nobody.wav"),
        (["--layer", "7"], "layer 7: the network has 1 blocks"),
        (["--smooth", "-1"], "--smooth"),
        (["--clips", "0"], "--clips"),
    ],
)
def test_what_cannot_be_drawn_is_refused(trained, store, tmp_path, words, named):
    model = trained / "square"
    line = error_line(job_here("figures.py", model, "--store", store.path, "--out", tmp_path / "out", *words))
    assert named in line
    assert not (tmp_path / "out").exists()


def test_two_models_of_one_name_are_refused(trained, store, tmp_path):
    twice = [trained / "square", trained / "figures" / ".." / "square"]
    line = error_line(job_here("figures.py", *twice, "--store", store.path, "--out", tmp_path / "out"))
    assert "the same folder name" in line


def test_a_model_is_asked_for(store, tmp_path):
    assert "no models" in error_line(job_here("figures.py", "--store", store.path, "--out", tmp_path))
