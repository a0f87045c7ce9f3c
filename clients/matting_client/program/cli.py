# SPDX-License-Identifier: Apache-2.0
"""The program `matting`: cutouts of files and folders, the server's models, its data policy."""

import argparse
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NoReturn

from matting_client.client import Client
from matting_client.errors import MattingError
from matting_client.program.arguments import EPILOG, SUMMARIES, make_parsers
from matting_client.program.completion import completion_script
from matting_client.program.connecting import code_of, explain_at_length, make_client
from matting_client.program.cutout_command import run_cutout
from matting_client.program.explaining import did_you_mean, plain
from matting_client.program.parsing import USAGE, UsageError
from matting_client.program.printing import models_text, policy_text, stop_printing
from matting_client.version import version_of

DONE, SOME_FAILED, INTERRUPTED = 0, 1, 130

_HELP = f"""usage: matting COMMAND ...

Cut the subject out of photos, by a matting gateway.

commands (matting COMMAND -h tells more):
{chr(10).join(f"  {name:10}  {summary}" for name, summary in SUMMARIES.items())}

{EPILOG.rstrip()}"""
_ABOUT = ("-h", "--help", "help", "--version")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the program; returns its exit code, or exits with 2 where the command line cannot be followed."""
    words = list(sys.argv[1:] if argv is None else argv)
    first = words[0] if words else ""
    if first not in _RUN and first not in _ABOUT:
        _refuse(f"matting: {_no_command(first)} (matting -h shows what there is)")
    arguments = argparse.Namespace()
    try:
        if first in _ABOUT:
            print(f"matting {version_of('matting_client')}" if first == "--version" else _HELP, flush=True)
            return DONE
        arguments = make_parsers(os.environ.get("MATTING_SERVER", ""))[first].read(words[1:])
        return _RUN[first](arguments)
    except (UsageError, ValueError) as error:
        _refuse(f"matting {first}: {error}")
    except MattingError as error:
        print(plain(f"matting {first}: {explain_at_length(arguments, error)}"), file=sys.stderr)
        return code_of(error)
    except BrokenPipeError:  # whoever read the output has seen enough
        stop_printing()
        return DONE
    except OSError as error:
        print(f"matting {first}: {error}", file=sys.stderr)
        return SOME_FAILED
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return INTERRUPTED


def run_models(arguments: argparse.Namespace) -> int:
    """Print the models that can be named; none at all is a failure, which the exit code tells."""
    with make_client(arguments, Client) as client:
        models = client.list_models()
    print(models_text(models, as_json=arguments.json), flush=True)
    if models:
        return DONE
    print(
        "matting models: no model is served. The gateway answers, but no Triton behind it is ready with one yet, or "
        "its model repository is empty; ask the gateway's operator, or `matting-gateway models list` on its machine.",
        file=sys.stderr,
    )
    return SOME_FAILED


def run_policy(arguments: argparse.Namespace) -> int:
    """Print the data policy."""
    with make_client(arguments, Client) as client:
        print(policy_text(client.data_policy(), as_json=arguments.json), flush=True)
    return DONE


def run_completion(arguments: argparse.Namespace) -> int:
    """Print a shell's completion."""
    print(completion_script(arguments.shell, make_parsers("")), end="", flush=True)
    return DONE


_RUN: Mapping[str, Callable[[argparse.Namespace], int]] = {
    "cutout": run_cutout,
    "models": run_models,
    "policy": run_policy,
    "completion": run_completion,
}


def _no_command(first: str) -> str:
    if not first:
        return f"name a command: {', '.join(SUMMARIES)}"
    if first.startswith("-"):
        return f"the command comes first ({', '.join(SUMMARIES)}), and then {first}"
    if Path(first).exists():
        return f"{first} is no command; did you mean matting cutout {first} -o OUT?"
    return f"there is no command {first!r}{did_you_mean(first, SUMMARIES)}"


def _refuse(line: str) -> NoReturn:
    print(plain(line), file=sys.stderr)
    raise SystemExit(USAGE)


if __name__ == "__main__":
    sys.exit(main())
