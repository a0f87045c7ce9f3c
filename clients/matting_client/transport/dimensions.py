# SPDX-License-Identifier: Apache-2.0
"""How many pixels a photo has, by the header of its file: a promise by which the server admits the call.

Only the formats whose headers tell it in a few bytes; for others nothing is promised, and the
server reserves for the largest photo it takes until it has seen the header itself.
"""

_PNG = b"\x89PNG\r\n\x1a\n"
# Start-of-frame markers (ITU-T T.81, table B.1); C4, C8 and CC among them are something else.
_JPEG_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_JPEG_BARE = frozenset(range(0xD0, 0xDA)) | {0x01}


def pixel_count(content: bytes) -> int | None:
    """Return width times height of a PNG, JPEG or WebP file; None if its header does not tell."""
    sides = None
    if content[:8] == _PNG and content[12:16] == b"IHDR" and len(content) >= 24:
        sides = int.from_bytes(content[16:20], "big"), int.from_bytes(content[20:24], "big")
    elif content[:2] == b"\xff\xd8":
        sides = _jpeg_sides(content)
    elif content[:4] == b"RIFF" and content[8:12] == b"WEBP" and len(content) >= 30:
        sides = _webp_sides(content)
    return sides[0] * sides[1] if sides else None


def _jpeg_sides(content: bytes) -> tuple[int, int] | None:
    at = 2
    while at + 9 <= len(content) and content[at] == 0xFF:
        marker = content[at + 1]
        if marker in _JPEG_FRAMES:
            return int.from_bytes(content[at + 7 : at + 9], "big"), int.from_bytes(content[at + 5 : at + 7], "big")
        if marker == 0xFF or marker in _JPEG_BARE:
            at += 1 if marker == 0xFF else 2
            continue
        at += 2 + int.from_bytes(content[at + 2 : at + 4], "big")
    return None


def _webp_sides(content: bytes) -> tuple[int, int] | None:
    kind = content[12:16]
    if kind == b"VP8X":
        return 1 + int.from_bytes(content[24:27], "little"), 1 + int.from_bytes(content[27:30], "little")
    if kind == b"VP8L":
        bits = int.from_bytes(content[21:25], "little")
        return 1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF)
    if kind == b"VP8 ":
        return int.from_bytes(content[26:28], "little") & 0x3FFF, int.from_bytes(content[28:30], "little") & 0x3FFF
    return None
