# SPDX-License-Identifier: Apache-2.0
"""What is asked for becomes the contract's message."""

from pathlib import Path

import pytest
from matting.v1 import matting_service_pb2 as pb
from matting_client import BackgroundPicture, OutputSpec, Pixels
from matting_client.answers import read_answer
from matting_client.photos import build_request


def test_nothing_said_leaves_every_choice_to_the_server() -> None:
    expected = pb.RemoveBackgroundRequest(encoded=pb.EncodedImage(content=b"photo"))
    assert build_request(b"photo") == expected


def test_every_option_reaches_its_field() -> None:
    spec = OutputSpec(
        kind="composite",
        encoding="webp",
        quality=80,
        lossless=True,
        refine=True,
        decontaminate=True,
        background=(1, 2, 3),
        crop_margin_share=0.5,
        max_side_px=640,
    )
    assert spec.message() == pb.OutputSpec(
        kind=pb.OUTPUT_KIND_COMPOSITE,
        encoded=pb.ImageEncoding(mime_type="image/webp", quality=80, lossless=True),
        refinement=pb.REFINEMENT_GUIDED,
        decontamination=pb.DECONTAMINATION_BLUR_FUSION,
        color=pb.Color(red=1, green=2, blue=3),
        crop=pb.Crop(margin_share=0.5),
        max_side_px=640,
    )


def test_a_black_background_is_a_background() -> None:
    assert OutputSpec(kind="composite", background=(0, 0, 0)).message().WhichOneof("background") == "color"


def test_a_crop_without_margin_is_a_crop() -> None:
    assert OutputSpec(crop_margin_share=0.0).message().HasField("crop")


def test_a_background_picture_says_how_it_fits() -> None:
    background = BackgroundPicture(b"sky", fit="contain", linear_light=True)
    message = OutputSpec(kind="composite", background=background).message()
    expected = pb.BackgroundImage(
        encoded=pb.EncodedImage(content=b"sky"), fit=pb.BACKGROUND_FIT_CONTAIN, linear_light=True
    )
    assert message.image == expected


@pytest.mark.parametrize("name", ["gray8", "rgb8", "bgr8", "rgba8", "gray16", "rgb16", "rgba16"])
def test_raw_pixels_go_both_ways(name: str) -> None:
    request = build_request(Pixels(b"12", 2, 1, name), [OutputSpec(encoding=name)])  # type: ignore[arg-type]  # names
    wanted = f"PIXEL_FORMAT_{name.upper()}"
    assert pb.PixelFormat.Name(request.pixels.pixel_format) == wanted
    assert pb.PixelFormat.Name(request.outputs[0].raw.pixel_format) == wanted
    answer = read_answer(pb.RemoveBackgroundResponse(outputs=[pb.Output(pixels=request.pixels)]))
    assert answer.output.pixels == Pixels(b"12", 2, 1, name)  # type: ignore[arg-type]  # names
    with pytest.raises(ValueError, match="no file"):
        answer.output.save("/nowhere")


def test_a_path_is_read(tmp_path: Path) -> None:
    path = tmp_path / "photo.jpg"
    path.write_bytes(b"content")
    assert build_request(path) == build_request(str(path)) == build_request(memoryview(b"content"))


def test_model_and_priority_are_named() -> None:
    request = build_request(b"", model="u2net", version="2", priority="high")
    assert (request.model.name, request.model.version, request.priority) == ("u2net", "2", pb.PRIORITY_HIGH)


def test_reprs_show_no_image() -> None:
    pixels = Pixels(b"secret", 2, 1, "rgb8")
    assert "secret" not in repr(pixels) + repr(OutputSpec(background=BackgroundPicture(b"secret")))
