# SPDX-License-Identifier: Apache-2.0
"""What the fast resize changes, and what an alpha says of an empty photo, through the real U^2-Net at f32.

Run: python tests/bench/imaging_parity.py, after `make setup`. Photos are scaled up to 12 megapixels, as a phone's
are, and written as JPEG. `exact` is compared with rembg's own steps written down again with Pillow alone.
"""

import asyncio
import io
import pathlib
from collections.abc import Mapping

import cv2
import numpy as np
import onnxruntime
from matting_gateway.clock import SystemClock
from matting_gateway.domain.model import ModelInput
from matting_gateway.domain.photo import EncodedPhoto, OutputSpec, RawEncoding
from matting_gateway.imaging.service import ImagingService
from matting_gateway.imaging.settings import ImagingSettings
from matting_pixels.subject import decidedness, find_subject
from PIL import Image
from testkit.photos import sample_photo

CACHE = pathlib.Path(__file__).parents[2] / ".cache"
PHOTOS = ("astronaut.png", "chelsea.png", "coffee.png", "motorcycle_left.png", "horse.png")
MODEL = ModelInput(320, 320)
OUTPUTS = (OutputSpec(encoding=RawEncoding()),)
WIDTH, HEIGHT = 4000, 3000


class Network:
    """U^2-Net with rembg's normalisation and min-max."""

    def __init__(self, path: pathlib.Path) -> None:
        self._session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
        self._input = self._session.get_inputs()[0].name
        self._output = self._session.get_outputs()[0].name

    def alpha(self, pixels: np.ndarray) -> np.ndarray:
        """Return uint8 [320, 320] of uint8 RGB [320, 320, 3]."""
        shares = pixels.astype(np.float32) / max(float(pixels.max()), 1e-6)
        values = (shares - np.array([0.485, 0.456, 0.406], np.float32)) / np.array([0.229, 0.224, 0.225], np.float32)
        (out,) = self._session.run([self._output], {self._input: values.transpose(2, 0, 1)[None].astype(np.float32)})
        matte = out[0, 0]
        matte = (matte - matte.min()) / max(float(matte.max() - matte.min()), 1e-6)
        return np.asarray(matte * 255).astype(np.uint8)


def rembg_alpha(content: bytes, network: Network) -> np.ndarray:
    image = Image.open(io.BytesIO(content)).convert("RGB")
    small = np.asarray(image.resize((MODEL.width_px, MODEL.height_px), Image.Resampling.LANCZOS))
    mask = Image.fromarray(network.alpha(small))
    return np.asarray(mask.resize(image.size, Image.Resampling.LANCZOS))


async def room_alpha(room: ImagingService, content: bytes, network: Network) -> np.ndarray:
    photo = EncodedPhoto(content)
    with await room.prepare(photo, room.inspect(photo, OUTPUTS), MODEL, OUTPUTS) as prepared:
        pixels = np.frombuffer(prepared.data, np.uint8).reshape(MODEL.height_px, MODEL.width_px, 3)
        rendered = await room.render(prepared, network.alpha(pixels).tobytes())
    return np.frombuffer(rendered.outputs[0].data, np.uint8).reshape(HEIGHT, WIDTH)


def empty_pictures() -> Mapping[str, np.ndarray]:
    """Pictures without a subject: flat, graded, noisy, and textures."""
    rng = np.random.default_rng(0)
    across = np.linspace(0, 255, 400)
    return {
        "white": np.full((300, 400, 3), 255, np.uint8),
        "black": np.zeros((300, 400, 3), np.uint8),
        "gray": np.full((300, 400, 3), 120, np.uint8),
        "gradient": np.repeat(np.tile(across, (300, 1))[..., None], 3, axis=2).astype(np.uint8),
        "noise": rng.integers(0, 255, (400, 400, 3), np.uint8),
        "blurred noise": cv2.GaussianBlur(rng.integers(0, 255, (400, 400, 3), np.uint8), (0, 0), 4),
        "noisy white": np.clip(240 + rng.normal(0, 4, (300, 400, 3)), 0, 255).astype(np.uint8),
        "table top (crop)": sample_photo(600, 400, CACHE / "samples" / "coffee.png")[300:400, 400:600],
        "wall (crop)": sample_photo(741, 500, CACHE / "samples" / "motorcycle_left.png")[:120, :200],
    }


def report_subject(name: str, pixels: np.ndarray, network: Network) -> None:
    small = cv2.resize(pixels, (MODEL.width_px, MODEL.height_px), interpolation=cv2.INTER_AREA)
    alpha = network.alpha(small)
    finding = find_subject(alpha)
    print(
        f"{name:24s} decidedness {decidedness(alpha):5.3f}, "
        f"{'subject' if finding.box else 'no subject'}, {finding.area_share:5.1%}"
    )


async def main() -> None:
    network = Network(CACHE / "models" / "u2net.onnx")
    rooms = {}
    for name, exact in (("exact", True), ("fast", False)):
        rooms[name] = ImagingService(ImagingSettings(worker_count=1, exact=exact), clock=SystemClock())
        await rooms[name].start()
    for name in PHOTOS:
        buffer = io.BytesIO()
        Image.fromarray(sample_photo(WIDTH, HEIGHT, CACHE / "samples" / name)).save(buffer, "JPEG", quality=92)
        reference = rembg_alpha(buffer.getvalue(), network).astype(np.float32)
        for kind, room in rooms.items():
            off = np.abs(await room_alpha(room, buffer.getvalue(), network) - reference) / 255
            print(f"{name:24s} {kind:6s} mean {off.mean():.5f}, largest {off.max():.3f}")
    for room in rooms.values():
        await room.close()
    for path in sorted((CACHE / "samples").iterdir()):
        report_subject(path.name, sample_photo(640, 480, path), network)
    for name, pixels in empty_pictures().items():
        report_subject(name, pixels, network)


if __name__ == "__main__":
    asyncio.run(main())
