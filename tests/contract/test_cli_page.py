# SPDX-License-Identifier: Apache-2.0
"""docs/cli.md says what `matting` does: every option with its default, every exit code."""

import re
from pathlib import Path

from matting_client.program.arguments import EPILOG, make_parsers

PAGE = (Path(__file__).parents[2] / "docs" / "cli.md").read_text()


def rows_of(parser_name: str) -> list[str]:
    """Return the rows that a command's options need."""
    rows = []
    for action in make_parsers("")[parser_name].actions():
        text = action.help or ""
        default = re.search(r" \(default: ([^()]+)\)$", text)
        names = ", ".join(f"`{name}`" for name in action.option_strings) or f"`{action.metavar}`"
        what = text[: default.start()] if default else text
        rows.append(f"| {names} | {default[1] if default else ''} | {what} |".replace("*.jpg", r"\*.jpg"))
    return rows


def test_every_option_is_in_the_table_as_the_program_has_it() -> None:
    start = PAGE.index("## Options of")
    assert [line for line in PAGE[start:].splitlines() if line.startswith("| `")] == rows_of("cutout")


def test_every_exit_code_is_in_the_table() -> None:
    assert re.findall(r"^  (\d+) ", EPILOG, re.MULTILINE) == re.findall(r"^\| (\d+) \|", PAGE, re.MULTILINE)
