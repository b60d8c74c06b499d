"""A program that imports modules, its words, and then forks processes that run scripts: see forks.py.

A line of standard input, JSON, is a process to begin; a line of standard output says that one began, or how it ended.
"""

import atexit
import gc
import importlib
import json
import os
import runpy
import select
import signal
import sys
import threading
import traceback
from typing import Any


def serve() -> list[str] | None:
    """Fork what is asked for; None at the end of standard input, and in each fork the script and its words."""
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    pids: dict[int, int] = {}  # by a descriptor that is ready when the process has ended
    while True:
        for ready in select.select([0, *pids], [], [])[0]:
            if ready:
                os.close(ready)
                pid = pids.pop(ready)
                code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
                print(json.dumps({"ended": pid, "code": code}), file=answers)
            elif not (line := sys.stdin.readline()):
                return None
            elif pid := os.fork():
                pids[os.pidfd_open(pid)] = pid
                print(json.dumps({"began": pid}), file=answers)
            else:
                answers.close()
                for descriptor in pids:
                    os.close(descriptor)
                return _settle(json.loads(line))


def _settle(asked: dict[str, Any]) -> list[str]:
    """Make this process what one that was just started would be."""
    os.setsid()
    signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored where the tests run behind a shell's &
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    for file, descriptor in ((asked["out"], 1), (asked["err"], 2)):
        os.dup2(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644), descriptor)
    os.environ.clear()
    os.environ.update(asked["env"])
    sys.argv = asked["argv"]
    sys.orig_argv = [sys.executable, *sys.argv]
    return sys.argv


def run(script: str) -> int:
    """Run a script as the interpreter does, to its exit code."""
    try:
        runpy.run_path(script, run_name="__main__")
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException:
        traceback.print_exc()
        return 1
    return 0


for module in sys.argv[1:]:
    importlib.import_module(module)
gc.freeze()  # looking for garbage would have each fork copy the memory of all modules
if command := serve():
    code = run(command[0])
    threading._shutdown()  # joins threads, as the interpreter does at its end
    atexit._run_exitfuncs()
    sys.stdout.flush()
    os._exit(code)  # libraries' own ends would wait for threads that they had before the fork
