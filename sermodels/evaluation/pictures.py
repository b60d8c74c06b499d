"""Pictures of models: where they look, what they confuse, how like their teacher they are (paper, figures 6 to 8).

Colours are those of Okabe and Ito, and cividis for scales: they differ for the colour-blind, and in grey print.
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import librosa
import matplotlib
import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from sermodels.config.settings import FrontEnd
from sermodels.evaluation.attention import SMOOTH, attention_masks
from sermodels.networks.network import Network
from sermodels.store.open import Store

if TYPE_CHECKING:
    from matplotlib.typing import RcKeyType

BLUE, ORANGE, GREEN, RED, GREY = "#0072B2", "#E69F00", "#009E73", "#D55E00", "#999999"
STYLE: "dict[RcKeyType, Any]" = {
    "svg.fonttype": "none",  # text stays text: it can be found, and takes the page's font
    "font.family": "sans-serif",
    "font.size": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": "#e5e5e5",
    "axes.axisbelow": True,
    "legend.frameon": False,
    "text.parse_math": False,  # emotions and file names are the user's, and may hold a dollar
}


def draw_confusion(axes: Axes, counts: Sequence[Sequence[int]], emotions: Sequence[str]) -> None:
    """Rows are the true emotions, as shares that sum to 1, with counts below.

    Args:
        axes: empty.
        counts: [true][predicted].
        emotions: names of the rows.
    """
    table = np.array(counts)
    shares = table / np.maximum(table.sum(axis=1, keepdims=True), 1)
    axes.imshow(shares, cmap="cividis", vmin=0, vmax=1)
    for (row, column), share in np.ndenumerate(shares):
        text = f"{100 * share:.0f} %\n({table[row, column]})"
        color = "white" if share < 0.5 else "black"
        axes.text(column, row, text, ha="center", va="center", fontsize=8, color=color)
    axes.set_xticks(range(len(emotions)), emotions, rotation=40, ha="right")
    axes.set_yticks(range(len(emotions)), emotions)
    axes.set(xlabel="answered", ylabel="spoken")
    axes.grid(visible=False)


def attention_figure(
    models: Mapping[str, Network], store: Store, clip: int, layer: int | None = None, smooth: float = SMOOTH
) -> Figure:
    """The views of a clip, and below them what each model attends to (paper, figure 6).

    Args:
        models: name → network, of the store's images.
        store: that the clip is of.
        clip: its number.
        layer: of the networks, 0 being the first; None: all, by attention rollout.
        smooth: standard deviation of a Gaussian over the masks, in pixels.
    """
    rows = np.flatnonzero(store.clip == clip)
    images = store.pixels[rows].astype(np.float32)
    with matplotlib.rc_context(STYLE | {"axes.grid": False}):
        figure = Figure(figsize=(2.1 * len(rows) + 0.6, 2.0 * (1 + len(models)) + 0.4), layout="constrained")
        grid = figure.subplots(1 + len(models), len(rows), sharex=True, sharey=True, squeeze=False)
        for axes, row, image in zip(grid[0], rows, images, strict=True):
            _show(axes, image, store.frontend, cmap="gray")
            axes.set_title(_drawn(store, int(row)))
        for below, network in zip(grid[1:], models.values(), strict=True):
            pixels = torch.from_numpy(images).to(next(network.parameters()).dtype).unsqueeze(1)
            masks = attention_masks(network, pixels, layer, smooth)
            for axes, image, mask in zip(below, images, masks, strict=True):
                _show(axes, image, store.frontend, cmap="gray")
                strength = {"vmin": 0, "vmax": masks.max(), "alpha": 0.75 * mask / masks.max()}
                _show(axes, mask, store.frontend, cmap="inferno", **strength)
        for (first, *_), name in zip(grid, ("log-mel", *models), strict=True):
            first.set_ylabel(f"{name}\nhertz")
        for axes in grid.flat:
            axes.set_xlabel("seconds")
            axes.label_outer()
        emotion = store.emotions[store.emotion[rows[0]]]
        figure.suptitle(f"{store.clip_id[clip]}: {emotion}, speaker {store.speaker[rows[0]]}")
    return figure


def confusion_figure(models: Mapping[str, Sequence[Sequence[int]]], emotions: Sequence[str]) -> Figure:
    """Confusion matrices side by side: name → counts (paper, figure 7)."""
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(5.2 * len(models), 4.8), layout="constrained")
        for axes, (name, counts) in zip(figure.subplots(1, len(models), squeeze=False)[0], models.items(), strict=True):
            draw_confusion(axes, counts, emotions)
            axes.set_title(name)
    return figure


def similarity_figure(cosines: Mapping[str, np.ndarray]) -> Figure:
    """How like the teacher's a student's features are, row by row: name → cosine similarities (paper, figure 8)."""
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(6.0, 3.4), layout="constrained")
        axes = figure.subplots()
        bins = np.linspace(min(values.min() for values in cosines.values()), 1, 50)
        for color, (name, values) in zip((BLUE, ORANGE, GREEN, RED), cosines.items(), strict=False):
            label = f"{name}: mean {values.mean():.3f}"
            axes.hist(values, bins=bins.tolist(), histtype="stepfilled", alpha=0.45, color=color, label=label)
            axes.axvline(values.mean(), color=color, lw=2)
        axes.set(xlabel="cosine similarity of student and teacher features", ylabel="validation rows")
        axes.legend(loc="upper left")
    return figure


def _show(axes: Axes, image_HW: np.ndarray, frontend: FrontEnd, **drawing: Any) -> None:
    """Draw an image of the front-end, or a mask over one, on axes in seconds and hertz."""
    halves_hz = librosa.mel_frequencies(2 * frontend.n_mels + 3, fmax=frontend.sample_rate_hz / 2, htk=True)
    librosa.display.specshow(
        image_HW,
        x_coords=np.linspace(0, frontend.clip_s, frontend.width + 1),
        y_coords=halves_hz[1::2],  # a band's row ends halfway between its middle and the next one's
        x_axis="s",
        y_axis="mel",
        ax=axes,
        **drawing,
    )


def _drawn(store: Store, row: int) -> str:
    """A view's name with what was drawn for it."""
    view = store.view[row]
    drawn = {"shift": f" {store.shift_s[row]:+.2f} s", "speed": f" × {store.speed[row]:.2f}"}
    return f"{view}{drawn.get(view, '')}"
