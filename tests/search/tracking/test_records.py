"""Records as lines of a spool: what is written comes back, and lines of earlier versions are read."""

import json
import math

import pytest

from search.space.lane_scores import from_json, to_json
from search.space.outcome import Outcome
from search.tracking.records import Begin, Dataset, Describe, End, Folder, Log, Text, View, decode, encode
from sermodels.config.settings import Lane
from sermodels.training.epoch_report import EpochReport

ABOUT = {"run": "5eed", "time": 1_700_000_000_000}
EPOCH = EpochReport(stage="match", epoch=3, metrics={"loss": math.inf, "val_l1": 0.25}, reused=0.5)
RECORDS = [
    Begin(**ABOUT, name="s", kind="sweep", sweep="s", tags={"ser.protocol": "speaker"}),
    Begin(
        **ABOUT,
        name="t",
        kind="trial",
        sweep="s",
        params={"teacher.stem": [2, 1], "alpha": 1.0, "patch": "8x8"},
        parent="5eed",
        dataset=Dataset(name="emodb", digest="ab"),
    ),
    Log(**ABOUT, epochs=(EPOCH,), figures={"val_uar": 0.5}, tags={"ser.reason": "x\ny"}, links={"ser.winner_run": "c"}),
    Text(**ABOUT, file="preset.yaml", text="trials: 1\n"),
    Describe(**ABOUT, text="# α"),
    View(**ABOUT, sweep="s", params=("alpha", "patch")),
    Folder(**ABOUT, path="/x", name="best"),
    End(**ABOUT, outcome=Outcome.PRUNED),
]


@pytest.mark.parametrize("record", RECORDS, ids=lambda record: record.do)
def test_a_record_comes_back_as_it_was(record):
    line = encode(record)
    assert line.endswith(b"\n")
    assert b"\n" not in line[:-1]
    assert decode(line) == record


FORMAT_1 = [
    (
        {"do": "begin", "name": "s", "kind": "sweep", "sweep": "s", "params": {}, "parent": None, "dataset": {}},
        Begin(**ABOUT, name="s", kind="sweep", sweep="s"),
    ),
    (
        {
            "do": "log",
            "epochs": [{"epoch": 3, "match/loss": 0.5, "match/val_l1": 0.25, "match/reused": 0.5}],
            "figures": {"match/trained_seconds": 3.0},
            "tags": {"ser.outcome": "finished"},
            "links": {},
        },
        Log(
            **ABOUT,
            epochs=(EpochReport(stage="match", epoch=3, metrics={"loss": 0.5, "val_l1": 0.25}, reused=0.5),),
            figures={"match/trained_seconds": 3.0},
            tags={"ser.outcome": "finished"},
        ),
    ),
    ({"do": "view", "sweep": "s", "params": ["alpha"]}, View(**ABOUT, sweep="s", params=("alpha",))),
    ({"do": "end", "outcome": "interrupted"}, End(**ABOUT, outcome=Outcome.INTERRUPTED)),
]  # fmt: skip


@pytest.mark.parametrize(("written", "expected"), FORMAT_1, ids=lambda value: getattr(value, "do", ""))
def test_a_line_of_format_1_is_read(written, expected):
    assert decode(json.dumps({**ABOUT, **written}).encode()) == expected


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ({"format": 3, "do": "end", "outcome": "finished"}, "format 3; this version reads 2 and older ones"),
        ({"format": 2, "do": "end", "outcome": "over"}, "end.outcome"),
        ({"format": 2, "do": "sing"}, "tag 'sing'"),
        ({"format": 2, "do": "text", "file": "x"}, "text.text: Field required"),
        ({"do": "log", "epochs": [{"epoch": 1}]}, "epochs.0.stage"),
        ({"do": "log", "epochs": [{"epoch": 1, "match/loss": 1.0, "student/loss": 1.0}]}, "epochs.0.stage"),
    ],
)
def test_a_line_that_is_none_is_refused_with_the_reason(line, reason):
    with pytest.raises(ValueError, match=reason) as refused:
        decode(json.dumps({**ABOUT, **line}).encode())
    assert "\n" not in str(refused.value)


def test_scores_of_lanes_come_back_from_json_in_both_forms():
    scores = {Lane(0, 2): 0.5, Lane(11, 2): 0.25}
    assert from_json(json.loads(json.dumps(to_json(scores)))) == scores
    assert from_json({"fold 0, seed 2": 0.5, "fold 11, seed 2": 0.25}) == scores
    with pytest.raises(ValueError, match="not the scores of lanes"):
        from_json({"fold 0": 0.5})
