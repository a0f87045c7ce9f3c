# SPDX-License-Identifier: Apache-2.0
"""The program `matting-gateway`: arguments and environment to settings, signals to the lifecycle."""

import importlib
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import click

from matting_gateway.privacy.hardening import reexec_if_needed
from matting_gateway.settings import OPTIONS, Option, Settings, SettingsError, build_settings

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


@click.group(cls=Program)
@click.version_option(package_name="matting-gateway")
def main() -> None:
    """Cuts the subject out of photos, as a gRPC service in front of Triton."""


def _click_option(option: Option) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Return the click option of a setting; it is None (or empty) unless given, so that defaults live in one place."""
    default = option.default()
    shown = ", ".join(default) if isinstance(default, tuple) else default
    text = option.help if shown in (None, "") else f"{option.help} [default: {shown}]"
    names = f"{option.flag}/--no-{option.flag[2:]}" if option.type is bool else option.flag
    kwargs: dict[str, Any] = {"help": text, "envvar": option.variable, "show_envvar": True, "default": None}
    if option.type is not bool:
        kwargs |= {"type": str if option.multiple else option.type, "multiple": option.multiple}
        if option.multiple:
            del kwargs["default"]
        if option.type is Path:
            kwargs["type"] = click.Path(path_type=Path)
    return click.option(names, option.name, **kwargs)


def _with_options(command: Callable[..., Any]) -> Callable[..., Any]:
    for option in reversed(OPTIONS):
        command = _click_option(option)(command)
    return command


@main.command(context_settings={"max_content_width": 110})
@_with_options
def serve(**values: Any) -> None:
    """Serve until SIGTERM or Ctrl-C; then finish what was accepted, and stop."""
    try:
        settings = build_settings(values)
    except SettingsError as exc:
        raise click.ClickException("these settings cannot be started with:\n  " + "\n  ".join(exc.problems)) from exc
    if not settings.triton:
        _install_triton(settings)
    sockets = [Path(a.removeprefix("unix:")).absolute().parent for a in settings.listen if a.startswith("unix:")]
    # From here on no file can be written, and the process may start over with another environment.
    reexec_if_needed(settings.hardening, os.environ, socket_folders=sockets)
    runner = importlib.import_module("matting_gateway.run")  # with gRPC, which reads the environment when it is loaded
    sys.exit(runner.run(settings, os.environ))


def _install_triton(settings: Settings) -> None:
    install = importlib.import_module("matting_triton.install")
    errors = importlib.import_module("matting_triton.errors")
    try:
        install.ensure_runtime(settings.cache, lambda line: click.echo(line, err=True))
    except errors.LocalTritonError as exc:
        raise click.ClickException(str(exc)) from exc
