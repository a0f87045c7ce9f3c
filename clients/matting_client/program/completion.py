# SPDX-License-Identifier: Apache-2.0
"""Completion of the program's words in bash, zsh and fish, written from what its parsers take."""

import argparse
import re
from collections.abc import Mapping
from dataclasses import dataclass

from matting_client.program.arguments import FILES, SUMMARIES
from matting_client.program.parsing import Parser


@dataclass(frozen=True, slots=True)
class _Argument:
    """What can be given: its names (none: it has a place instead), and its value's words, or whether that is a file."""

    names: tuple[str, ...]
    help: str
    takes_value: bool
    words: str
    is_file: bool


def completion_script(shell: str, parsers: Mapping[str, Parser]) -> str:
    """Return what bash, zsh or fish has to read."""
    commands = {name: list(map(_argument, parser.actions())) for name, parser in parsers.items()}
    return "\n".join({"bash": _bash, "zsh": _zsh, "fish": _fish}[shell](commands)) + "\n"


def _argument(action: argparse.Action) -> _Argument:
    metavar = action.metavar if isinstance(action.metavar, str) else ""
    return _Argument(
        names=tuple(action.option_strings),
        help=" ".join(re.sub(r"[\[\]:'\"`$\\]", " ", action.help or "").split()),
        takes_value=action.nargs != 0,
        # A metavar like `png|webp` lists the words that may be given.
        words=metavar.replace("|", " ") if re.fullmatch(r"[a-z]+(\|[a-z]+)+", metavar) else "",
        is_file=action.dest in FILES,
    )


def _bash(commands: Mapping[str, list[_Argument]]) -> list[str]:
    values, words = [], []
    for command, arguments in commands.items():
        options = [argument for argument in arguments if argument.names]
        for option in options:
            if option.takes_value:
                cases = "|".join(f"{command}:{name}" for name in option.names)
                # Without words bash offers names of files.
                offer = f"COMPREPLY=($(compgen -W '{option.words}' -- \"$word\")); " if option.words else ""
                values.append(f"    {cases}) {offer}return ;;")
        names = " ".join(name for option in options for name in option.names)
        places = " ".join(argument.words for argument in arguments if not argument.names)
        words.append(f"    {command}:-*) COMPREPLY=($(compgen -W '{names}' -- \"$word\")) ;;")
        words.append(f"    {command}:*) COMPREPLY=($(compgen -W '{places}' -- \"$word\")) ;;")
    return [
        '# bash: eval "$(matting completion bash)"',
        "_matting() {",
        '  local command="${COMP_WORDS[1]}" word="${COMP_WORDS[COMP_CWORD]}" before="${COMP_WORDS[COMP_CWORD-1]}"',
        "  COMPREPLY=()",
        '  if [ "$COMP_CWORD" -eq 1 ]; then',
        f"    COMPREPLY=($(compgen -W '{' '.join(commands)} --help --version' -- \"$word\"))",
        "    return",
        "  fi",
        '  case "$command:$before" in',
        *values,
        "  esac",
        '  case "$command:$word" in',
        *words,
        "  esac",
        "}",
        "complete -o bashdefault -o default -F _matting matting",
    ]


def _zsh(commands: Mapping[str, list[_Argument]]) -> list[str]:
    cases = []
    for command, arguments in commands.items():
        specs = []
        for argument in arguments:
            value = (
                f":value:({argument.words})" if argument.words else ":file:_files" if argument.is_file else ":value: "
            )
            described = f"[{argument.help}]" + (value if argument.takes_value else "")
            specs += [f"'*{name}{described}'" for name in argument.names] or [f"'*{value}'"]
        cases.append(f"    {command}) _arguments {' '.join(specs)} ;;")
    summaries = " ".join(f"'{name}:{SUMMARIES[name]}'" for name in commands)
    return [
        "#compdef matting",
        '# zsh, after compinit: eval "$(matting completion zsh)"',
        "_matting() {",
        "  if (( CURRENT == 2 )); then",
        f"    local -a commands=({summaries})",
        "    _describe command commands",
        "    return",
        "  fi",
        "  shift words",
        "  (( CURRENT-- ))",
        "  case $words[1] in",
        *cases,
        "  esac",
        "}",
        'if [ "$funcstack[1]" = _matting ]; then _matting "$@"; else compdef _matting matting; fi',
    ]


def _fish(commands: Mapping[str, list[_Argument]]) -> list[str]:
    first = "complete -c matting -n __fish_use_subcommand -f"
    lines = ["# fish: matting completion fish | source", "complete -c matting -e"]
    lines += [f"{first} -a {name} -d '{SUMMARIES[name]}'" for name in commands]
    for command, arguments in commands.items():
        for argument in arguments:
            parts = [f"complete -c matting -n '__fish_seen_subcommand_from {command}'"]
            parts += [f"-l {name[2:]}" if name.startswith("--") else f"-s {name[1:]}" for name in argument.names]
            if argument.words:
                parts.append(f"-x -a '{argument.words}'" if argument.names else f"-f -a '{argument.words}'")
            elif argument.names and argument.takes_value:
                parts.append("-r -F" if argument.is_file else "-x")
            if argument.names or argument.words:
                lines.append(f"{' '.join(parts)} -d '{argument.help}'")
    return lines
