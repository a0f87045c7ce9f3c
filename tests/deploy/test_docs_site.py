# SPDX-License-Identifier: Apache-2.0
"""The site of docs/ as mkdocs builds it, strictly: all pages are in it, links lead somewhere, nothing is fetched."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest
from testkit.deploy_tools import ROOT

BUILT_HERE = ROOT / ".cache" / "docs" / "bin"


def build(root: Path, site: Path) -> subprocess.CompletedProcess[str]:
    """Build the site of a tree; skip the test where there is no mkdocs with its theme."""
    program = shutil.which("mkdocs", path=str(BUILT_HERE))
    if program is None:
        pytest.skip("mkdocs is not installed: `make docs-site`")
    command = [program, "build", "--site-dir", str(site)]
    return subprocess.run(command, cwd=root, capture_output=True, text=True, timeout=300)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("site")
    done = build(ROOT, path)
    assert done.returncode == 0, done.stdout + done.stderr
    return path


def test_it_has_every_page_of_docs_and_no_program(site: Path) -> None:
    pages = {path.stem for path in (ROOT / "docs").glob("*.md")}
    assert pages - {path.stem for path in site.glob("*.html")} == set()
    assert list(site.rglob("*.py")) == []


def test_readme_and_its_picture_are_in_it(site: Path) -> None:
    readme = (site / "repository" / "index.html").read_text()
    (picture,) = re.findall(r'<img [^>]*src="([^"]+)"', readme)
    assert (site / "repository" / picture).stat().st_size > 0
    assert 'href="../cli.html"' in readme


def test_no_page_fetches_anything_from_elsewhere(site: Path) -> None:
    fetched = re.compile(r'(?:src="|<link rel="(?:stylesheet|preconnect|icon)" href=")(https?://[^"]+)')
    assert [found for page in site.rglob("*.html") for found in fetched.findall(page.read_text())] == []


def test_links_that_lead_nowhere_fail_with_their_page(tmp_path: Path) -> None:
    shutil.copytree(ROOT / "docs", tmp_path / "docs")
    shutil.copy(ROOT / "mkdocs.yml", tmp_path)
    with (tmp_path / "docs" / "limits.md").open("a") as page:
        page.write("\n[a page](no-such-page.md), [a section](errors.md#no-such-section)\n")
    done = build(tmp_path, tmp_path / "site")
    assert done.returncode == 1
    assert re.search(r"'limits.md'.*'no-such-page.md'", done.stderr)
    assert re.search(r"'limits.md'.*'errors.md#no-such-section'", done.stderr)
