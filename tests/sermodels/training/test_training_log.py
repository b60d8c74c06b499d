"""The training log keeps every line, whatever became of the one before."""

import logging

from sermodels.training.training_log import FILE, Entry, append, read, read_all


def entry(epoch, stage="match", key="0123", **more):
    return Entry(stage=stage, key=key, epoch=epoch, fold=0, seed=1, seconds=0.5, owner="me", **more)


def test_entries_come_back_as_they_were_written(tmp_path):
    written = [entry(1), entry(2, host="elsewhere", pid=7, time_s=1.25)]
    for one in written:
        append(tmp_path / "match" / "0123", one)
    assert list(read(tmp_path / "match" / "0123")) == written
    assert list(read(tmp_path / "match" / "none")) == []


def test_all_lanes_together_are_in_order_of_time(tmp_path):
    for stage, key, time_s in (("student", "b", 3.0), ("teacher", "a", 1.0), ("match", "c", 2.0)):
        append(tmp_path / stage / key, entry(1, stage=stage, key=key, time_s=time_s))
    assert [one.stage for one in read_all(tmp_path)] == ["teacher", "match", "student"]


def test_a_line_cut_short_is_passed_over(tmp_path, caplog):
    append(tmp_path, entry(1))
    with (tmp_path / FILE).open("a") as file:
        file.write('{"stage": "mat\n')
    append(tmp_path, entry(2))
    with caplog.at_level(logging.WARNING):
        assert [one.epoch for one in read(tmp_path)] == [1, 2]
    assert f"{tmp_path / FILE}, line 2" in caplog.text
