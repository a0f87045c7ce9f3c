# SPDX-License-Identifier: Apache-2.0
"""The file formats of results, as the client's side knows them; another one is its name and its row here."""

from collections.abc import Mapping
from typing import Literal, NamedTuple, TypeAlias

FileFormat: TypeAlias = Literal["png", "webp", "jpeg", "avif"]


class FormatFacts(NamedTuple):
    """What is so of a format; of its files' suffixes the first is the usual one.

    `written` is what Pillow writes it with, where it has no quality; `lossless` what it is written with without loss,
    where that is a choice.
    """

    suffixes: tuple[str, ...]
    holds_alpha: bool = True
    written: Mapping[str, int] | None = None
    lossless: Mapping[str, int] | None = None


FILE_FORMATS: Mapping[FileFormat, FormatFacts] = {
    "png": FormatFacts((".png",), written={"compress_level": 1}),
    "webp": FormatFacts((".webp",), lossless={"lossless": True, "quality": 0, "method": 0}),
    "jpeg": FormatFacts((".jpg", ".jpeg"), holds_alpha=False),
    "avif": FormatFacts((".avif",)),
}
FORMAT_OF_SUFFIX = {suffix: name for name, facts in FILE_FORMATS.items() for suffix in facts.suffixes}
WITH_ALPHA = [name for name, facts in FILE_FORMATS.items() if facts.holds_alpha]
WITH_QUALITY = [name for name, facts in FILE_FORMATS.items() if facts.written is None]
WITH_LOSSLESS = [name for name, facts in FILE_FORMATS.items() if facts.lossless]


def media_type(file_format: str) -> str:
    """Return what the contract calls a format."""
    return f"image/{file_format}"
