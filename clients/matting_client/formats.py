# SPDX-License-Identifier: Apache-2.0
"""The file formats of results, as the client's side knows them; another one is its name and its row here."""

from collections.abc import Mapping
from typing import Literal, NamedTuple, TypeAlias

FileFormat: TypeAlias = Literal["png", "webp", "jpeg", "avif"]


class FormatFacts(NamedTuple):
    """What is so of a format; of its files' suffixes the first is the usual one."""

    suffixes: tuple[str, ...]
    holds_alpha: bool = True
    has_quality: bool = True
    has_lossless: bool = False  # as a choice


FILE_FORMATS: Mapping[FileFormat, FormatFacts] = {
    "png": FormatFacts((".png",), has_quality=False),
    "webp": FormatFacts((".webp",), has_lossless=True),
    "jpeg": FormatFacts((".jpg", ".jpeg"), holds_alpha=False),
    "avif": FormatFacts((".avif",)),
}
FORMAT_OF_SUFFIX = {suffix: name for name, facts in FILE_FORMATS.items() for suffix in facts.suffixes}
WITH_ALPHA = [name for name, facts in FILE_FORMATS.items() if facts.holds_alpha]
WITH_QUALITY = [name for name, facts in FILE_FORMATS.items() if facts.has_quality]
WITH_LOSSLESS = [name for name, facts in FILE_FORMATS.items() if facts.has_lossless]


def media_type(file_format: str) -> str:
    """Return what the contract calls a format."""
    return f"image/{file_format}"
