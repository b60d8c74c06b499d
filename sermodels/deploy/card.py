"""The model card: what a stranger should know before using a model."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jinja2
import numpy as np

from sermodels.config.settings import Protocol
from sermodels.corpora.terms import terms
from sermodels.evaluation.intervals import Interval, over_speakers
from sermodels.metrics import uar, wa
from sermodels.networks.cost import count_macs, count_parameters
from sermodels.store.splits import FIXED
from sermodels.training.bundle import FINGERPRINT, Bundle

FEWEST_SPEAKERS = 5  # of fewer, intervals hold the truth less often than they say

CHOSEN = {
    "speaker": "The test side was read once, after the configuration had been chosen on other speakers.",
    "utterance": "The test side was read once, after the configuration had been chosen on other clips.",
    "paper": "The test side is the validation side, on which the configuration was chosen.",
}


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
    environment.filters["cells"] = _cells
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
        fixed=bundle.config.protocol in FIXED,
        over_lanes=_over_lanes,
        **_test(metrics.get("test"), bundle.config.protocol),
        parameters=count_parameters(bundle.network),
        macs=count_macs(bundle.network, image),
        megabytes=model_bytes / 1e6,
        milliseconds=milliseconds,
        cpu=cpu,
        checks=checks,
    )


def _test(test: Mapping[str, Any] | None, protocol: Protocol) -> dict[str, Any]:
    """The figures of the exported network, with what they are worth."""
    if not test:
        return {"test": None}
    chosen, confusions = {"test": test, "chosen": CHOSEN.get(protocol, "")}, test.get("confusion_by_speaker", {})
    speakers = [np.array(counts) for counts in confusions.values()]
    if len(speakers) < 2:  # or a sweep that finished before they were told apart
        first = test["lanes"][0]
        return chosen | {"uar": f"{first['uar']:.3f}", "wa": f"{first['wa']:.3f}", "brackets": ""}
    if protocol == "speaker" and len(speakers) >= FEWEST_SPEAKERS:
        # One network, but it is this one that the figures are of: only its speakers are drawn.
        intervals = [over_speakers(confusions, figure, networks=len(speakers)) for figure in (uar, wa)]
        brackets = (
            f"In brackets: 95 % intervals for other speakers, by bootstrap over the {len(speakers)} of the test side."
        )
    else:
        pooled = np.sum(speakers, axis=0)
        each = [[float(figure(counts)) for counts in (pooled, *speakers)] for figure in (uar, wa)]
        intervals = [Interval(own, min(others), max(others)) for own, *others in each]
        new = ", too few for an interval for others" if protocol == "speaker" else ", whom it had heard in training"
        brackets = f"In brackets: the lowest and the highest of its {len(speakers)} test speakers{new}."
    shown = [f"{value:.3f} [{low:.3f}, {high:.3f}]" for value, low, high in intervals]
    return chosen | {"uar": shown[0], "wa": shown[1], "brackets": brackets}


def _cells(names: Sequence[str], between: str) -> str:
    """Names as Markdown puts them into a table: those of a user's corpus may hold anything."""
    return between.join(" ".join(name.split()).replace("|", "\\|") for name in names)


def _over_lanes(figures: Mapping[str, Any], name: str) -> str:
    spread = f" ± {figures[f'{name}_std']:.3f}" if len(figures["lanes"]) > 1 else ""
    return f"{figures[name]:.3f}{spread}"
