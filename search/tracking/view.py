"""The comparison of a sweep's trials as a saved view of MLflow's page: parallel coordinates first, then stage by stage.

A view is a tag of the experiment, in the form that MLflow's own "Save as new view" writes (3.17). A server that knows
no such views shows its usual charts.
"""

import base64
import json
import zlib
from collections.abc import Iterable, Mapping
from typing import Any
from urllib.parse import urlencode

from sermodels.config import STAGES

TAG = "mlflow.sharedViewState."  # + key of the view
SCORE = "val_uar"
WIDE = "hyperparameters"  # the section of the parallel coordinates alone
SECTIONS: Mapping[str, tuple[str, ...]] = {  # title → metrics, each a chart; MLflow adds all others of a stage
    WIDE: (),
    "result": (SCORE, "val_wa"),
    **{stage: (f"{stage}/val_uar", f"{stage}/loss") for stage in STAGES},
    "match": ("match/val_l1", "match/val_cosine", "match/loss"),
    "cost": ("student/macs", "student/parameters", "trained_seconds", "reused_seconds"),
}


def view_tag(key: str, sweep: str, params: Iterable[str], time_ms: int) -> tuple[str, str]:
    """The tag that makes the view.

    Args:
        key: of the sweep's run; names the view, too.
        sweep: its name.
        params: the axes of the parallel coordinates, before the score.
        time_ms: since 1970.
    """
    text = json.dumps(_state(sweep, params), separators=(",", ":"))
    state = "deflate;" + base64.b64encode(zlib.compress(text.encode())).decode()
    about = {"name": f"trials of {sweep}", "createdAt": time_ms, "updatedAt": time_ms, "state": state}
    return TAG + key, json.dumps(about)


def view_link(experiment: str, key: str) -> str:
    """Where the view is on a tracking server's page, behind its address."""
    asked = {"workflowType": "machine_learning", "viewStateShareKey": key, "compareRunsMode": "CHART"}
    return f"#/experiments/{experiment}/runs?{urlencode(asked)}"


def _state(sweep: str, params: Iterable[str]) -> dict[str, Any]:
    """What the page shows: which runs, in which order, and which charts."""
    return {
        "searchFilter": f"tags.`ser.kind` = 'trial' and tags.`ser.sweep` = '{sweep}' and status = 'FINISHED'",
        "orderByKey": f"metrics.`{SCORE}`",
        "orderByAsc": False,
        "startTime": "ALL",
        "lifecycleFilter": "Active",
        "datasetsFilter": [],
        "modelVersionFilter": "All Runs",
        "selectedColumns": [f"metrics.`{SCORE}`", *(f"params.`{name}`" for name in params)],
        "runsHiddenMode": "FIRST_20_RUNS",
        "hideEmptyCharts": True,
        "isAccordionReordered": True,
        "groupBy": None,
        "compareRunSections": [_section(title) for title in SECTIONS],
        "compareRunCharts": [_parallel(list(params)), *(_chart(s, m) for s, names in SECTIONS.items() for m in names)],
    }


def _section(title: str) -> dict[str, Any]:
    shape = {"columns": 1, "cardHeight": 420} if title == WIDE else {}
    about = {"uuid": title, "name": title, "display": True, "isReordered": False}
    return about | {"deleted": False, "isGenerated": False} | shape


def _parallel(params: list[str]) -> dict[str, Any]:
    axes = {"selectedParams": params, "selectedMetrics": [SCORE], "showAllRuns": True}
    return _drawn("parallel", WIDE, "PARALLEL") | axes


def _chart(section: str, metric: str) -> dict[str, Any]:
    name = metric.rpartition("/")[2]
    if section in STAGES:
        lines = {"xAxisKey": "step", "yAxisKey": "metric", "selectedXAxisMetricKey": "", "yAxisExpressions": []}
        lines |= {"scaleType": "linear", "xAxisScaleType": "linear", "lineSmoothness": 0, "range": {}}
        return _drawn(metric, section, "LINE") | {"metricKey": metric, "displayName": name} | lines
    return _drawn(metric, section, "BAR") | {"metricKey": metric, "displayName": name}


def _drawn(uuid: str, section: str, kind: str) -> dict[str, Any]:
    about = {"type": kind, "runsCountToCompare": 20, "deleted": False, "isGenerated": False}
    return {"uuid": uuid, "metricSectionId": section, **about}
