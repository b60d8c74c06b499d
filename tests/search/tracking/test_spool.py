"""The spool on disk: whole lines whatever happens, one writer, and what was sent."""

import json
import os
import resource
import subprocess
import sys
import textwrap
import threading

import pytest

from search.tracking.records import Text
from search.tracking.spool import Spool, SpoolClosedError, remember_tracker, remembered_tracker
from sermodels.errors import UserError

SECOND_WRITER = """
    import sys
    from pathlib import Path
    from search.tracking.spool import Spool
    from sermodels.errors import UserError

    try:
        Spool(Path(sys.argv[1]))
    except UserError as error:
        print(error, flush=True)
    sys.stdin.readline()
    Spool(Path(sys.argv[1]))
    print("writes")
"""


def record(n, text=""):
    return Text(run="r", time=n, file="f", text=text)


def numbers(spool):
    return [r.time for r in spool.read_all()]


def test_records_come_back_in_order_in_this_process_and_the_next(tmp_path):
    with Spool(tmp_path / "s") as spool:
        for n in range(5):
            spool.append(record(n))
        assert numbers(spool) == [0, 1, 2, 3, 4]
        at = spool.read(0)[1]
        spool.mark_sent(at)
        spool.append(record(5))
        assert [r.time for r in spool.read(at)[0]] == [5]
        assert spool.unsent > 0
    with Spool(tmp_path / "s") as spool:
        assert spool.sent == at
        assert numbers(spool) == [*range(6)]


def test_many_records_are_read_in_parts_and_a_long_one_as_a_whole(tmp_path, monkeypatch):
    monkeypatch.setattr("search.tracking.spool.MOST_BYTES", 200)
    with Spool(tmp_path / "s") as spool:
        for n in range(20):
            spool.append(record(n, text="x" * (1000 if n == 7 else 10)))
        assert len(spool.read(0)[0]) < 7
        assert numbers(spool) == [*range(20)]


@pytest.mark.parametrize("torn", [b'{"do": "log", "ru', b"\x00" * 4096, b'{"do": "log"}'])
def test_a_line_without_its_end_is_cut_off(tmp_path, torn):
    with Spool(tmp_path / "s") as spool:
        spool.append(record(1))
    with (tmp_path / "s" / "records.jsonl").open("ab") as file:
        file.write(torn)
    with Spool(tmp_path / "s") as spool:
        spool.append(record(2))
        assert numbers(spool) == [1, 2]


@pytest.mark.parametrize("damaged", [b"no json\n", b"[]\n", b'{"do": "log"}\n', b"\xff\xfe\n"])
def test_a_damaged_line_is_passed_over_with_a_warning(tmp_path, damaged, caplog):
    with Spool(tmp_path / "s") as spool:
        spool.append(record(1))
    with (tmp_path / "s" / "records.jsonl").open("ab") as file:
        file.write(damaged)
    with Spool(tmp_path / "s") as spool:
        spool.append(record(2))
        assert numbers(spool) == [1, 2]
    assert "records.jsonl" in caplog.text


@pytest.mark.parametrize("content", ["", "nonsense", "-", "99999999"])
def test_a_damaged_mark_costs_sending_again_at_most(tmp_path, content):
    with Spool(tmp_path / "s") as spool:
        spool.append(record(1))
    (tmp_path / "s" / "sent").write_text(content)
    with Spool(tmp_path / "s") as spool:
        assert spool.read(spool.sent)[1] == (tmp_path / "s" / "records.jsonl").stat().st_size


def test_it_has_one_writer_at_a_time(tmp_path):
    command = [sys.executable, "-c", textwrap.dedent(SECOND_WRITER), str(tmp_path / "s")]
    with Spool(tmp_path / "s"):
        other = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert "sweep s is running" in other.stdout.readline()
    assert other.communicate("it has ended\n", timeout=60) == ("writes\n", None)
    assert other.returncode == 0


def test_nothing_is_read_after_the_end(tmp_path):
    spool = Spool(tmp_path / "s")
    spool.close()
    with pytest.raises(SpoolClosedError):
        spool.read(0)


def test_threads_may_append_side_by_side(tmp_path):
    with Spool(tmp_path / "s") as spool:
        threads = [threading.Thread(target=lambda t=t: [spool.append(record(t)) for _ in range(200)]) for t in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert sorted(numbers(spool)) == sorted([0, 1, 2, 3] * 200)


def test_a_full_disk_tears_no_line_and_nothing_is_lost_once_there_is_room(tmp_path, caplog):
    """A limit of the file's size stands for the disk: the kernel writes a part, then refuses."""
    with Spool(tmp_path / "s") as spool:
        spool.append(record(1))
        size = (tmp_path / "s" / "records.jsonl").stat().st_size
        limits = resource.getrlimit(resource.RLIMIT_FSIZE)
        before = _ignore_sigxfsz()
        resource.setrlimit(resource.RLIMIT_FSIZE, (size + 10, limits[1]))
        try:
            spool.append(record(2))
            spool.append(record(3))
            assert (tmp_path / "s" / "records.jsonl").stat().st_size == size
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)
            before()
        assert caplog.text.count("cannot be written") == 1
        spool.append(record(4))
        assert numbers(spool) == [1, 2, 3, 4]
    for line in (tmp_path / "s" / "records.jsonl").read_text().splitlines():
        json.loads(line)


def _ignore_sigxfsz():
    import signal

    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    return lambda: signal.signal(signal.SIGXFSZ, before)


def test_a_folder_that_cannot_be_written_is_an_error_of_one_line(tmp_path):
    (tmp_path / "s").write_text("a file")
    with pytest.raises(UserError, match="cannot be written"):
        Spool(tmp_path / "s")


@pytest.mark.parametrize(
    ("uri", "kept"),
    [
        ("http://user:secret@host:5000/path", "http://host:5000/path"),
        ("http://127.0.0.1:5000", "http://127.0.0.1:5000"),
        ("sqlite:////home/u/mlflow.db", "sqlite:////home/u/mlflow.db"),
    ],
)
def test_no_secret_is_kept(tmp_path, uri, kept):
    remember_tracker(tmp_path, uri)
    assert remembered_tracker(tmp_path) == kept
    assert not any("secret" in file.read_text() for file in tmp_path.iterdir())
    assert remembered_tracker(tmp_path / "none") is None
    assert os.listdir(tmp_path) == ["tracker"]
