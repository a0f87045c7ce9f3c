# SPDX-License-Identifier: Apache-2.0
"""The table of what HTTP/2 requires names tests that there are, and every row of the tests is in the table."""

import ast
import functools
import re
from pathlib import Path

import pytest

TESTS = Path(__file__).parents[1]
README = TESTS.parent / "server/grpc_h2/README.md"
ROWS_FILE = "test_requirements"
_TABLE = re.compile(r"^\| [^|]+ \| [^|]+ \| (`[^|]+`) \|$", re.MULTILINE)
_TEST = re.compile(r"`(?:([a-z0-9_/]*test_\w+): )?([^`]+)`")
MIN_ROW_COUNT = 150


def named_tests() -> list[list[tuple[str, str]]]:
    """Return file and name of the tests of each requirement."""
    return [
        [(file or ROWS_FILE, name) for file, name in _TEST.findall(tests)]
        for tests in _TABLE.findall(README.read_text())
    ]


@functools.cache
def names_in(file: str) -> set[str]:
    """Return the functions and the rows of a test file."""
    folder, _, stem = file.rpartition("/")
    paths = [TESTS / "unit" / "grpc_h2" / (folder or "http2"), TESTS / folder]
    path = next(path / f"{stem}.py" for path in paths if (path / f"{stem}.py").is_file())
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            found.add(node.name)
        elif isinstance(node, ast.Dict):
            found.update(key.value for key in node.keys if isinstance(key, ast.Constant) and isinstance(key.value, str))
        elif isinstance(node, ast.keyword) and node.arg == "ids" and isinstance(node.value, ast.List):
            found.update(ast.literal_eval(node.value))
    return found


@pytest.mark.slow
def test_every_requirement_names_tests_that_there_are() -> None:
    requirements = named_tests()
    assert len(requirements) >= MIN_ROW_COUNT
    missing = [f"{file}: {name}" for tests in requirements for file, name in tests if name not in names_in(file)]
    assert missing == []
    assert all(requirements)


def test_every_row_of_the_tests_is_a_requirement() -> None:
    rows = {name for name in names_in(ROWS_FILE) if " " in name}
    assert rows - {name for tests in named_tests() for file, name in tests if file == ROWS_FILE} == set()
