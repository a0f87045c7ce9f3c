# SPDX-License-Identifier: Apache-2.0
"""docs/cli.md says what `matting` does: every option with its default, every exit code."""

import re
from pathlib import Path

import click
from matting_client.program.arguments import EPILOG
from matting_client.program.cli import make_program

PAGE = (Path(__file__).parents[2] / "docs" / "cli.md").read_text()


def rows_of(command: str) -> list[str]:
    """Return the rows that a command's options need."""
    rows = []
    for parameter in make_program("").commands[command].params:
        text = parameter.help or ""
        default = re.search(r" \(default: ([^()]+)\)$", text)
        given = (*parameter.opts, *parameter.secondary_opts)
        names = given if isinstance(parameter, click.Option) else (parameter.human_readable_name,)
        what = text[: default.start()] if default else text
        named = ", ".join(f"`{name}`" for name in names)
        rows.append(f"| {named} | {default[1] if default else ''} | {what} |".replace("*.jpg", r"\*.jpg"))
    return rows


def test_every_option_is_in_the_table_as_the_program_has_it() -> None:
    start = PAGE.index("## Options of")
    assert [line for line in PAGE[start:].splitlines() if line.startswith("| `")] == rows_of("cutout")


def test_every_exit_code_is_in_the_table() -> None:
    assert re.findall(r"^  (\d+) ", EPILOG, re.MULTILINE) == re.findall(r"^\| (\d+) \|", PAGE, re.MULTILINE)
