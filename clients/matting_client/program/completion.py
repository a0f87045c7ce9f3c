# SPDX-License-Identifier: Apache-2.0
"""Completion of the program's words in bash, zsh and fish, written from what its parsers take."""

import re
from collections.abc import Mapping
from dataclasses import dataclass

import click


@dataclass(frozen=True, slots=True)
class _Argument:
    """What can be given: its names (none: it has a place instead), and its value's words, or whether that is a file."""

    names: tuple[str, ...]
    help: str
    takes_value: bool
    words: str
    is_file: bool


def completion_script(shell: str, program: click.Group) -> str:
    """Return what bash, zsh or fish has to read."""
    commands = {name: [_argument(each) for each in command.params] for name, command in program.commands.items()}
    summaries = {name: command.short_help or "" for name, command in program.commands.items()}
    lines = _bash(commands) if shell == "bash" else (_zsh if shell == "zsh" else _fish)(commands, summaries)
    return "\n".join(lines) + "\n"


def _argument(parameter: click.Parameter) -> _Argument:
    option = parameter if isinstance(parameter, click.Option) else None
    optional = re.fullmatch(r"\[([a-z]+(?:\|[a-z]+)+)\]", parameter.metavar or "")  # words that may be left out
    words = parameter.type.choices if isinstance(parameter.type, click.Choice) else ()
    return _Argument(
        names=(*option.opts, *option.secondary_opts) if option else (),
        help=" ".join(re.sub(r"[\[\]:'\"`$\\]", " ", parameter.help or "").split()),
        takes_value=option is None or not option.is_flag,
        words=optional[1].replace("|", " ") if optional else " ".join(words),
        is_file=isinstance(parameter.type, click.Path),
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


def _zsh(commands: Mapping[str, list[_Argument]], summaries: Mapping[str, str]) -> list[str]:
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
    described = " ".join(f"'{name}:{summaries[name]}'" for name in commands)
    return [
        "#compdef matting",
        '# zsh, after compinit: eval "$(matting completion zsh)"',
        "_matting() {",
        "  if (( CURRENT == 2 )); then",
        f"    local -a commands=({described})",
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


def _fish(commands: Mapping[str, list[_Argument]], summaries: Mapping[str, str]) -> list[str]:
    first = "complete -c matting -n __fish_use_subcommand -f"
    lines = ["# fish: matting completion fish | source", "complete -c matting -e"]
    lines += [f"{first} -a {name} -d '{summaries[name]}'" for name in commands]
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
