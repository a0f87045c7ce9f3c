# SPDX-License-Identifier: Apache-2.0
"""Tenants for tests: the token of tenant NAME is token-NAME."""

import hashlib

from matting.v1 import matting_service_pb2 as pb

SIDE_PX = 320


def table(name: str, *lines: str) -> str:
    digest = hashlib.sha256(f"token-{name}".encode()).hexdigest()
    return "\n".join([f'[[tenant]]\nname = "{name}"', f'token_sha256 = ["{digest}"]', *lines, ""])


def photo() -> pb.RemoveBackgroundRequest:
    pixels = pb.PixelImage(
        data=bytes(SIDE_PX * SIDE_PX * 3),
        width_px=SIDE_PX,
        height_px=SIDE_PX,
        pixel_format=pb.PIXEL_FORMAT_RGB8,
    )
    return pb.RemoveBackgroundRequest(pixels=pixels, outputs=[pb.OutputSpec(raw=pb.RawEncoding())])


def bearer(token: str | None) -> list[tuple[str, str]]:
    return [] if token is None else [("authorization", f"Bearer {token}")]
