"""The command line: thin. stdout is the answer, stderr is talk.

Exit codes: 0 yes; 1 the answer is no; 2 the question was wrong, or the answer is incomplete; 101 a
bug of ours; 130 Ctrl-C.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from contextlib import suppress

from cyclopts import CycloptsError, MissingArgumentError

from picojoule.cli.answers import NO, WRONG, YES, say
from picojoule.cli.blame import blamed_on_the_user, with_place
from picojoule.cli.commands import app
from picojoule.errors import BudgetError, NoMappingError, PicojouleError

__all__ = ["app", "main"]

BUG, INTERRUPTED = 101, 130


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    traceback = "--traceback" in words
    words = [word for word in words if word != "--traceback"]
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")
    if words[:1] == ["__complete"]:  # a shell that completes what is being typed
        with suppress(SystemExit):
            app(words)
        return YES
    if not words or words[0] in app.help_flags:
        app.resolved_commands()  # help says what each of them does; else one is imported
    try:
        command, bound, _ = app.parse_args(words, exit_on_error=False, print_error=False)
        code = command(*bound.args, **bound.kwargs)
        sys.stdout.flush()
        return code if isinstance(code, int) else YES
    except KeyboardInterrupt:
        say("interrupted")
        return INTERRUPTED
    except BrokenPipeError:
        # The reader has seen enough; keep the interpreter from complaining when it flushes.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return YES
    except CycloptsError as error:
        return _refuse(_plain_message(error), WRONG, error if traceback else None)
    except (BudgetError, NoMappingError) as error:
        return _refuse(str(error), NO, error if traceback else None)
    except PicojouleError as error:
        return _refuse(with_place(error), WRONG, error if traceback else None)
    except Exception as error:
        blamed = blamed_on_the_user(error)
        if blamed is not None:
            return _refuse(blamed, WRONG, error if traceback else None)
        message = f"a bug of picojoule: {type(error).__name__}: {error}".splitlines()[0]
        if not traceback:
            message += "; please report it with the output of the same command and --traceback"
        return _refuse(message, BUG, error if traceback else None)


def _plain_message(error: CycloptsError) -> str:
    message = " ".join(str(error).split())
    if not isinstance(error, MissingArgumentError) or error.argument is None:
        return message
    if "--accelerator" in error.argument.names:
        from picojoule.specs import shipped_accelerators

        chips = ", ".join(shipped_accelerators())
        message += f" Give a .yaml file, or one of {chips}: -a eyeriss-pj, for one."
    return message


def _refuse(message: str, code: int, traced: BaseException | None) -> int:
    if traced is not None:
        import traceback

        sys.stderr.write("".join(traceback.format_exception(traced)))
    say(f"error: {message}")
    return code
