"""Running a job inside the tests' own process, where no user's view is needed: a new one spends seconds on imports."""

import io
import os
import runpy
import sys
from contextlib import redirect_stderr, redirect_stdout
from subprocess import CompletedProcess

import pytest
from processes import ROOT, environment


def job_here(name: str, *words: object) -> CompletedProcess[str]:
    """What `processes.job` gives."""
    command = [str(ROOT / "jobs" / name), *map(str, words)]
    out, err = (io.TextIOWrapper(io.BytesIO(), encoding="utf-8", write_through=True) for _ in range(2))
    code = 0
    with pytest.MonkeyPatch.context() as changed, redirect_stdout(out), redirect_stderr(err):
        changed.setattr(sys, "argv", command)
        for unwanted in os.environ.keys() - environment().keys():  # what would lead it to a user's own servers
            changed.delenv(unwanted)
        try:
            runpy.run_path(command[0], run_name="__main__")
        except SystemExit as end:
            code = end.code or 0
    return CompletedProcess(command, code, *(stream.buffer.getvalue().decode() for stream in (out, err)))
