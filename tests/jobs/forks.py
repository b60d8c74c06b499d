"""Processes that begin with their imports done: forks of one that has imported what the jobs import.

Imports take a job up to eight seconds of a core, a tiny sweep's training one. A fork is a process like any other, with
a number, a group, signals and an exit code of its own.
"""

import json
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

MODULES = (
    "jobs.shared.device",
    "jobs.shared.epochs",
    "jobs.shared.store",
    "search.report.page",
    "search.run.plan",
    "search.run.summary",
    "search.run.sweep",
    "sermodels.deploy.complete",
    "sermodels.evaluation.evaluate",
)


class ForkServer:
    """The process that imports and forks (fork_server.py); it ends with the tests' own."""

    def __init__(self, env: Mapping[str, str], cwd: Path):
        command = [sys.executable, "-P", str(Path(__file__).with_name("fork_server.py")), *MODULES]
        self._server = subprocess.Popen(
            command, env=env, cwd=cwd, stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True
        )
        self._unread = b""
        self.codes: dict[int, int] = {}  # process that ended → its exit code

    def start(self, argv: Sequence[str], env: Mapping[str, str], out: Path, err: Path) -> "Fork":
        """Fork a process that runs a script, in a process group of its own.

        Args:
            argv: path of the script, and its words.
            env: its environment; what libraries read while they are imported, they have read from the server's.
            out: file that its standard output is added to.
            err: file that its standard error is added to.
        """
        asked = {"argv": list(argv), "env": dict(env), "out": str(out), "err": str(err)}
        self._server.stdin.write(json.dumps(asked).encode() + b"\n")
        self._server.stdin.flush()
        while "began" not in (answer := self._answer(None)):
            pass
        return Fork(self, answer["began"])

    def read(self, wait_s: float | None) -> None:
        """Read what the server has to say; if that is nothing yet, after waiting for so many seconds."""
        while self._answer(wait_s):
            wait_s = 0

    def _answer(self, wait_s: float | None) -> dict[str, int]:
        """The server's next line; empty if none came in so many seconds."""
        pipe = self._server.stdout.fileno()
        while b"\n" not in self._unread:
            if not select.select([pipe], [], [], wait_s)[0]:
                return {}
            if not (got := os.read(pipe, 65536)):
                raise RuntimeError(f"the server of forks ended with code {self._server.wait()}")
            self._unread += got
        line, _, self._unread = self._unread.partition(b"\n")
        answer = json.loads(line)
        if "ended" in answer:
            self.codes[answer["ended"]] = answer["code"]
        return answer


class Fork:
    """A forked process; as subprocess.Popen shows one."""

    def __init__(self, server: ForkServer, pid: int):
        self.pid = pid
        self._server = server

    @property
    def returncode(self) -> int | None:
        """Exit code as of the last look, negative for a signal; None if it ran then."""
        return self._server.codes.get(self.pid)

    def poll(self) -> int | None:
        """Look whether it has ended; its exit code."""
        self._server.read(0)
        return self.returncode

    def wait(self, timeout: float) -> int:
        """Wait for its end; its exit code.

        Raises:
            subprocess.TimeoutExpired: it still runs after so many seconds.
        """
        end = time.monotonic() + timeout
        while self.poll() is None:
            left = end - time.monotonic()
            if left <= 0:
                raise subprocess.TimeoutExpired(str(self.pid), timeout)
            self._server.read(left)
        return self.returncode

    def send_signal(self, number: signal.Signals) -> None:
        """Send a signal, unless it has ended."""
        if self.poll() is None:
            os.kill(self.pid, number)
