"""The comparison of a sweep's trials as a saved view of MLflow's page: parallel coordinates first, then stage by stage.

A view is a tag of the experiment. What MLflow expects in it is in library_internals.py; what is shown is chosen here.
"""

from collections.abc import Iterable, Mapping
from typing import Any

from search.library_internals import chart_section, metric_chart, parallel_chart, runs_page, shared_view
from sermodels.config.settings import STAGES

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
    return shared_view(key, f"trials of {sweep}", time_ms, view_state(sweep, list(params)))


def view_state(sweep: str, params: list[str]) -> dict[str, Any]:
    """What the page shows: which runs, in which order, and which charts."""
    score = f"metrics.`{SCORE}`"
    charts = (
        metric_chart(section, metric, metric.rpartition("/")[2], over_steps=section in STAGES)
        for section, metrics in SECTIONS.items()
        for metric in metrics
    )
    return runs_page(
        search=f"tags.`ser.kind` = 'trial' and tags.`ser.sweep` = '{sweep}' and status = 'FINISHED'",
        order_by=score,
        columns=[score, *(f"params.`{name}`" for name in params)],
        sections=[chart_section(title, wide=title == WIDE) for title in SECTIONS],
        charts=[parallel_chart(WIDE, params, [SCORE]), *charts],
    )
