"""jobs/report.py as a user runs it, and optuna-dashboard on the same study."""

import sys
from pathlib import Path

import pytest
import requests
from generated import generate
from here import job_here
from processes import environment, error_line, free_port, serving


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    return generate(tmp_path_factory.mktemp("home"), "gen", 12).root


def test_the_report_is_written_where_it_is_said_to_be(home, tmp_path):
    done = job_here("report.py", "--sweep", "gen", "--home", home)
    assert done.returncode == 0, done.stderr
    assert Path(done.stdout.strip()) == home / "spool" / "gen" / "report" / "report.html"
    again = job_here("report.py", "--sweep", "gen", "--home", home, "--out", tmp_path / "new" / "r.html")
    assert again.stdout.strip() == str(tmp_path / "new" / "r.html")
    assert (tmp_path / "new" / "r.html").read_text() == Path(done.stdout.strip()).read_text()


def test_an_unknown_sweep_is_named(home):
    assert "--sweep other: no such sweep" in error_line(job_here("report.py", "--sweep", "other", "--home", home))


def test_optuna_dashboard_opens_the_study(home):
    url = f"http://127.0.0.1:{(port := free_port())}/api/studies"
    program = Path(sys.executable).with_name("optuna-dashboard")
    words = ["--storage-class", "JournalFileStorage", "--port", port, home / "studies" / "gen.journal"]
    with serving([program, *words], environment(), url):
        (study,) = requests.get(url, timeout=30).json()["study_summaries"]
        assert study["study_name"] == "gen"
        assert len(requests.get(f"{url}/{study['study_id']}", timeout=30).json()["trials"]) == 12
