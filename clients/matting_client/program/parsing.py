# SPDX-License-Identifier: Apache-2.0
"""Command lines read as a person means them: options anywhere, one line an error, what is nearest to a typo named."""

import contextlib
import math
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, TypeAlias

import click

from matting_client.program.explaining import did_you_mean, plain
from matting_client.version import version_of

DONE, FAILED, USAGE, UNREACHABLE, INTERRUPTED = 0, 1, 2, 3, 130
# The type of an option that names a file; whether it can be read or written is found out where that is done.
FILE = click.Path(readable=False)
# What can be given to a command, under the headings of its help.
Sections: TypeAlias = Mapping[str, Sequence[click.Parameter]]


class Parsed(click.ParamType[Any]):
    """The type of an option whose words a function reads; the function's ValueError says what is wrong with them."""

    name = "text"

    def __init__(self, read: Callable[[str], Any]) -> None:
        self._read = read

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Read the words; a default is a value already."""
        try:
            return self._read(value) if isinstance(value, str) else value
        except ValueError as error:
            self.fail(str(error), param, ctx)


class OneOf(click.Choice[str]):
    """The type of an option that is one of a few words."""

    def get_metavar(self, param: click.Parameter, ctx: click.Context) -> str:
        return "|".join(self.choices)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        if value in self.choices:
            return str(value)
        near = did_you_mean(value, self.choices)
        raise click.BadParameter(f"{value!r} is none of {', '.join(self.choices)}{near}", ctx, param)


def whole_number(low: int, high: float = math.inf) -> Parsed:
    """Return the type of an option that is a whole number within bounds, both included."""
    bounds = f"at least {low}" if high == math.inf else f"{low} to {high}"
    return number(lambda value: low <= value <= high, bounds, int)


def number(within: Callable[[float], bool], bounds: str, kind: type[int | float] = float) -> Parsed:
    """Return the type of an option that is a number for which `within` holds, which `bounds` says in words."""

    def read(text: str) -> float:
        with contextlib.suppress(ValueError):
            if within(value := kind(text)):
                return value
        raise ValueError(f"{text!r} is no {'whole ' if kind is int else ''}number that is {bounds}")

    return Parsed(read)


def option(
    names: str, metavar: str | None, about: str, kind: click.ParamType[Any] | None = None, **more: Any
) -> click.Option:
    """Return an option that takes a value; its default is shown, where there is one that says something."""
    default = more.get("default", "")
    shown = f"{default:g}" if isinstance(default, int | float) else default  # 60.0 is 60 to a person
    text = about if not shown or "(default" in about else f"{about} (default: {shown})"
    return click.Option(names.split(", "), type=kind, metavar=metavar, help=text, **more)


def flag(names: str, about: str) -> click.Option:
    """Return an option that takes no value."""
    return click.Option(names.split(", "), is_flag=True, help=about)


TLS = (
    flag("--tls", "speak TLS, trusting the usual roots"),
    option("--tls-ca", "FILE", "speak TLS, trusting these roots (PEM)", FILE),
    option("--tls-cert", "FILE", "this client's certificate (PEM)", FILE),
    option("--tls-key", "FILE", "the key of --tls-cert (PEM)", FILE),
    option("--tls-server-name", "NAME", "the name in the server's certificate", default=""),
)


def _token(text: str) -> str:
    if not text.startswith("@"):
        return text
    try:
        token = Path(text[1:]).read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"cannot read the token's file: {error}") from error
    if not token:
        raise ValueError(f"the token's file is empty: {text[1:]}")
    return token


TOKEN = (
    option("--token", "TOKEN", "bearer token; @FILE reads it from a file", Parsed(_token), default=""),
    flag("--token-over-plaintext", "send the token unencrypted to another machine"),
)


class Command(click.Command):
    """A command of a program: what is called with what is given, and returns the exit code."""

    def __init__(self, name: str, summary: str, callback: Callable[..., int], sections: Sections) -> None:
        about = f"{summary[0].upper()}{summary[1:]}."
        settings = {"allow_extra_args": True}
        super().__init__(name, settings, callback, help=about, short_help=summary, add_help_option=False)
        click.help_option("-h", "--help", help="show this help message and exit")(self)
        self._sections = {**sections, "Options": [*self.params, *sections.get("Options", ())]}
        self.params = [parameter for section in self._sections.values() for parameter in section]
        self._names = {name for each in self.params for name in (*each.opts, *each.secondary_opts)}

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        rest = super().parse_args(ctx, args)
        for each in self.params:
            if ctx.params.get(each.name) in self._names:  # its own value was left out
                ctx.fail(f"option '{_name(each)}' requires an argument")
        if rest:
            ctx.fail(f"there is nothing to do with {rest[0]}")
        return rest

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        for heading, section in self._sections.items():
            with formatter.section(heading):
                options = [each for each in section if isinstance(each, click.Option)]
                formatter.write_dl([record for each in options if (record := each.get_help_record(ctx))])


class Program(click.Group):
    """A program of several commands; `below` is said below every help."""

    package: ClassVar[str]  # the one whose version it has
    codes: ClassVar[Mapping[type[Exception], int]] = {OSError: FAILED}  # of failures that a command may end with
    interrupted: ClassVar[str] = "interrupted"  # said where Ctrl-C ends a command, whose name is put for {command}

    def __init__(self, name: str, about: str, below: str, commands: Sequence[Command]) -> None:
        settings = {"help_option_names": ["-h", "--help"], "max_content_width": 120}
        super().__init__(name, commands, context_settings=settings, help=about, epilog=below)
        for command in commands:
            command.epilog = below

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(self.commands)

    def no_command(self, first: str) -> str:
        """Say what is wrong with a first word that is no command."""
        return f"there is no command {first}{did_you_mean(first, self.commands)}" if first else "say which command"

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        first = args[0] if args else ""
        if first not in {*self.commands, *ctx.help_option_names}:
            ctx.fail(self.no_command(first))
        return super().parse_args(ctx, args)

    def run(self, words: Sequence[str] | None = None) -> int:
        """Run a command; returns its exit code, or exits: after help, and with 2 where the words cannot be followed."""
        words = list(sys.argv[1:] if words is None else words)
        first = words[0] if words else ""
        command = f"{self.name} {first}" if first in self.commands else f"{self.name}"
        try:
            if first == "--version":
                print(f"{self.name} {version_of(self.package)}", flush=True)  # noqa: T201 - a program
                return DONE
            with self.make_context(self.name, ["-h"] if first == "help" else words) as context:
                return int(self.invoke(context))
        except click.exceptions.Exit as end:
            sys.exit(end.exit_code)
        except (click.UsageError, ValueError) as error:
            more = f" ({command} -h shows what there is)" if isinstance(error, click.UsageError) else ""
            _complain(f"{command}: {_what_is_wrong(error)}{more}")
            sys.exit(USAGE)
        except BrokenPipeError:  # whoever read the output has seen enough
            stop_printing()
            return DONE
        except tuple(self.codes) as error:
            cause = error if isinstance(error, OSError) and error.filename else None
            _complain(f"{command}: {f'{cause.filename}: {cause.strerror}' if cause else error}")
            return next(code for kind, code in self.codes.items() if isinstance(error, kind))
        except KeyboardInterrupt:
            _complain(self.interrupted.format(command=command))
            return INTERRUPTED


def stop_printing() -> None:
    """Send what is still to be printed nowhere, at exit too: nobody reads it any more."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _complain(line: str) -> None:
    print(plain(line), file=sys.stderr)  # noqa: T201 - a program


def _what_is_wrong(error: Exception) -> str:
    """Say it in the programs' words."""
    match error:
        case click.NoSuchOption(possibilities=near):
            return f"there is no option {error.option_name}" + (f"; did you mean {near[0]}?" if near else "")
        case click.MissingParameter(param=click.Parameter() as missing):
            return f"the following arguments are required: {_name(missing)}"
        case click.BadParameter(param=click.Parameter() as wrong):
            return f"argument {_name(wrong)}: {error.message}"
        case click.BadOptionUsage():
            return f"{error.message[0].lower()}{error.message[1:].rstrip('.')}"
    return str(error)


def _name(parameter: click.Parameter) -> str:
    return "/".join(parameter.opts) if isinstance(parameter, click.Option) else parameter.human_readable_name
