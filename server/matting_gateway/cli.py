# SPDX-License-Identifier: Apache-2.0
"""The program `matting-gateway`: arguments and environment to settings, signals to the lifecycle."""

import importlib
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

try:
    import click
except ModuleNotFoundError as missing:
    raise ImportError("matting_gateway needs click: pip install 'matting-gateway[server]'") from missing

from matting_gateway.admission.tenant_file import new_token
from matting_gateway.clock import SystemClock
from matting_gateway.configuration.settings import OPTIONS, Settings
from matting_gateway.configuration.sources import configuration, deeper_problems
from matting_gateway.health_check import Probe
from matting_gateway.health_check import check as ask
from matting_gateway.options import ENVIRONMENT_PREFIX, Option
from matting_gateway.privacy.hardening import reexec_if_needed

# Commands of other packages, imported only when they are run: (module, attribute, extra, help).
_OTHERS = {
    "models": (
        "matting_models.cli",
        "models",
        "models",
        "Model repository: list, add, verify, quantize, tune, remove.",
    ),
    "triton": ("matting_triton.cli", "triton", "server", "Run the local Triton alone, in the foreground."),
}


_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)


class Program(click.Group):
    """The group of commands; those of other packages are looked up when named."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted([*super().list_commands(ctx), *_OTHERS])

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in _OTHERS:
            return super().get_command(ctx, cmd_name)
        module, attribute, extra, _ = _OTHERS[cmd_name]
        try:
            return cast("click.Command", getattr(importlib.import_module(module), attribute))
        except ImportError as exc:
            raise click.ClickException(
                f"`{cmd_name}` needs {exc.name}: pip install 'matting-gateway[{extra}]'"
            ) from exc


_HELP = {"help_option_names": ["-h", "--help"], "max_content_width": 110}


@click.group(cls=Program, context_settings=_HELP)
@click.version_option(package_name="matting-gateway")
def main() -> None:
    """Cuts the subject out of photos, as a gRPC service in front of Triton."""


def _click_option(option: Option) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Return the click option of a setting; it is None (or empty) unless given, so that defaults live in one place.

    Values are taken as texts, and variables not at all: what they mean is for `configuration` to say, of all at once.
    """
    default = option.default()
    shown = ", ".join(default) if isinstance(default, tuple) else default
    notes = f"env var: {option.variable}" + ("" if shown in (None, "") else f"; default: {shown}")
    names = f"{option.flag}/--no-{option.flag[2:]}" if option.type is bool else option.flag
    kwargs: dict[str, Any] = {"help": f"{option.help} [{notes}]", "default": None}
    if option.multiple:
        kwargs = {"help": kwargs["help"], "multiple": True}
    if option.type is not bool:
        kwargs |= {"type": str, "metavar": _METAVARS.get(option.type, "TEXT")}
    return click.option(names, option.name, **kwargs)


_METAVARS: dict[type, str] = {int: "INTEGER", float: "FLOAT", Path: "PATH"}


def _with_options(command: Callable[..., Any]) -> Callable[..., Any]:
    for option in reversed(OPTIONS):
        command = _click_option(option)(command)
    return command


@main.command(context_settings=_HELP, short_help="Serve until SIGTERM or Ctrl-C.")
@click.option(
    "--config",
    type=click.Path(path_type=Path),
    envvar=f"{ENVIRONMENT_PREFIX}_CONFIG",
    show_envvar=True,
    help="A configuration file (TOML): a key for each option below, without the dashes. Flags and variables go first.",
)
@click.option(
    "--check", is_flag=True, help="Say what is wrong with the configuration and its files, and start nothing."
)
@_with_options
def serve(config: Path | None, check: bool, **values: Any) -> None:
    """Serve until SIGTERM or Ctrl-C; then finish what was accepted, and stop.

    SIGHUP: read certificates and tenants again.
    """
    clock = SystemClock()
    configured = configuration(values, os.environ, config, clock=clock)
    settings, problems = configured.settings, configured.problems
    if check:
        problems += deeper_problems(settings, clock=clock)
    if problems:
        raise click.ClickException("these settings cannot be started with:\n  " + "\n  ".join(problems))
    if check:
        click.echo(f"the configuration is good; it would listen on {', '.join(settings.listen)}")
        return
    if not settings.triton:
        _install_triton(settings)
    sockets = [Path(a.removeprefix("unix:")).absolute().parent for a in settings.listen if a.startswith("unix:")]
    # From here on no file can be written, and the process may start over with another environment.
    reexec_if_needed(settings.hardening, os.environ, socket_folders=sockets)
    runner = importlib.import_module("matting_gateway.run")  # with gRPC, which reads the environment when it is loaded
    sys.exit(runner.run(settings, os.environ))


@main.command(context_settings=_HELP)
@click.option("--address", help="HOST:PORT or unix:PATH  [default: the first of MATTING_LISTEN, or 127.0.0.1:50051]")
@click.option("--service", default="", help="Another service than the gateway itself, such as model/u2net.")
@click.option(
    "--timeout-s",
    type=click.FloatRange(min=0, min_open=True),
    default=5.0,
    show_default=True,
    help="How long it may take.",
)
@click.option("--tls-ca", type=_FILE, help="Speak TLS, by this CA (PEM).")
@click.option("--tls-certificate", type=_FILE, help="Client certificate, where the gateway asks for one (PEM).")
@click.option("--tls-key", type=_FILE, help="Its private key (PEM).")
@click.option("--server-name", default="", help="What the gateway's certificate names, if not the address's host.")
def health(
    address: str | None,
    service: str,
    timeout_s: float,
    tls_ca: Path | None,
    tls_certificate: Path | None,
    tls_key: Path | None,
    server_name: str,
) -> None:
    """Ask a running gateway whether it serves. Exit code 0: it does; 1: it does not; 2: wrong use."""
    listed = os.environ.get(f"{ENVIRONMENT_PREFIX}_LISTEN", "").split() or Settings().listen
    probe = Probe(
        address or listed[0],
        service=service,
        timeout_s=timeout_s,
        ca_file=tls_ca,
        certificate_file=tls_certificate,
        key_file=tls_key,
        server_name=server_name,
    )
    try:
        verdict = ask(probe)
    except (ValueError, OSError) as exc:
        raise click.UsageError(str(exc)) from exc
    click.echo(verdict.text, err=not verdict.serving)
    sys.exit(0 if verdict.serving else 1)


def _install_triton(settings: Settings) -> None:
    install = importlib.import_module("matting_triton.install")
    errors = importlib.import_module("matting_triton.errors")
    try:
        install.ensure_runtime(settings.cache, lambda line: click.echo(line, err=True))
    except errors.LocalTritonError as exc:
        raise click.ClickException(str(exc)) from exc


@main.group(context_settings=_HELP)
def tenants() -> None:
    """Who may call: what the file of --tenants is made of."""


@tenants.command(context_settings=_HELP)
def token() -> None:
    """Make a token for a caller, and its hash for the file of tenants. Nothing is kept."""
    made, digest = new_token()
    click.echo(f"for the caller, once:   {made}")
    click.echo(f'for the file:           token_sha256 = ["{digest}"]')
