# SPDX-License-Identifier: Apache-2.0
"""Command lines read as a person means them: options anywhere, one line an error, what is nearest to a typo named."""

import argparse
import re
from collections.abc import Callable, Mapping, Sequence
from typing import NoReturn

from matting_client.program.explaining import did_you_mean

USAGE = 2


class UsageError(Exception):
    """The command line asks for what cannot be."""


class Parser(argparse.ArgumentParser):
    """A command's parser."""

    def error(self, message: str) -> NoReturn:
        """End the program with a line that says what is wrong, and where more is to be read."""
        self.exit(USAGE, f"{self.prog}: {message} ({self.prog} -h shows what there is)\n")

    def read(self, words: Sequence[str]) -> argparse.Namespace:
        """Read the words after the command; ends the program where they cannot be followed."""
        arguments, unknown = self.parse_known_intermixed_args(list(words))
        if unknown:
            word = unknown[0].split("=")[0]
            if not word.startswith("-"):
                self.error(f"there is nothing to do with {word}")
            self.error(f"there is no option {word}{did_you_mean(word, self.option_names())}")
        return arguments

    def actions(self) -> list[argparse.Action]:
        """Return what can be given, in order."""
        return list(self._actions)

    def option_names(self) -> list[str]:
        return [name for action in self.actions() for name in action.option_strings]


def parsers_of(program: str, summaries: Mapping[str, str], epilog: str) -> dict[str, Parser]:
    """Return a parser for each command of a program, by its name, with what it does and what is said below its help."""
    return {
        name: Parser(
            prog=f"{program} {name}",
            description=f"{summary[0].upper()}{summary[1:]}.",
            epilog=epilog,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        for name, summary in summaries.items()
    }


def add_tls_arguments(group: argparse._ArgumentGroup) -> None:
    """Add what says how TLS is spoken to a server, and with which certificates."""
    group.add_argument("--tls", action="store_true", help="speak TLS, trusting the usual roots")
    group.add_argument("--tls-ca", metavar="FILE", help="speak TLS, trusting these roots (PEM)")
    group.add_argument("--tls-cert", metavar="FILE", help="this client's certificate (PEM)")
    group.add_argument("--tls-key", metavar="FILE", help="the key of --tls-cert (PEM)")
    group.add_argument("--tls-server-name", default="", metavar="NAME", help="the name in the server's certificate")


def one_of(*names: str) -> Callable[[str], str]:
    """Return the type of an option that is one of a few words."""

    def read(text: str) -> str:
        if text not in names:
            raise argparse.ArgumentTypeError(f"{text!r} is none of {', '.join(names)}{did_you_mean(text, names)}")
        return text

    return read


def whole_number(low: int, high: int | None = None) -> Callable[[str], int]:
    """Return the type of an option that is a whole number within bounds, both included."""

    def read(text: str) -> int:
        if not re.fullmatch(r"-?\d+", text) or int(text) < low or (high is not None and int(text) > high):
            bounds = f"at least {low}" if high is None else f"{low} to {high}"
            raise argparse.ArgumentTypeError(f"{text!r} is no whole number that is {bounds}")
        return int(text)

    return read


def number(within: Callable[[float], bool], bounds: str) -> Callable[[str], float]:
    """Return the type of an option that is a number for which `within` holds, which `bounds` says in words."""

    def read(text: str) -> float:
        try:
            value = float(text)
        except ValueError:
            value = float("nan")
        if not within(value):
            raise argparse.ArgumentTypeError(f"{text!r} is no number that is {bounds}")
        return value

    return read
