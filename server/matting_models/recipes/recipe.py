# SPDX-License-Identifier: Apache-2.0
"""How a matting network wants its photo and what its output means: data, not code."""

from dataclasses import dataclass
from enum import Enum

# The one interface: UINT8 [N, H, W, 3] RGB in, UINT8 [N, H, W] out.
IMAGE = "image"
ALPHA = "alpha"


class Layout(Enum):
    """Order of the axes of the network's own input."""

    NCHW = "nchw"
    NHWC = "nhwc"


class Channels(Enum):
    """Order of the colours of the network's own input; the entry itself always takes RGB."""

    RGB = "rgb"
    BGR = "bgr"


class Activation(Enum):
    """What turns the network's output into 0..1."""

    NONE = "none"
    SIGMOID = "sigmoid"


class Normalise(Enum):
    """Whether each image's own output range is stretched to 0..1."""

    NONE = "none"
    MIN_MAX = "min-max"


class Fit(Enum):
    """How a photo is brought to the network's size."""

    STRETCH = "stretch"
    LETTERBOX = "letterbox"
    ASPECT = "aspect"


@dataclass(frozen=True, slots=True)
class Recipe:
    """The arithmetic around a network.

    A pixel `p` (0..255) becomes `(p / divisor - mean) / std`, where the divisor is `scale`, or the image's own
    largest value where `scale` is None (as rembg does it). `size_px` is (height, width); None takes the size
    declared by the network. `multiple_px` is what both sides must be a multiple of where the size is free. `top_left`
    says where a letterboxed photo lies: in the top left corner instead of the middle.
    """

    scale: float | None = 255.0
    mean: tuple[float, float, float] = (0.0, 0.0, 0.0)
    std: tuple[float, float, float] = (1.0, 1.0, 1.0)
    layout: Layout = Layout.NCHW
    channels: Channels = Channels.RGB
    activation: Activation = Activation.NONE
    normalise: Normalise = Normalise.NONE
    fit: Fit = Fit.STRETCH
    size_px: tuple[int, int] | None = None
    multiple_px: int = 1
    top_left: bool = False

    @property
    def keeps_sides_free(self) -> bool:
        """Whether each photo keeps its own aspect, so that the sides differ from photo to photo."""
        return self.fit is Fit.ASPECT
