"""Running the jobs as processes."""

import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from pathlib import Path

import requests
from forks import Fork, ForkServer

ROOT = Path(__file__).parents[2]


@cache
def forks() -> ForkServer:
    """Where the jobs of this session come from; started when the first one does."""
    return ForkServer(environment(), ROOT)


def script(name: str, *words: object, timeout_s: float = 240, **env: str) -> subprocess.CompletedProcess[str]:
    """Run `python jobs/NAME WORDS` in the project's folder, imports and all, and wait for it."""
    command = [sys.executable, str(ROOT / "jobs" / name), *map(str, words)]
    return subprocess.run(
        command, cwd=ROOT, env=environment(**env), capture_output=True, text=True, timeout=timeout_s, check=False
    )


def job(name: str, *words: object, timeout_s: float = 240, **env: str) -> subprocess.CompletedProcess[str]:
    """What `script` gives, from a process that begins with its imports done."""
    argv = [str(ROOT / "jobs" / name), *map(str, words)]
    with tempfile.TemporaryDirectory() as folder:
        out, err = Path(folder) / "out", Path(folder) / "err"
        process = forks().start(argv, environment(**env), out, err)
        try:
            code = process.wait(timeout_s)
        finally:
            _kill(process)
        return subprocess.CompletedProcess(argv, code, out.read_text("utf-8"), err.read_text("utf-8"))


@contextmanager
def started(name: str, *words: object) -> Iterator[Fork]:
    """A job under way; killed, with the processes it started, if it still runs at the end of the block."""
    argv = [str(ROOT / "jobs" / name), *map(str, words)]
    ours = Path(f"/proc/{os.getpid()}/fd")
    process = forks().start(argv, environment(), ours / "1", ours / "2")
    try:
        yield process
    finally:
        _kill(process)


def _kill(process: Fork) -> None:
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)


def wait_for(condition: Callable[[], object], process: Fork | subprocess.Popen, timeout_s: float = 120) -> None:
    """Wait until something is so; an error if the process ends first, or it takes too long."""
    end = time.monotonic() + timeout_s
    while not condition():
        assert process.poll() is None, f"ended with code {process.returncode}"
        assert time.monotonic() < end, "took too long"
        time.sleep(0.1)


@contextmanager
def serving(command: Iterable[object], env: Mapping[str, str], url: str, alive: int = 200) -> Iterator[None]:
    """A server in a process group of its own, from its first answer, of a status, to the end of the block."""
    with tempfile.TemporaryFile("w+") as log:
        process = subprocess.Popen(list(map(str, command)), env=env, stdout=log, stderr=log, start_new_session=True)
        try:
            try:
                wait_for(lambda: _status(url) == alive, process)
            except AssertionError as error:
                log.seek(0)
                raise AssertionError(f"no answer from {url}: {error}: {log.read()[-2000:]}") from None
            yield
        finally:
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)
            try:
                process.wait(30)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)


def _status(url: str) -> int | None:
    try:
        return requests.get(url, timeout=2).status_code
    except requests.RequestException:
        return None


def free_port() -> int:
    """A port of loopback that nobody listens at."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def environment(**extra: str) -> Mapping[str, str]:
    """The environment of a job: one thread, and nothing that would lead it to a user's own servers."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("RAY_", "MLFLOW_", "SER_HOME"))}
    return kept | {"OMP_NUM_THREADS": "1", "PATH": f"{Path(sys.executable).parent}:{kept['PATH']}"} | extra


def error_line(done: subprocess.CompletedProcess[str]) -> str:
    """The one line of a job that refused its input."""
    assert done.returncode == 2, (done.returncode, done.stdout, done.stderr)
    lines = done.stderr.strip().splitlines()
    assert len(lines) == 1, done.stderr
    assert lines[0].startswith("error: ")
    return lines[0]
