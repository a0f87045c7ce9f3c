# SPDX-License-Identifier: Apache-2.0
"""What could be published by itself is tested by itself: no test of it needs another package of the project."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

TESTS = Path(__file__).parents[1]
ROOT = TESTS.parent
PACKAGES = frozenset(
    {"matting", *(path.parent.name for root in ("server", "clients") for path in (ROOT / root).glob("*/__init__.py"))}
)
STANDS_ALONE = ("grpc_h2", "open_inference", "matting_pixels")
# Quick tests of each, one of them on a real socket.
SELECTION = {
    "grpc_h2": ("http2/test_header_blocks.py", "server/test_interceptors.py"),
    "open_inference": ("test_datatypes.py",),
    "matting_pixels": ("test_compose.py",),
}
# Has imports of what is named fail, and then runs tests.
ALONE = "import sys; [sys.modules.__setitem__(name, None) for name in sys.argv[1].split(',')]; import pytest"
ALONE += "; sys.exit(pytest.main(['-q', '-p', 'no:cacheprovider', *sys.argv[2:]]))"


def imported_by(path: Path) -> Iterator[str]:
    """Yield the modules that a file imports, but for those that only type checkers read."""
    tree = ast.parse(path.read_text())
    typing_only = {
        inner
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
        for inner in ast.walk(node)
    }
    for node in set(ast.walk(tree)) - typing_only:
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def files_behind(folder: Path) -> set[Path]:
    """Return the tests in a folder, and all of the testkit that they lead to."""
    found: set[Path] = set()
    new = set(folder.rglob("*.py"))
    while new:
        found |= new
        named = {name for path in new for name in imported_by(path) if name.startswith("testkit.")}
        modules = {TESTS / "testkit" / f"{name.split('.')[1]}.py" for name in named}
        new = {path for path in modules if path.is_file()} - found
    return found


@pytest.mark.slow
@pytest.mark.parametrize("package", STANDS_ALONE)
def test_neither_its_tests_nor_what_they_lead_to_imports_another_package(package: str) -> None:
    wrong = [
        f"{path.relative_to(TESTS)} imports {name}"
        for path in sorted(files_behind(TESTS / "unit" / package))
        for name in imported_by(path)
        if name.split(".")[0] in PACKAGES - {package}
    ]
    assert wrong == []


@pytest.mark.slow
@pytest.mark.parametrize("package", STANDS_ALONE)
def test_its_tests_run_where_no_other_package_can_be_imported(package: str) -> None:
    others = ",".join(sorted(PACKAGES - {package}))
    selection = [str(TESTS / "unit" / package / name) for name in SELECTION[package]]
    done = subprocess.run(
        [sys.executable, "-c", ALONE, others, *selection], capture_output=True, text=True, cwd=ROOT, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert " passed" in done.stdout
