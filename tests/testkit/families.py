# SPDX-License-Identifier: Apache-2.0
"""For each preset a small network with its quirks, and what its authors' program makes of a picture, in plain numpy."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnxruntime
from matting_models.recipes.recipe import Fit
from PIL import Image

from testkit import tiny_networks as tiny

IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
HALF_ONE = ((0.5, 0.5, 0.5), (1.0, 1.0, 1.0))
HALF_HALF = ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
PLAIN = ((0.0, 0.0, 0.0), (1.0, 1.0, 1.0))


@dataclass(frozen=True)
class Family:
    """What the authors' program does around the network, written down a second time."""

    preset: str
    network: Callable[[], tiny.Net]
    mean_std: tuple[tuple[float, ...], tuple[float, ...]]
    own_maximum: bool = False
    sigmoid: bool = False
    min_max: bool = False
    batches: bool = True
    fit: Fit = Fit.STRETCH

    def save(self, path: Path) -> Path:
        """Write the network as its exports are."""
        return self.network().save(path, 11 if "u2net" in self.preset else 17)


FAMILIES = [
    *(
        Family(name, tiny.u2net, IMAGENET, own_maximum=True, min_max=True)
        for name in ("u2net", "u2netp", "u2net-human", "silueta")
    ),
    Family("isnet", tiny.isnet, HALF_ONE, min_max=True),
    Family("isnet-anime", tiny.isnet, (IMAGENET[0], (1.0, 1.0, 1.0)), min_max=True, fit=Fit.LETTERBOX),
    Family("rmbg-1.4", lambda: tiny.isnet(output_count=1), HALF_ONE, min_max=True),
    Family("modnet", tiny.modnet, HALF_HALF, fit=Fit.ASPECT),
    Family("pp-matting", lambda: tiny.modnet("img", "alpha"), HALF_HALF, fit=Fit.ASPECT),
    *(
        Family(name, tiny.birefnet, IMAGENET, sigmoid=True)
        for name in ("birefnet", "birefnet-lite", "birefnet-hr", "birefnet-matting")
    ),
    Family(
        "rmbg-2.0",
        lambda: tiny.birefnet(input_name="pixel_values", output_name="alphas", sigmoid=True),
        IMAGENET,
    ),
    Family("inspyrenet", tiny.inspyrenet, IMAGENET),
    Family("ben2", tiny.ben2, IMAGENET, sigmoid=True, min_max=True, batches=False),
    Family("withoutbg", tiny.withoutbg, PLAIN, fit=Fit.LETTERBOX),
]


def straightforward(family: Family, path: Path, image: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """The original network alone, as its authors' program runs it."""
    session = onnxruntime.InferenceSession(path)
    mean, std = family.mean_std
    values = image / (max(image.max(), 1e-6) if family.own_maximum else 255.0)
    values = (values - mean) / std
    (raw, *_) = session.run(None, {session.get_inputs()[0].name: values.transpose(2, 0, 1)[None].astype(np.float32)})
    alpha = raw[0, 0]
    if family.sigmoid:
        alpha = 1 / (1 + np.exp(-alpha))
    if family.min_max:
        alpha = (alpha - alpha.min()) / (alpha.max() - alpha.min())
    if alpha.shape != image.shape[:2]:
        alpha = np.asarray(Image.fromarray(alpha).resize(image.shape[1::-1], Image.Resampling.BILINEAR))
    return np.asarray((alpha.clip(0, 1) * 255).astype(np.uint8))


def pictures(count: int, side: int) -> npt.NDArray[np.uint8]:
    """Pictures of noise, of which the second is dark and the third a ramp: uint8 [count, side, side, 3]."""
    rng = np.random.default_rng(5)
    images = rng.integers(0, 256, (count, side, side, 3), np.uint8)
    images[1] //= 20  # a dark neighbour, whose own maximum is small
    images[2] = np.linspace(0, 255, side, dtype=np.uint8)[None, :, None]
    return images
