"""The paper's pictures for any model: where it looks, what it confuses, how like its teacher it is.

    python jobs/figures.py best --store runs/stores/emodb.arrow --out figures
    python jobs/figures.py vertical square --store STORE --out figures --clip 03a01Wa.wav --layer 0
    python jobs/figures.py best --store STORE --out figures --similarity --home runs

Writes attention.png (paper, figure 6), confusion.png (figure 7), and figures.json with the numbers behind them: among
them how stable each model's attention is when a clip is made noisy, shifted or sped up, beside that of the same network
before any training. --similarity adds similarity.png (figure 8): the features of student and teacher with and without
the match stage; what of it is not in HOME/stages is trained first.
"""

import dataclasses
import json
import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from tyro.conf import Positional, arg

from jobs.shared.cli import run
from sermodels.errors import UserError
from sermodels.files import replacing

if TYPE_CHECKING:
    import numpy as np
    from matplotlib.figure import Figure

    from sermodels.store.open import Store
    from sermodels.training.bundle import Bundle


@dataclass(frozen=True, kw_only=True)
class Args:
    """The command line."""

    models: Annotated[Positional[tuple[Path, ...]], arg(metavar="DIR")]  # made by jobs/export_best.py or train.py --out
    store: str  # made by jobs/build_store.py: a path, or an address such as s3://bucket/emodb.arrow
    out: Path  # folder for the pictures
    clip: str | None = None  # id of the clip to look at; if not given, the first of the first model's test side
    layer: int | None = None  # block, 0 being the first; if not given, all of them by attention rollout
    smooth: float = 2.0  # standard deviation of the Gaussian over the masks, in pixels
    clips: int = 100  # of the test side, that stability is measured on
    similarity: bool = False  # also compare the features of student and teacher, with and without matching
    home: Path = Path(os.environ.get("SER_HOME", "runs"))  # whose HOME/stages hold the trained networks


def main(args: Args) -> None:
    """Load, measure, draw."""
    from jobs.shared.device import use  # so that --help answers at once
    from jobs.shared.store import found
    from sermodels.evaluation.evaluate import check_same_task
    from sermodels.evaluation.pictures import attention_figure, confusion_figure
    from sermodels.store.open import open_store
    from sermodels.training.bundle import load_bundle

    if not args.models:
        raise UserError("no models given: name the folder of one or more")
    if args.smooth < 0 or args.clips < 1:
        raise UserError("--smooth must be 0 or more, --clips 1 or more")
    use("cpu", threads=1)
    bundles = {path.resolve().name: load_bundle(path) for path in args.models}
    if len(bundles) < len(args.models):
        raise UserError("two models have the same folder name, by which pictures tell them apart: rename one")
    store = open_store(found(args.store))
    for bundle in bundles.values():
        check_same_task(bundle, store)
    first = next(iter(bundles.values()))
    networks = {f"{name} ({bundle.config.patch})": bundle.network for name, bundle in bundles.items()}
    clip = _clip(store, first, args.clip)
    figures: dict[str, Any] = {"clip": store.clip_id[clip], "layer": args.layer, "smooth": args.smooth, "models": {}}
    attention = attention_figure(networks, store, clip, args.layer, args.smooth)
    for name, bundle in bundles.items():
        figures["models"][name] = _measure(bundle, store, args)
    confusion = {name: measured["test"]["confusion"] for name, measured in figures["models"].items()}
    pictures = {"attention": attention, "confusion": confusion_figure(confusion, store.emotions)}
    if args.similarity:
        pictures["similarity"], figures["cosine"] = _similarity(first, store, args.home)
    _write(args.out, pictures, figures)
    _print(figures)


def _clip(store: "Store", bundle: "Bundle", asked: str | None) -> int:
    """The number of the clip to look at."""
    if asked is None:
        return int(store.clip[_test_rows(store, bundle)[0]])
    if asked not in store.clip_id:
        raise UserError(f"--clip {asked}: the store holds no such clip; the first is {store.clip_id[0]}")
    return store.clip_id.index(asked)


def _test_rows(store: "Store", bundle: "Bundle") -> "np.ndarray":
    """Of the model's test side in its own store, of every clip elsewhere."""
    from sermodels.evaluation.evaluate import rows_of, was_trained_on

    return rows_of("test" if was_trained_on(bundle, store) else "all", store, bundle.config)


def _measure(bundle: "Bundle", store: "Store", args: Args) -> dict[str, Any]:
    """How well a model does, and how stable its attention is, beside that of a network that learned nothing."""
    import numpy as np

    from sermodels.evaluation.attention import stability
    from sermodels.evaluation.evaluate import evaluate
    from sermodels.networks.factory import build_student

    rows = _test_rows(store, bundle)
    clips = np.unique(store.clip[rows])[: args.clips]
    untrained = build_student(bundle.config, store.pixels.shape[1:], len(store.emotions), seed=0).eval()
    return {
        "patch": bundle.config.patch,
        "test": dataclasses.asdict(evaluate(bundle.network, store, rows)),
        "stability": stability(bundle.network, store, clips, args.layer, args.smooth),
        "stability of the untrained network": stability(untrained, store, clips, args.layer, args.smooth),
        "clips": len(clips),
    }


def _similarity(bundle: "Bundle", store: "Store", home: Path) -> "tuple[Figure, dict[str, float]]":
    """The picture, and the mean cosine similarity with and without matching."""
    from jobs.shared.epochs import shown
    from search.home import open_home
    from sermodels.evaluation.evaluate import feature_similarity
    from sermodels.evaluation.pictures import similarity_figure
    from sermodels.training.cache import StageCache
    from sermodels.training.chain import Chain
    from sermodels.training.data import TrialData

    cosines = {}
    for name, epochs in (("with matching", bundle.config.match.epochs), ("without matching", 0)):
        lane = {"folds": bundle.config.folds[:1], "seeds": bundle.config.seeds[:1]}
        match = dataclasses.replace(bundle.config.match, epochs=epochs)
        config = dataclasses.replace(bundle.config, match=match, **lane)
        data = TrialData(store, config)
        chain = Chain(config, data, StageCache(open_home(home).stages))
        with shown(data, config, stacked=False) as told:
            chain.run(*told)
        valid = data.folds[config.folds[0]].valid
        networks = (chain.network(stage, 0) for stage in ("student", "teacher"))
        cosines[name] = feature_similarity(*networks, data, valid)
    return similarity_figure(cosines), {name: float(values.mean()) for name, values in cosines.items()}


def _write(out: Path, pictures: "dict[str, Figure]", figures: dict[str, Any]) -> None:
    try:
        for name, picture in pictures.items():
            with replacing(out / f"{name}.png") as unfinished:
                picture.savefig(unfinished, format="png", dpi=160)
        with replacing(out / "figures.json") as unfinished:
            unfinished.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")
    except (FileExistsError, NotADirectoryError, PermissionError) as error:
        raise UserError(f"--out {out}: cannot be written: {error.strerror}") from None
    print(f"{', '.join(f'{name}.png' for name in pictures)} and figures.json are in {out}", file=sys.stderr)


def _figure(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"


def _print(figures: dict[str, Any]) -> None:
    for name, measured in figures["models"].items():
        stable, before = measured["stability"], measured["stability of the untrained network"]
        each = (f"{view} {_figure(value)} ({_figure(before[view])} untrained)" for view, value in stable.items())
        print(f"{name}: UAR {measured['test']['uar']:.3f}; attention under {', '.join(each)}")
    for name, value in figures.get("cosine", {}).items():
        print(f"features {name}: cosine similarity to the teacher {value:.3f}")


if __name__ == "__main__":
    run(main, Args)
