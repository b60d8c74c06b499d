"""The command `ser`: the same scripts by another door."""

import re
import subprocess
import sys

import pytest
from here import job_here
from processes import environment

from jobs.__main__ import SCRIPTS

COMPLETE = """
. "$1"; shift
COMP_WORDS=("$@") COMP_CWORD=$(($# - 1))
"$(complete -p ser | sed 's/.*-F \\([^ ]*\\).*/\\1/')"
printf '%s\\n' "${COMPREPLY[@]}"
"""

DYING_ONCE = """
import os, pathlib, signal, sys
from jobs.shared.supervise import is_supervised, supervise
if not is_supervised():
    sys.exit(supervise())
died = pathlib.Path("died")
if not died.exists():
    died.touch()
    os.kill(os.getpid(), signal.SIGKILL)
print(sys.argv[1:])
"""


def ser(*words: object) -> tuple[int, str, str]:
    """Run `ser WORDS` in this process: (exit code, stdout, stderr)."""
    done = job_here("__main__.py", *words)
    return done.returncode, done.stdout, done.stderr


def test_every_script_is_a_command():
    expected = "benchmark build-store evaluate export-best figures paper predict report sweep sync-tracking train"
    assert list(SCRIPTS) == expected.split()


@pytest.mark.parametrize("words", [[], ["--help"], ["-h"]])
def test_the_commands_are_listed_with_what_they_do(words):
    code, out, _ = ser(*words)
    assert code == 0
    assert out.startswith("usage: ser COMMAND")
    for name, path in SCRIPTS.items():
        first = path.read_text("utf-8").partition("\n")[0].removeprefix('"""')
        assert f"\n  {name:13}  {first}\n" in out


def test_the_list_imports_nothing_heavy():
    code = (
        "import sys; from jobs.__main__ import main; main(); print(*{name.partition('.')[0] for name in sys.modules})"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment(), check=True)
    loaded = done.stdout.splitlines()[-1].split()
    assert "jobs" in loaded
    assert not {"tyro", "torch", "ray", "mlflow", "numpy", "pydantic", "yaml"} & set(loaded)


def test_a_misspelt_command_is_one_line():
    line = "error: unknown command 'swep'; the nearest valid name is 'sweep'; see ser --help\n"
    assert ser("swep", "--store", "x") == (2, "", line)


@pytest.mark.parametrize("name", SCRIPTS)
def test_help_is_that_of_the_script(name):
    code, out, err = ser(name, "--help")
    script = job_here(SCRIPTS[name].name, "--help")
    assert (code, err, script.returncode) == (0, "", 0)
    usage, _, rest = out.partition("\n")
    assert usage.startswith(f"usage: ser {name} ")
    assert rest == script.stdout.partition("\n")[2]


def test_mistakes_have_the_line_and_the_code_of_the_script(tmp_path):
    words = ["--store", tmp_path / "no.arrow", "--resume", "--fresh"]
    script = job_here("sweep.py", *words)
    assert ser("sweep", *words) == (script.returncode, script.stdout, script.stderr)
    assert script.returncode == 2
    assert "exclude each other" in script.stderr


@pytest.fixture(scope="module")
def completed(tmp_path_factory):
    """What bash offers for the last of some words."""
    script = tmp_path_factory.mktemp("completion") / "ser"
    script.write_text(ser("--print-completion", "bash")[1])

    def call(*words: str) -> list[str]:
        command = ["bash", "-c", COMPLETE, "bash", script, "ser", *words]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.split("\n")[:-1]

    return call


def test_bash_completes_commands_and_values(completed):
    assert set(completed("")) >= set(SCRIPTS)
    assert completed("sw") == ["sweep"]
    assert completed("train", "--device", "") == ["auto", "cpu", "cuda"]
    assert completed("sweep", "--store", "STORE", "--dry") == ["--dry-run"]


@pytest.mark.parametrize("name", SCRIPTS)
def test_bash_completes_the_flags_of_each_command_and_no_piece_of_their_help(completed, name):
    flags = completed(name, "--")
    assert "--help" in flags
    assert all(re.fullmatch("--[a-z-]+", flag) for flag in flags)


def test_bash_completes_file_names(tmp_path):
    (tmp_path / "ser").write_text(ser("--print-completion", "bash")[1])
    command = ["bash", "-c", '. "$1"; complete -p ser', "bash", tmp_path / "ser"]
    assert " -o default " in subprocess.run(command, capture_output=True, text=True, check=True).stdout


def test_a_shell_that_tyro_does_not_know_is_named():
    code, out, err = ser("--print-completion", "ksh")
    assert (code, out) == (2, "")
    assert err == "error: --print-completion: unknown shell 'ksh'; the nearest valid name is 'zsh'\n"
    assert ser("--print-completion")[2] == "error: --print-completion takes one word: bash, zsh, fish\n"


def test_a_job_started_as_a_module_goes_on_by_itself_with_the_same_words(tmp_path):
    """What `--resume auto` rests on, however the sweep was started: its process is killed once."""
    package = tmp_path / "again"
    package.mkdir()
    (package / "__main__.py").write_text("import again.work\n")  # found only when started by -m once more
    (package / "work.py").write_text(DYING_ONCE)
    command = [sys.executable, "-m", "again", "sweep", "--name", "two words"]
    done = subprocess.run(command, cwd=tmp_path, env=environment(), capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout) == (0, "['sweep', '--name', 'two words']\n"), done.stderr
    assert done.stderr == "the driver died (SIGKILL); it is started again and goes on\n"
