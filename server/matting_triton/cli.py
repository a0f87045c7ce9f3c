# SPDX-License-Identifier: Apache-2.0
"""Runs a local Triton in the foreground."""

import signal
import sys
from pathlib import Path
from types import FrameType

import click

from matting_triton.command import ModelControl
from matting_triton.errors import LocalTritonError
from matting_triton.install import ensure_runtime
from matting_triton.local import LocalTriton

_PORT = click.IntRange(0, 65535)


class _Stopped(BaseException):
    """Raised in the main thread by SIGTERM and SIGINT."""


@click.command(name="triton")
@click.option(
    "--repository",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    default=Path("model_repository"),
    show_default=True,
    help="Triton model repository to serve.",
)
@click.option(
    "--cache",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path(".cache"),
    show_default=True,
    help="Folder that keeps Triton itself; it is installed there if it is not.",
)
@click.option("--grpc-port", type=_PORT, default=8001, show_default=True, help="Port on 127.0.0.1; 0 for any free one.")
@click.option("--http-port", type=_PORT, help="Also serve HTTP on this port of 127.0.0.1. Off by default.")
@click.option("--metrics-port", type=_PORT, help="Also serve Triton's metrics on this port. Off by default.")
@click.option(
    "--model-control",
    type=click.Choice([mode.value for mode in ModelControl]),
    default=ModelControl.EXPLICIT.value,
    show_default=True,
    help="explicit: models are loaded and unloaded by calls, all at start; poll: the folder is watched; none: never.",
)
@click.option(
    "--env", "environment", multiple=True, metavar="NAME=VALUE", help="Added to Triton's environment; repeatable."
)
@click.option(
    "--ready-timeout", type=click.FloatRange(min=1), default=900.0, show_default=True, help="Seconds to load models."
)
@click.option("--quiet", is_flag=True, help="Print warnings and errors of Triton only.")
def triton(
    repository: Path,
    cache: Path,
    grpc_port: int,
    http_port: int | None,
    metrics_port: int | None,
    model_control: str,
    environment: tuple[str, ...],
    ready_timeout: float,
    quiet: bool,
) -> None:
    """Run a local Triton on 127.0.0.1 until SIGTERM or SIGINT.

    Exit code 0 after a signal, 1 if Triton could not be started or ended by itself.
    """
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, _raise_stopped)
    try:
        server = LocalTriton(
            ensure_runtime(cache, click.echo),
            repository,
            grpc_port=grpc_port,
            http_port=http_port,
            metrics_port=metrics_port,
            model_control=ModelControl(model_control),
            environment=_parse_environment(environment),
            log=_print_problems if quiet else click.echo,
        )
        try:
            server.start()
            server.wait_ready(ready_timeout)
            _announce(server)
            server.wait_ended()
            raise click.ClickException(f"Triton ended by itself. {' '.join(server.log_tail[-1:])}")
        finally:
            server.stop()
    except LocalTritonError as exc:
        raise click.ClickException(str(exc)) from exc
    except _Stopped:
        click.echo("Triton is stopped")
        sys.exit(0)


def _announce(server: LocalTriton) -> None:
    for name, reason in server.failed_models.items():
        click.echo(f"model {name} is not served: {reason}", err=True)
    doors = {"gRPC": server.ports.grpc, "HTTP": server.ports.http, "metrics": server.ports.metrics}
    listening = ", ".join(f"{door} on 127.0.0.1:{port}" for door, port in doors.items() if port is not None)
    click.echo(f"Triton is ready: {listening}")


def _print_problems(line: str) -> None:
    # Triton begins a line with the first letter of its severity and the date: E1122, W1122.
    if line[:1] in ("E", "W", "F") and line[1:5].isdecimal():
        click.echo(line)


def _parse_environment(entries: tuple[str, ...]) -> dict[str, str]:
    parsed = {}
    for entry in entries:
        name, separator, value = entry.partition("=")
        if not separator or not name:
            raise click.BadParameter(f"{entry!r} is not NAME=VALUE", param_hint="--env")
        parsed[name] = value
    return parsed


def _raise_stopped(_number: int, _frame: FrameType | None) -> None:
    # Once only: a second signal must not interrupt the clean-up.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.SIG_IGN)
    raise _Stopped


if __name__ == "__main__":
    triton()
