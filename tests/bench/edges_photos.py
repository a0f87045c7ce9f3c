# SPDX-License-Identifier: Apache-2.0
"""What of the sample photos is cut out as a subject, and what is laid behind subjects."""

import pathlib
from dataclasses import dataclass

SAMPLES = pathlib.Path(__file__).parents[2] / ".cache" / "samples"


@dataclass(frozen=True)
class PhotoCut:
    """A subject of a sample photo, by an outline that lies within it: x,y of its corners in pixels of the sample."""

    file: str
    outline: str
    height_share: float
    at_bottom: bool


@dataclass(frozen=True)
class Background:
    """A part of a sample photo: left, top, right, bottom in pixels; `blur` is a sigma, in thousandths of its side."""

    file: str
    box: tuple[int, int, int, int]
    blur: float


BACKGROUNDS = (
    Background("coffee.png", (450, 250, 600, 400), 2.0),
    Background("rocket.jpg", (40, 60, 340, 330), 2.0),
    Background("motorcycle_left.png", (430, 5, 741, 220), 3.0),
    Background("astronaut.png", (0, 0, 120, 200), 4.0),
    Background("retina.jpg", (450, 250, 1150, 950), 0.0),
    Background("moon.png", (0, 0, 512, 512), 1.0),
    Background("hubble_deep_field.jpg", (0, 0, 600, 500), 1.5),
    Background("coins.png", (0, 0, 384, 303), 4.0),
    Background("camera.png", (330, 130, 512, 360), 1.5),
    Background("chelsea.png", (80, 10, 330, 110), 5.0),
)
ASTRONAUT = PhotoCut(
    "astronaut.png",
    "226,22 205,26 180,40 165,58 158,82 163,105 178,122 186,140 192,156 154,161 137,175 123,196 119,212 72,254 "
    "50,296 35,347 34,378 27,413 34,475 47,511 480,511 493,480 481,440 464,402 440,372 409,356 385,352 354,352 "
    "346,310 332,268 297,240 283,211 258,180 256,165 264,142 274,124 292,106 296,85 290,55 270,34 245,24",
    0.86,
    True,
)
CAT = PhotoCut(
    "chelsea.png",
    "60,6 50,20 43,35 39,94 44,108 46,136 60,180 85,230 120,299 315,299 308,250 308,217 342,178 352,156 353,127 "
    "357,119 348,104 346,59 358,30 366,10 330,14 280,5 200,3 120,5",
    0.7,
    True,
)
CUP = PhotoCut(
    "coffee.png",
    "278,23 247,28 219,41 195,62 183,78 143,98 117,121 98,149 90,167 83,197 83,225 92,265 105,290 128,320 159,346 "
    "188,363 223,376 253,382 292,384 329,380 361,371 391,357 421,335 443,311 462,279 473,236 473,218 460,172 "
    "447,147 430,125 411,110 400,95 390,76 364,48 329,30 302,24",
    0.6,
    False,
)
