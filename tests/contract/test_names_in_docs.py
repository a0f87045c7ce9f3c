# SPDX-License-Identifier: Apache-2.0
"""What the documents for developers name in backticks is there: files, folders, classes with room or attribute."""

import ast
import functools
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SOURCES = [
    p for top in ("server", "clients", "tests") for p in (ROOT / top).rglob("*.py") if "node_modules" not in p.parts
]
PAGES = [
    ROOT / "ARCHITECTURE.md",
    ROOT / "CONTRIBUTING.md",
    *sorted((ROOT / "docs/decisions").glob("*.md")),
    *sorted(p for p in (ROOT / "server").rglob("README.md") if "node_modules" not in p.parts),
]
MADE = {"dist/"}  # by make: not in a checkout
_CODE = re.compile(r"`([^`\n]+)`")
_PATH = re.compile(r"[\w./]+/|[\w./]*\w\.(?:py|md|toml|yaml|svg)")
_QUALIFIED = re.compile(r"(?:([a-z]\w*)\.)?([A-Z][a-z0-9]+(?:[A-Z0-9]\w*)?)(?:\.([a-z]\w*))?(?:\(\))?")
_TABLE_OF_WORDS = re.compile(r"^## Words.*?(?=^## |\Z)", re.MULTILINE | re.DOTALL)  # its old ones are there no more


def written(page: Path) -> set[str]:
    """Return what stands in backticks on a page."""
    return set(_CODE.findall(_TABLE_OF_WORDS.sub("", page.read_text())))


@functools.cache
def classes() -> dict[str, list[tuple[frozenset[str], frozenset[str]]]]:
    """Return each class by its name: the folders and the module that it is in, and the names of its attributes."""
    found: dict[str, list[tuple[frozenset[str], frozenset[str]]]] = {}
    for path in SOURCES:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ClassDef):
                names = {n.name for n in ast.walk(node) if isinstance(n, ast.FunctionDef | ast.AsyncFunctionDef)}
                names |= {n.attr for n in ast.walk(node) if isinstance(n, ast.Attribute)}
                names |= {n.id for n in ast.walk(node) if isinstance(n, ast.Name)}
                rooms = frozenset(path.relative_to(ROOT).with_suffix("").parts)
                found.setdefault(node.name, []).append((rooms, frozenset(names)))
    return found


def is_path(text: str, page: Path) -> bool:
    """Whether a path is one from the root, from the page, or the end of a path that is there."""
    if (ROOT / text).exists() or (page.parent / text).exists():
        return True
    end = f"/{text.rstrip('/')}"
    return any(str(path).endswith(end) or f"{end}/" in str(path) for path in SOURCES)


@pytest.mark.slow
@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_files_and_folders_that_a_page_names_are_there(page: Path) -> None:
    named = {text for text in written(page) - MADE if _PATH.fullmatch(text) and not text.startswith("/")}
    assert {text for text in named if not is_path(text, page)} == set()


@pytest.mark.slow
@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_classes_that_a_page_names_with_their_room_or_an_attribute_are_there(page: Path) -> None:
    wrong = set()
    for text in written(page):
        match = _QUALIFIED.fullmatch(text)
        if match is None or (match[1] is None and match[3] is None):
            continue
        room, name, attribute = match.groups()
        if not any(
            (room is None or room in rooms) and (attribute is None or attribute in names)
            for rooms, names in classes().get(name, [])
        ):
            wrong.add(text)
    assert wrong == set()


def test_the_map_has_every_room_and_module_of_the_gateway() -> None:
    gateway = ROOT / "server" / "matting_gateway"
    page = (ROOT / "ARCHITECTURE.md").read_text().partition("## Map")[2].partition("\n## ")[0]
    rooms = [path.parent for path in gateway.glob("*/**/__init__.py")]  # what Python left of a folder that went is none
    modules = [path for path in gateway.glob("*.py") if path.stem not in {"__init__", "__main__", "version"}]
    named = [f"{room.name}/" for room in rooms] + [module.name for module in modules]
    assert [name for name in named if name not in page] == []
