# SPDX-License-Identifier: Apache-2.0
"""The rival of `photo_mosec.py`: mosec, a server with a front in Rust, whose three stages are processes.

Two that decode, one with the model, two that pack, with the codecs and the arithmetic of the gateway's imaging workers:
decoded at half size, averaged to 320 x 320, alpha enlarged, PNG by filter UP and igzip. It takes the form that
`rembg s` takes, so that the same load generator asks it. Run by the bench; the options are mosec's own, and
`RIVAL_MODEL` names an ONNX file (without it the model does nothing).
"""

import os
from dataclasses import dataclass

import cv2
import numpy as np
import simplejpeg
from matting_gateway.imaging.writers.png import encode_png
from matting_pixels.fit import resize, shrink
from mosec import Server, Worker

_GRID_PX = 320
_ROUTE = "/api/remove"


@dataclass
class Photo:
    """What goes from stage to stage: the size of the photo, and pixels of the model's grid."""

    height_px: int
    width_px: int
    pixels: np.ndarray


class Decode(Worker):
    """JPEG to the model's input."""

    def deserialize(self, data: bytes) -> bytes:
        start = data.index(b"\r\n\r\n", data.index(b'name="file"')) + 4
        return data[start : data.rindex(b"\r\n--")]

    def forward(self, data: bytes) -> Photo:
        cv2.setNumThreads(1)
        height_px, width_px, _, _ = simplejpeg.decode_jpeg_header(data)
        half = simplejpeg.decode_jpeg(data, "RGB", min_height=2 * _GRID_PX, min_width=2 * _GRID_PX)
        return Photo(height_px, width_px, shrink(half, _GRID_PX, _GRID_PX))


class Nothing(Worker):
    """The interface of a model and none of the work, as the gateway's rival has it."""

    def forward(self, data: list[Photo]) -> list[Photo]:
        return [Photo(each.height_px, each.width_px, each.pixels[..., 0].copy()) for each in data]


class Matting(Worker):
    """An ONNX model in OpenVINO, for latency, in batches."""

    def __init__(self) -> None:
        import openvino  # noqa: PLC0415 - one of five processes has a model

        core = openvino.Core()
        self._model = core.compile_model(
            core.read_model(os.environ["RIVAL_MODEL"]), "CPU", {"PERFORMANCE_HINT": "LATENCY"}
        )

    def forward(self, data: list[Photo]) -> list[Photo]:
        alphas = self._model(np.stack([each.pixels for each in data]))[0]
        return [Photo(each.height_px, each.width_px, alpha) for each, alpha in zip(data, alphas, strict=True)]


class Encode(Worker):
    """Alpha at the model's grid to PNG at the photo's size."""

    resp_mime_type = "image/png"

    def forward(self, data: Photo) -> bytes:
        cv2.setNumThreads(1)
        return bytes(encode_png(resize(data.pixels, data.width_px, data.height_px)))

    def serialize(self, data: bytes) -> bytes:
        return data


if __name__ == "__main__":
    server = Server()
    server.append_worker(Decode, num=2, route=_ROUTE)
    if os.environ.get("RIVAL_MODEL"):
        server.append_worker(Matting, max_batch_size=8, max_wait_time=5, route=_ROUTE)
    else:
        server.append_worker(Nothing, max_batch_size=16, max_wait_time=5, route=_ROUTE)
    server.append_worker(Encode, num=2, route=_ROUTE)
    server.run()
