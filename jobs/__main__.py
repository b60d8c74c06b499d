"""The command `ser`: every script of this folder by its name, `ser build-store` for jobs/build_store.py."""

import ast
import sys
from importlib import import_module
from pathlib import Path
from types import ModuleType

from jobs.shared.cli import exit_codes, run
from sermodels.errors import UserError

SCRIPTS = {path.stem.replace("_", "-"): path for path in sorted(Path(__file__).parent.glob("[!_]*.py"))}


def main() -> None:
    """Run the script that the first word of the command line names.

    Raises:
        SystemExit: that of the script; see `exit_codes`.
    """
    with exit_codes():
        match sys.argv[1:]:
            case [] | ["-h" | "--help", *_]:
                print(_overview())
            case ["--print-completion", *shells]:
                _print_completion(*shells)
            case [name, *words]:
                script = _script(name)
                run(script.main, script.Args, words, prog=f"ser {name}")


def _overview() -> str:
    """The commands with the first line of each docstring, read without running the scripts: that answers at once."""
    width = max(map(len, SCRIPTS))
    firsts = (ast.get_docstring(ast.parse(path.read_text("utf-8"))).partition("\n")[0] for path in SCRIPTS.values())
    commands = "\n".join(f"  {name:{width}}  {first}" for name, first in zip(SCRIPTS, firsts, strict=True))
    return (
        f"usage: ser COMMAND …\n\n{commands}\n\n"
        "ser COMMAND --help says more of one; ser --print-completion bash prints what completes all of them in a shell."
    )


def _print_completion(*shells: str) -> None:
    from jobs.shared.parsing import SHELLS, completion  # so that the overview is there at once
    from sermodels.config.parsing import unknown

    if len(shells) != 1:
        raise UserError(f"--print-completion takes one word: {', '.join(SHELLS)}")
    if shells[0] not in SHELLS:
        raise UserError(f"--print-completion: {unknown('shell', shells[0], SHELLS)}")
    print(completion({name: _script(name).Args for name in SCRIPTS}, "ser", shells[0]))


def _script(name: str) -> ModuleType:
    if name not in SCRIPTS:
        from sermodels.config.parsing import unknown

        raise UserError(f"{unknown('command', name, SCRIPTS)}; see ser --help")
    return import_module(f"jobs.{SCRIPTS[name].stem}")


if __name__ == "__main__":
    main()
