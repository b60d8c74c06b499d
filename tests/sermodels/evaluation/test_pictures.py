"""Pictures show what is where: axes in seconds and hertz."""

import dataclasses

import numpy as np
import pytest
import torch

from sermodels.evaluation.pictures import attention_figure
from sermodels.networks.factory import build_student
from sermodels.store.frontend import log_mel


@pytest.mark.parametrize("hz", [500.0, 1000.0, 4000.0])
def test_a_tone_lies_at_its_frequency_and_its_second(store, tiny_config, hz):
    frontend = store.frontend
    time = np.arange(frontend.clip_samples) / frontend.sample_rate_hz
    tone = np.where(time > 1.5, np.sin(2 * np.pi * hz * time), 0).astype(np.float32)
    pixels = store.pixels.copy()
    pixels[:4] = log_mel(torch.from_numpy(tone), frontend).numpy()
    network = build_student(tiny_config(), pixels.shape[1:], 7, seed=0).eval()
    figure = attention_figure({"tiny": network}, dataclasses.replace(store, pixels=pixels), 0)
    axes = figure.axes[0]
    (mesh,) = axes.collections
    corners = mesh.get_coordinates()
    row, column = np.unravel_index(mesh.get_array().argmax(), mesh.get_array().shape)
    low_hz, high_hz = corners[row : row + 2, 0, 1]
    assert low_hz - 20 < hz < high_hz + 20  # its bin of the spectrum may be in the neighbouring band
    assert 1.4 < corners[0, column, 0] < frontend.clip_s
    assert axes.get_xlim() == (0, frontend.clip_s)
    assert axes.get_ylim()[1] == pytest.approx(frontend.sample_rate_hz / 2, rel=0.05)


def test_only_outer_axes_are_named(store, tiny_config):
    network = build_student(tiny_config(), store.pixels.shape[1:], 7, seed=0).eval()
    axes = attention_figure({"tiny": network}, store, 0).axes
    assert [one.get_ylabel() for one in axes] == ["log-mel\nhertz", "", "", "", "tiny\nhertz", "", "", ""]
    assert [one.get_xlabel() for one in axes] == [""] * 4 + ["seconds"] * 4
