# SPDX-License-Identifier: Apache-2.0
"""ICC profiles made by hand, and the arithmetic that they stand for."""

import struct

import numpy as np
from numpy.typing import NDArray

# Display P3's primaries, adapted to D50; columns are red, green, blue.
WIDE_TO_XYZ = np.array([[0.51512, 0.29198, 0.15710], [0.24120, 0.69225, 0.06657], [-0.00105, 0.04189, 0.78407]])
_SRGB_TO_XYZ = np.array([[0.43607, 0.38515, 0.14307], [0.22249, 0.71687, 0.06061], [0.01392, 0.09708, 0.71410]])
_WHITE = (0.9642, 1.0, 0.8249)
GAMMA = 1.8


def rgb_profile(matrix: NDArray[np.float64] = WIDE_TO_XYZ, gamma: float = GAMMA) -> bytes:
    """Return a matrix and gamma display profile (ICC.1:2001)."""
    curve = b"curv" + bytes(4) + struct.pack(">IH", 1, round(gamma * 256)) + bytes(2)
    tags = {b"wtpt": _xyz(*_WHITE)}
    for index, name in enumerate("rgb"):
        tags[f"{name}XYZ".encode()] = _xyz(*matrix[:, index])
        tags[f"{name}TRC".encode()] = curve
    return _assemble(b"RGB ", tags)


def gray_profile(gamma: float = GAMMA) -> bytes:
    curve = b"curv" + bytes(4) + struct.pack(">IH", 1, round(gamma * 256)) + bytes(2)
    return _assemble(b"GRAY", {b"wtpt": _xyz(*_WHITE), b"kTRC": curve})


def wide_to_srgb(values: NDArray[np.float64], gamma: float = GAMMA) -> NDArray[np.float64]:
    """Convert [..., 3], 0 to 1, of the profile above to sRGB, 0 to 1, by its definition."""
    light = values**gamma @ (np.linalg.inv(_SRGB_TO_XYZ) @ WIDE_TO_XYZ).T
    return encode_srgb(light)


def encode_srgb(light: NDArray[np.float64]) -> NDArray[np.float64]:
    light = np.clip(light, 0, 1)
    return np.where(light <= 0.0031308, light * 12.92, 1.055 * light ** (1 / 2.4) - 0.055)


def _xyz(x: float, y: float, z: float) -> bytes:
    return b"XYZ " + bytes(4) + struct.pack(">iii", *(round(value * 65536) for value in (x, y, z)))


def _assemble(space: bytes, tags: dict[bytes, bytes]) -> bytes:
    description = b"test"
    tags = {
        b"desc": b"desc" + bytes(4) + struct.pack(">I", len(description) + 1) + description + bytes(1 + 78),
        b"cprt": b"text" + bytes(4) + b"CC0\x00",
        **tags,
    }
    table, body = struct.pack(">I", len(tags)), b""
    start = 128 + 4 + 12 * len(tags)
    for name, data in tags.items():
        table += name + struct.pack(">II", start + len(body), len(data))
        body += data + bytes(-len(data) % 4)
    header = bytearray(128)
    header[0:4] = struct.pack(">I", start + len(body))
    header[8:12] = b"\x02\x20\x00\x00"
    header[12:16], header[16:20], header[20:24] = b"mntr", space, b"XYZ "
    header[36:40] = b"acsp"
    header[68:80] = struct.pack(">iii", *(round(value * 65536) for value in _WHITE))
    return bytes(header) + table + body
