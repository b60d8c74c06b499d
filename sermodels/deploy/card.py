"""The model card: what a stranger should know before using a model."""

import math
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import jinja2

from sermodels.bundle import FINGERPRINT, Bundle
from sermodels.corpora.terms import terms
from sermodels.intervals import Interval, over_speakers
from sermodels.metrics import uar, wa
from sermodels.profile import count_macs, count_parameters

FEW_SPEAKERS = 5  # of whom an interval says little


def card(bundle: Bundle, *, model_bytes: int, milliseconds: float, cpu: str, checks: Sequence[str]) -> str:
    """The text of a model's README.md.

    Args:
        bundle: of the model, with `metrics` as `evaluate.run_figures` and `evaluate.test_report` give them; what they
            lack, such as a test, the card says was not measured.
        model_bytes: size of its ONNX graph.
        milliseconds: that it takes for a clip.
        cpu: name of the processor they were measured on.
        checks: what was found in order when it was exported, a sentence each.
    """
    metrics, image = bundle.metrics, (bundle.frontend.n_mels, bundle.frontend.width)
    fold = f"fold {bundle.config.lanes[0][0]}"
    environment = jinja2.Environment(undefined=jinja2.StrictUndefined, keep_trailing_newline=True)
    page = environment.from_string(Path(__file__).with_name("card.md.j2").read_text(encoding="utf-8"))
    return page.render(
        config=bundle.config,
        emotions=bundle.emotions,
        frontend=bundle.frontend,
        clip_s=f"{bundle.frontend.clip_s:g}",
        terms=terms(metrics.get("corpus", "")),
        fingerprint=metrics[FINGERPRINT],
        sides=metrics.get("sides", {}).get(fold),
        validation=metrics.get("validation"),
        selection=metrics.get("selection", {}),
        **_test(metrics.get("test")),
        parameters=count_parameters(bundle.network),
        macs=count_macs(bundle.network, image),
        megabytes=model_bytes / 1e6,
        milliseconds=milliseconds,
        cpu=cpu,
        checks=checks,
    )


def _test(test: dict[str, Any] | None) -> dict[str, Any]:
    """The figures of the exported network, with what they are worth."""
    if not test:
        return {"test": None}
    confusions = test.get("confusion_by_speaker")
    if confusions is None:  # of a sweep that finished before there were intervals
        first = test["lanes"][0]
        return {"test": test, "test_uar": f"{first['uar']:.3f}", "test_wa": f"{first['wa']:.3f}", "few": None}
    # One network, but it is this one that the figures are of: only its speakers are drawn.
    interval = partial(over_speakers, confusions, networks=len(confusions))
    few = ", of whom there are too few for the interval to say much" if len(confusions) < FEW_SPEAKERS else ""
    return {"test": test, "test_uar": _shown(interval(figure=uar)), "test_wa": _shown(interval(figure=wa)), "few": few}


def _shown(figure: Interval) -> str:
    if math.isinf(figure.low):
        return f"{figure.value:.3f} (one speaker: no interval)"
    return f"{figure.value:.3f} [{figure.low:.3f}, {figure.high:.3f}]"
