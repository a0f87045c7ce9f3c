# SPDX-License-Identifier: Apache-2.0
"""Draws docs/images/front.webp: a photo, its alpha, the cutout and a composite, as `matting cutout` makes them.

Run: python tests/bench/front_picture.py [--photo FILE] [--out FILE], after `make setup`.
"""

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

import numpy as np
from PIL import Image
from privacy_proof.service import started_service

_ROOT = Path(__file__).parents[2]
_HEIGHT_PX = 300
_GAP_PX = 8
_SQUARE_PX = 10
_MADE = {
    "alpha": ("--output", "alpha"),
    "cutout": (),
    "composite": ("--output", "composite", "--background", "#1f7a8c"),
}


def over_squares(cutout: Image.Image) -> Image.Image:
    """Return a cutout over light and dark squares, by which what is not there is seen."""
    rows, columns = np.indices((cutout.height, cutout.width)) // _SQUARE_PX
    squares = np.where((rows + columns) % 2, 255, 215).astype(np.uint8)
    behind = Image.fromarray(squares).convert("RGBA")
    return Image.alpha_composite(behind, cutout.convert("RGBA")).convert("RGB")


def side_by_side(pictures: list[Image.Image]) -> Image.Image:
    width = sum(picture.width for picture in pictures) + _GAP_PX * (len(pictures) - 1)
    out = Image.new("RGB", (width, _HEIGHT_PX), "white")
    left = 0
    for picture in pictures:
        out.paste(picture, (left, 0))
        left += picture.width + _GAP_PX
    return out


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--photo", type=Path, default=_ROOT / ".cache" / "samples" / "astronaut.png")
    parser.add_argument("--out", type=Path, default=_ROOT / "docs" / "images" / "front.webp")
    given = parser.parse_args()
    photo = Image.open(given.photo).convert("RGB")
    with tempfile.TemporaryDirectory() as folder, started_service("--default-model", "u2net") as service:
        made = {}
        for name, options in _MADE.items():
            file = Path(folder) / f"{name}.png"
            program = [str(Path(sys.executable).with_name("matting")), "cutout", str(given.photo), "-o", str(file)]
            subprocess.run([*program, "--server", service.address, "--timeout", "60", *options], check=True)
            made[name] = Image.open(file).copy()
    pictures = [photo, made["alpha"].convert("RGB"), over_squares(made["cutout"]), made["composite"].convert("RGB")]
    width = round(photo.width * _HEIGHT_PX / photo.height)
    side_by_side([picture.resize((width, _HEIGHT_PX), Image.Resampling.LANCZOS) for picture in pictures]).save(
        given.out, quality=85, method=6
    )


if __name__ == "__main__":
    main()
