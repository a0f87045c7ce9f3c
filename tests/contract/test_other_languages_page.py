# SPDX-License-Identifier: Apache-2.0
"""What docs/other-languages.md shows is in the examples that tests/interop runs, word for word."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "other-languages.md").read_text()
SHOWN = re.findall(r"<!-- from: (\S+) -->\n```\w+\n(.*?)```", PAGE, re.DOTALL)


def test_all_code_of_the_page_says_where_it_is_from() -> None:
    assert PAGE.count("\n```\n") == len(SHOWN) > 0


def test_what_is_shown_is_in_the_examples() -> None:
    examples = ROOT / "clients" / "examples"
    assert [file for file, code in SHOWN if code not in (examples / file).read_text()] == []
