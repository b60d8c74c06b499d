"""Measure an exported model on a store: accuracy, recall, F1 and the confusion matrix.

    python jobs/evaluate.py best --store runs/stores/emodb.arrow
    python jobs/evaluate.py best --store runs/stores/savee.arrow --json figures.json

Sides: test, valid, or all clips as recorded, without their altered views. On the store that the model was trained on
the test side is taken, elsewhere all, since nothing of it was heard. Four seconds to start, then a second for a
hundred clips.
"""

import dataclasses
import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from tyro.conf import Positional, arg

from jobs.shared.cli import run
from jobs.shared.table import confusion_table
from sermodels.credentials import without_credentials
from sermodels.files import replacing

if TYPE_CHECKING:
    from sermodels.training.bundle import Bundle


@dataclass(frozen=True, kw_only=True)
class Args:
    """The command line."""

    model: Annotated[Positional[Path], arg(metavar="DIR")]  # folder made by jobs/export_best.py or jobs/train.py --out
    store: str  # made by jobs/build_store.py: a path, or an address such as s3://bucket/emodb.arrow
    side: Literal["test", "valid", "all"] | None = None  # test on the store it was trained on, else all
    json: Path | None = None  # file to write the figures to


def main(args: Args) -> None:
    """Measure, print, and write if asked to."""
    from jobs.shared.device import use  # so that --help answers at once
    from jobs.shared.store import found
    from sermodels.evaluation.evaluate import chance, check_same_task, describe, evaluate, rows_of, was_trained_on
    from sermodels.store.open import open_store
    from sermodels.training.bundle import load_bundle

    use("cpu", threads=1)  # as in training: the same sums in the same order
    bundle, store = load_bundle(args.model), open_store(found(args.store))
    check_same_task(bundle, store)
    known = was_trained_on(bundle, store)
    side = args.side or ("test" if known else "all")
    rows = rows_of(side, store, bundle.config)
    figures = {
        "model": str(args.model),
        "store": without_credentials(args.store),
        "side": side,
        "note": _note(bundle, side, known),
    }
    figures |= describe(store, rows) | {"chance": chance(store), "emotions": store.emotions}
    figures |= dataclasses.asdict(evaluate(bundle.network, store, rows))
    if args.json:
        with replacing(args.json) as unfinished:
            unfinished.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")
    print(_text(figures))


def _note(bundle: "Bundle", side: str, known: bool) -> str:
    from sermodels.evaluation.evaluate import caveat

    if not known:
        return "not the store that the model was trained on: all of it counts as unheard"
    if side == "all":
        return "most of these clips were trained on"
    valid = "trained on" if bundle.config.all_data else "selected on"
    usual = {"test": "neither trained nor selected on", "valid": valid}[side]
    return caveat(bundle.config) or f"{usual}, protocol {bundle.config.protocol!r}"


def _text(figures: dict[str, Any]) -> str:
    speakers = figures["speakers"]
    named = f" ({', '.join(speakers)})" if len(speakers) <= 12 else ""
    uar, wa, macro_f1, chance = (f"{figures[name]:.3f}" for name in ("uar", "wa", "macro_f1", "chance"))
    return (
        f"{figures['model']} on {figures['store']}\n{figures['side']}: {figures['note']}\n"
        f"clips: {figures['clips']}  rows: {figures['rows']}  speakers: {len(speakers)}{named}\n"
        f"UAR {uar}  WA {wa}  macro-F1 {macro_f1}  chance {chance}\n\n"
        f"{confusion_table(figures['emotions'], figures['confusion'])}"
    )


if __name__ == "__main__":
    run(main, Args)
