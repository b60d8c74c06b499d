"""A job that goes on by itself: its process is started again when it dies."""

import os
import signal
import subprocess
import sys
import threading
import time

PARENT = "SER_SUPERVISOR"  # process id, in the environment of a supervised job
MOST_DEATHS = 20
PAUSE_S = 2.0  # before a new start
FINAL = (0, 2, 130)  # exit codes after which a new start would change nothing: done, a mistake of the user, stopped


def is_supervised() -> bool:
    """Whether this process was started by `supervise`."""
    return os.environ.get(PARENT) == str(os.getppid())


def supervise() -> int:
    """Run this command in a process of its own, again and again until it ends properly; its exit code."""
    for _ in range(MOST_DEATHS):
        child = subprocess.Popen([sys.executable, *sys.orig_argv[1:]], env={**os.environ, PARENT: str(os.getpid())})
        try:
            code = child.wait()
        except KeyboardInterrupt:  # Ctrl-C, which a terminal sends to both, or SIGTERM, which only we get
            child.send_signal(signal.SIGTERM)
            return child.wait()
        if code in FINAL:
            return code
        print(f"the driver died ({_death(code)}); it is started again and goes on", file=sys.stderr, flush=True)
        time.sleep(PAUSE_S)
    return code


def end_with_supervisor() -> None:
    """Have this process stopped when the one that supervises it is gone: two drivers would get in each other's way."""
    threading.Thread(target=_watch, args=(os.getppid(),), daemon=True).start()


def _watch(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(1)
    os.kill(os.getpid(), signal.SIGTERM)


def _death(code: int) -> str:
    return signal.Signals(-code).name if code < 0 else f"exit code {code}"
