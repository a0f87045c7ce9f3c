# SPDX-License-Identifier: Apache-2.0
"""Has mkdocs take the repository's other Markdown into the site, and links lead to where their targets are there.

Pages are written for the repository: `../README.md` in docs/ is the file of that name. In the site those other pages
are below `repository/`, in their own folders. A link to what is no page (a folder, a program) becomes its text.
"""

import re
from pathlib import Path
from posixpath import dirname, relpath

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
_FOLDERS = ("clients", "deploy", "model_repository", "proto", "server")
_PAGES = {
    *ROOT.glob("*.md"),
    *(page for folder in _FOLDERS for page in (ROOT / folder).rglob("README.md") if "node_modules" not in page.parts),
}
_LINK = re.compile(r"(!?)\[([^\[\]]*)\]\(([^()\s#]+)(#[^()\s]*)?\)")
_FENCED = re.compile(r"(^```.*?^```)", re.MULTILINE | re.DOTALL)


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the repository's other pages."""
    for path in sorted(_PAGES):
        files.append(File.generated(config, _place(path), abs_src_path=str(path)))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Have a page's links lead to where their targets are in the site."""
    folder, place = Path(str(page.file.abs_src_path)).parent, dirname(page.file.src_uri)

    def rewritten(link: re.Match[str]) -> str:
        mark, text, target, anchor = link.groups(default="")
        path = (folder / target).resolve()
        if "://" in target or not path.exists():
            return link[0]  # elsewhere, or nowhere: that mkdocs tells
        if DOCS not in path.parents and path not in _PAGES:
            return text
        return f"{mark}[{text}]({relpath(_place(path), place or '.')}{anchor})"

    parts = _FENCED.split(markdown)  # every second one is code
    return "".join(part if odd % 2 else _LINK.sub(rewritten, part) for odd, part in enumerate(parts))


def _place(path: Path) -> str:
    """Return where in the site a file is."""
    if DOCS in path.parents:
        return path.relative_to(DOCS).as_posix()
    return f"repository/{path.relative_to(ROOT).as_posix()}"
