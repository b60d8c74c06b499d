"""The winner of a sweep: chosen among the finalists by their figures on fresh seeds, bundled and logged."""

from collections.abc import Mapping
from typing import Any

import torch

from search.home import Home
from search.publish.export import BUNDLE, bundle_winner
from search.run.plan import Plan
from search.scheduling.ledger import best, confirmed, confirmed_lanes, open_study, params_of, score_of
from search.space.label import label
from search.space.lane_scores import to_json
from search.space.space import Space, configure
from search.tracking.runs import WINNER_NAME, Runs, run_key
from sermodels.errors import UserError


def crown(plan: Plan, name: str, home: Home, runs: Runs, run: str) -> tuple[Mapping[str, Any], Mapping[str, Any]]:
    """Choose the winner of a sweep, bundle and log it. Reads the test side.

    Args:
        plan: of the sweep, whose trials have ended.
        name: of the sweep.
        home: where its study and the stages of its trials are.
        runs: where to log.
        run: key of the sweep's run.

    Returns:
        The winner's params, and the metrics of its bundle.

    Raises:
        UserError: no trial finished.
    """
    study = open_study(home.study(name), name)
    again = confirmed(study)
    finalists = best(study, max(1, plan.preset.confirm))
    if not finalists:
        raise UserError(f"sweep {name}: no trial finished; their runs say why")
    chosen = max(finalists, key=lambda trial: again.get(Space.key(params_of(trial)), -1.0))
    winner = params_of(chosen)
    figures = {"val_uar": score_of(chosen)}
    if (score := again.get(Space.key(winner))) is not None:
        figures["confirmed_val_uar"] = score
    lanes = {"confirmed_lanes": to_json(confirmed_lanes(study).get(Space.key(winner), {}))}
    selection = {"sweep": name, "params": winner, **figures, **lanes}
    folder = home.spools / name / BUNDLE  # there it waits for a tracker that is away
    torch.set_num_threads(plan.threads())
    metrics = bundle_winner(folder, configure(plan.preset.chain, winner), plan.store, home.stages, selection)
    runs.folder(run, folder, BUNDLE)
    child = run_key(run, "trial", winner)
    runs.crown(child)
    figures |= {"test_uar": metrics["test"]["uar"], "test_wa": metrics["test"]["wa"]}
    runs.log(run, figures=figures, tags={WINNER_NAME: label(winner)}, links={"ser.winner_run": child})
    return winner, metrics
