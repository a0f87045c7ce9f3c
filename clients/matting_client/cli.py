# SPDX-License-Identifier: Apache-2.0
"""The program `matting`: cutouts of files and folders, the server's models, its data policy."""

import argparse
import asyncio
import os
import sys
from collections.abc import Sequence
from importlib import metadata

from matting_client.aio import AsyncClient
from matting_client.arguments import UsageError, add_connection_arguments, add_cutout_arguments, read_cutout, read_tls
from matting_client.client import Client
from matting_client.cutout import CutoutPlan, FileOutcome, cut_out, explain
from matting_client.errors import MattingError, ServerUnreachableError
from matting_client.files import FileJob
from matting_client.printing import models_text, policy_text
from matting_client.progress import Progress, make_progress
from matting_client.retry import RetryPolicy

DONE, SOME_FAILED, USAGE, UNREACHABLE = 0, 1, 2, 3

EPILOG = """exit codes:
  0  all done
  1  some failed, each named on standard error with why; or interrupted
  2  the command line cannot be followed
  3  no server answered, or it stopped answering; what was left was not tried

environment:
  MATTING_SERVER  the server where --server is not given; several with commas
"""

# A folder of photos is patient work: it waits out a busy server, but not one that is gone.
PATIENT = RetryPolicy(max_attempts=8, budget_tokens=100.0, budget_refill=1.0)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the program; returns its exit code."""
    parser = make_parser(os.environ.get("MATTING_SERVER", ""))
    arguments = parser.parse_args(argv)
    try:
        run = {"cutout": run_cutout, "models": run_models, "policy": run_policy}[arguments.command]
        return run(arguments)
    except (UsageError, ValueError) as error:
        parser.exit(USAGE, f"matting {arguments.command}: {error}\n")
    except MattingError as error:
        print(f"matting {arguments.command}: {explain(error)}", file=sys.stderr)
        return UNREACHABLE if isinstance(error, ServerUnreachableError) else SOME_FAILED
    except BrokenPipeError:  # whoever read the output has seen enough; nothing is to be written at exit either
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return DONE
    except OSError as error:
        print(f"matting {arguments.command}: {error}", file=sys.stderr)
        return SOME_FAILED
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return SOME_FAILED


def make_parser(server: str) -> argparse.ArgumentParser:
    """Describe the command line; `server` is the default address, empty for this machine's."""
    parser = argparse.ArgumentParser(
        prog="matting",
        description="Cut the subject out of photos, by a matting gateway.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"matting {metadata.version('matting-gateway')}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name, summary in (
        ("cutout", "cut the subject out of files and folders"),
        ("models", "list the models that can be named"),
        ("policy", "print what the server does with data"),
    ):
        command = commands.add_parser(
            name,
            help=summary,
            description=summary[0].upper() + summary[1:] + ".",
            epilog=EPILOG,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        if name == "cutout":
            add_cutout_arguments(command)
        else:
            command.add_argument("--json", action="store_true", help="print JSON")
        add_connection_arguments(command, server)
    return parser


def run_cutout(arguments: argparse.Namespace) -> int:
    """Cut out every photo, telling how it goes on standard error."""
    jobs, plan = read_cutout(arguments)
    with make_progress(len(jobs), quiet=arguments.quiet) as progress:
        if plan.local:
            progress.say("asking for the alpha only and composing here; --server-side has the server do it")
        elif arguments.local_missing:
            progress.say(f"composing at the server: {arguments.local_missing}")
        outcomes = asyncio.run(_cut_out(arguments, jobs, plan, progress))
    done_count = sum(not outcome.error for outcome in outcomes)
    untried_count = sum(not outcome.tried for outcome in outcomes)
    if len(jobs) > 1:
        untried = f", {untried_count} not tried" if untried_count else ""
        progress.say(f"{done_count} of {len(jobs)} done{untried}")
    elif done_count:
        progress.say(f"wrote {jobs[0].target}")
    if any(outcome.unreachable for outcome in outcomes):
        return UNREACHABLE
    return DONE if done_count == len(jobs) else SOME_FAILED


async def _cut_out(
    arguments: argparse.Namespace, jobs: Sequence[FileJob], plan: CutoutPlan, progress: Progress
) -> list[FileOutcome]:
    def on_done(outcome: FileOutcome) -> None:
        progress.advance()
        if outcome.error and outcome.tried:
            progress.complain(f"{outcome.job.source}: {outcome.error}")
        elif outcome.note and outcome.tried:
            progress.say(f"{outcome.job.source}: {outcome.note}")

    async with AsyncClient(
        *arguments.server,
        tls=read_tls(arguments),
        token=arguments.token,
        token_over_plaintext=arguments.token_over_plaintext,
        timeout_s=arguments.timeout,
        retry=PATIENT,
    ) as client:
        return await cut_out(client, jobs, plan, concurrency=arguments.concurrency, on_done=on_done)


def run_models(arguments: argparse.Namespace) -> int:
    """Print the models that can be named; none at all is a failure, which the exit code tells."""
    with _client(arguments) as client:
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
    with _client(arguments) as client:
        print(policy_text(client.data_policy(), as_json=arguments.json), flush=True)
    return DONE


def _client(arguments: argparse.Namespace) -> Client:
    return Client(
        *arguments.server,
        tls=read_tls(arguments),
        token=arguments.token,
        token_over_plaintext=arguments.token_over_plaintext,
        timeout_s=arguments.timeout,
    )


if __name__ == "__main__":
    sys.exit(main())
