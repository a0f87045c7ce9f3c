# SPDX-License-Identifier: Apache-2.0
"""The program `matting`: cutouts of files and folders, the server's models, its data policy."""

import os
import sys
from collections.abc import Sequence
from pathlib import Path

from matting_client.client import Client
from matting_client.program.arguments import COMPLETION, CUTOUT, EPILOG, JSON, server_options
from matting_client.program.completion import completion_script
from matting_client.program.connecting import Server, with_server
from matting_client.program.cutout_command import run_cutout
from matting_client.program.explaining import did_you_mean
from matting_client.program.parsing import DONE, FAILED, Command, Program, Sections
from matting_client.program.printing import models_text, policy_text


class Matting(Program):
    """The program."""

    package = "matting_client"

    def no_command(self, first: str) -> str:
        if not first:
            return f"name a command: {', '.join(self.commands)}"
        if first.startswith("-"):
            return f"the command comes first ({', '.join(self.commands)}), and then {first}"
        if Path(first).exists():
            return f"{first} is no command; did you mean matting cutout {first} -o OUT?"
        return f"there is no command {first!r}{did_you_mean(first, self.commands)}"


def make_program(server: str) -> Program:
    """Describe the program; `server` is the default address, empty for this machine's."""
    where: Sections = {"Server": server_options(server)}
    question: Sections = {"Options": [JSON], **where}
    return Matting(
        "matting",
        "Cut the subject out of photos, by a matting gateway.",
        EPILOG,
        [
            Command("cutout", "cut the subject out of files and folders", with_server(run_cutout), {**CUTOUT, **where}),
            Command("models", "list the models that can be named", with_server(run_models), question),
            Command("policy", "print what the server does with data", with_server(run_policy), question),
            Command("completion", "print the completion for bash, zsh or fish", run_completion, COMPLETION),
        ],
    )


def main(argv: Sequence[str] | None = None) -> int:
    """Run the program; returns its exit code, or exits with 2 where the command line cannot be followed."""
    return make_program(os.environ.get("MATTING_SERVER", "")).run(argv)


def run_models(server: Server, *, as_json: bool) -> int:
    """Print the models that can be named; none at all is a failure, which the exit code tells."""
    with server.client(Client) as client:
        models = client.list_models()
    print(models_text(models, as_json=as_json), flush=True)
    if models:
        return DONE
    print(
        "matting models: no model is served. The gateway answers, but no Triton behind it is ready with one yet, or "
        "its model repository is empty; ask the gateway's operator, or `matting-gateway models list` on its machine.",
        file=sys.stderr,
    )
    return FAILED


def run_policy(server: Server, *, as_json: bool) -> int:
    """Print the data policy."""
    with server.client(Client) as client:
        print(policy_text(client.data_policy(), as_json=as_json), flush=True)
    return DONE


def run_completion(shell: str) -> int:
    """Print a shell's completion."""
    print(completion_script(shell, make_program("")), end="", flush=True)
    return DONE


if __name__ == "__main__":
    sys.exit(main())
