"""Which hyperparameters decide how good a trial is."""

import warnings
from collections.abc import Mapping

import optuna
from optuna.exceptions import ExperimentalWarning
from optuna.importance import PedAnovaImportanceEvaluator, get_param_importances
from optuna.trial import TrialState

FEWEST = 10  # finished trials of which anything can be said


def importances(study: optuna.Study) -> Mapping[str, float]:
    """Share of each axis in what sets the best trials apart, summing to 1; empty if too few have finished.

    By PED-ANOVA (Watanabe et al. 2023): how much the values of the best tenth differ from those of all. Only axes that
    all trials have.
    """
    own = [t for t in study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,)) if "copy_of" not in t.user_attrs]
    shared = set.intersection(*(set(trial.params) for trial in own)) if own else set()
    varied = [name for name in shared if len({trial.params[name] for trial in own}) > 1]
    if len(own) < FEWEST or not varied:
        return {}
    optuna.logging.set_verbosity(optuna.logging.WARNING)  # it would tell of the study that is made here
    distinct = optuna.create_study(direction="maximize")  # in memory, without the copies of trials
    distinct.add_trials(own)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExperimentalWarning)
        found = get_param_importances(distinct, evaluator=PedAnovaImportanceEvaluator(), params=sorted(varied))
    total = sum(found.values())
    return {name: value / total for name, value in found.items()} if total > 0 else {}
