# SPDX-License-Identifier: Apache-2.0
"""The program `matting` as a user runs it."""

import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import grpc
import numpy as np
import pytest
from matting.v1 import matting_service_pb2 as pb
from matting_client.program.cli import main
from PIL import Image
from testkit.fake_gateway import Answer, Failure, FakeGateway, Hold, make_answer
from testkit.halves import GREEN, RED, answer_left_half, plain_photo, png


@pytest.fixture
def gateway(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeGateway]:
    models = [pb.Model(name="u2net", versions=["1"], default=True, input_width_px=8, license="Apache-2.0")]
    policy = pb.DataPolicy(
        version="1",
        statements=[
            pb.DataPolicyStatement(topic="storage.disk", statement="Nothing is written.", kept=True),
            pb.DataPolicyStatement(topic="transfer", statement="Plain.", kept=False, values={"tls": "off"}),
        ],
    )
    with FakeGateway(answer=answer_left_half, models=models, policy=policy) as server:
        monkeypatch.setenv("MATTING_SERVER", server.address)
        yield server


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    folder.mkdir()
    for name, color in (("a.png", GREEN), ("b.png", RED)):
        (folder / name).write_bytes(plain_photo(color))
    return folder


def test_a_cutout_is_composed_here(
    gateway: FakeGateway, photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["cutout", str(photos / "a.png"), "-o", str(tmp_path / "out.png")]) == 0
    result = np.asarray(Image.open(tmp_path / "out.png"))
    assert tuple(result[10, 5]) == (*GREEN, 255)
    # Two cells of doubt to either side of the edge, and what the guided filter reaches from there.
    assert not result[:, 22:].any()
    assert gateway.calls[0].request.outputs[0].kind == pb.OUTPUT_KIND_ALPHA
    assert capsys.readouterr().err == f"wrote {tmp_path / 'out.png'}\n"  # on a terminal it says so


def test_the_server_makes_the_file_where_asked(gateway: FakeGateway, photos: Path, tmp_path: Path) -> None:
    arguments = ["cutout", str(photos), "-o", str(tmp_path / "out"), "--server-side", "--format", "webp"]
    options = ["--refine", "--decontaminate", "--crop", "--margin", "0.1", "--max-side", "64", "--quality", "70"]
    assert main([*arguments, *options]) == 0
    expected = pb.OutputSpec(
        kind=pb.OUTPUT_KIND_CUTOUT,
        encoded=pb.ImageEncoding(mime_type="image/webp", quality=70),
        refinement=pb.REFINEMENT_GUIDED,
        decontamination=pb.DECONTAMINATION_BLUR_FUSION,
        crop=pb.Crop(margin_share=0.1),
        max_side_px=64,
    )
    assert [seen.request.outputs[0] for seen in gateway.calls] == [expected] * 2
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["a-cutout.webp", "b-cutout.webp"]


def test_a_composite_has_its_background(gateway: FakeGateway, photos: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.jpg"
    assert main(["cutout", str(photos / "a.png"), "-o", str(out), "--background", "#0000ff", "--quality", "100"]) == 0
    assert np.asarray(Image.open(out))[10, 25].tolist() == pytest.approx([0, 0, 255], abs=4)
    picture = ["--background", str(photos / "b.png")]
    assert main(["cutout", str(photos / "a.png"), "-o", str(out), *picture, "--overwrite"]) == 0
    assert np.asarray(Image.open(out))[10, 25].tolist() == pytest.approx(RED, abs=4)


@pytest.mark.parametrize("options", [[], ["--refine"], ["--refine", "guided"], ["--refine", "matting"]])
def test_a_refined_cutout_asks_for_the_alpha_of_the_models_grid(
    gateway: FakeGateway, photos: Path, tmp_path: Path, options: list[str]
) -> None:
    assert main(["cutout", str(photos / "a.png"), "-o", str(tmp_path / "out.png"), *options, "--crop"]) == 0
    assert gateway.calls[0].request.outputs[0] == pb.OutputSpec(
        kind=pb.OUTPUT_KIND_ALPHA, encoded=pb.ImageEncoding(mime_type="image/png"), model_grid=True
    )


def test_an_older_server_is_asked_for_guided_unless_solving_was_asked_for(
    gateway: FakeGateway, photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    unknown = Failure(
        "OPTION_UNSUPPORTED",
        grpc.StatusCode.UNIMPLEMENTED,
        "Value 3 of outputs[0].refinement is not served.",
        field_path="outputs[0].refinement",
    )
    arguments = ["cutout", str(photos / "a.png"), "-o", str(tmp_path / "out.png"), "--server-side"]
    gateway.script(unknown)
    assert main(arguments) == 0
    asked = [call.request.outputs[0].refinement for call in gateway.calls]
    assert asked == [pb.REFINEMENT_MATTING, pb.REFINEMENT_GUIDED]
    gateway.script(unknown)
    assert main([*arguments, "--refine", "matting", "--overwrite"]) == 1
    assert "[OPTION_UNSUPPORTED]" in capsys.readouterr().err
    assert len(gateway.calls) == 3


def test_what_an_older_server_has_enlarged_is_left_to_it_to_finish(
    gateway: FakeGateway, photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    photo = photos / "a.png"
    older = make_answer(pb.RemoveBackgroundRequest(outputs=[pb.OutputSpec()]))
    gateway.script(Answer(older))
    assert main(["cutout", str(photo), "-o", str(tmp_path / "out.png")]) == 0
    kinds = [call.request.outputs[0].kind for call in gateway.calls]
    assert kinds == [pb.OUTPUT_KIND_ALPHA, pb.OUTPUT_KIND_CUTOUT]
    assert "finished by the server: it is of an older version" in capsys.readouterr().err


def test_a_word_after_refine_that_is_none_of_its_own_is_said_so(
    photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(["cutout", "-o", str(tmp_path / "out"), str(photos), "--refine", str(photos / "a.png")])
    assert stopped.value.code == 2
    assert "--refine is one of none, guided, matting" in capsys.readouterr().err


def test_one_bad_photo_does_not_stop_the_others(
    gateway: FakeGateway, photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    gateway.script(Failure("IMAGE_UNREADABLE", grpc.StatusCode.INVALID_ARGUMENT, "The file is damaged."))
    assert main(["cutout", str(photos), "-o", str(tmp_path / "out"), "--concurrency", "1"]) == 1
    told = capsys.readouterr().err
    assert "a.png: The file is damaged. [IMAGE_UNREADABLE]" in told
    assert "1 of 2 done" in told
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["b-cutout.png"]


def test_a_photo_that_cannot_be_read_here_is_finished_by_the_server(
    gateway: FakeGateway, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    deep = tmp_path / "deep.png"
    deep.write_bytes(png(np.full((4, 4), 40_000, np.uint16)))
    assert main(["cutout", str(deep), "-o", str(tmp_path / "out.png")]) == 0
    assert gateway.calls[-1].request.outputs[0].kind == pb.OUTPUT_KIND_CUTOUT
    assert "finished by the server: it has 16 bits a sample" in capsys.readouterr().err


def test_nobody_listening_ends_the_work(photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["cutout", str(photos), "-o", str(tmp_path), "--server", "127.0.0.1:1", "--concurrency", "1"]
    assert main([*arguments, "--timeout", "0.2"]) == 3
    assert "0 of 2 done, 1 not tried" in capsys.readouterr().err
    assert main(["policy", "--server", "127.0.0.1:1", "--timeout", "0.2"]) == 3


def test_a_slow_server_is_left_after_the_timeout(
    gateway: FakeGateway, photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    gateway.script(Hold(threading.Event()))
    assert main(["cutout", str(photos / "a.png"), "-o", str(tmp_path / "out.png"), "--timeout", "0.1"]) == 1
    assert "Deadline Exceeded" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["IN", "-o", "x.jpg"], "holds no alpha"),
        (["IN", "-o", "x.png", "--format", "webp"], "not named as the webp"),
        (["IN", "-o", "x.png", "--output", "composite"], "needs --background"),
        (["IN", "-o", "x.png", "--output", "alpha", "--background", "#000000"], "--background goes with"),
        (["IN", "-o", "x.png", "--background", "#12"], "neither a colour"),
        (["IN", "-o", "x.png", "--output", "alpha", "--decontaminate"], "an alpha has none"),
        (["IN", "-o", "x.png", "--margin", "0.1"], "--margin goes with --crop"),
        (["IN", "-o", "x.png", "--lossless"], "--lossless is of webp"),
        (["gone.jpg", "-o", "x.png"], "does not exist"),
        (["IN", "-o", "x.png", "--server", "nonsense"], "is no address"),
        (["IN", "-o", "x.png", "--server", "10.9.9.9:1", "--token", "secret"], "readable"),
        (["IN", "-o", "x.png", "--tls-cert", "c.pem"], "both certificate_file and key_file"),
        (["IN", "-o", "x.png", "--quality", "101"], "1 to 100"),
        (["IN", "-o", "x.png", "--margin", "2", "--crop"], "0 to 1"),
        (["IN", "-o", "x.png", "--timeout", "0"], "more than 0"),
        (["IN", "-o", "x.png", "--concurrency", "0"], "at least 1"),
        (["IN"], "required: -o"),
    ],
)
def test_what_cannot_be_is_refused_in_words(
    photos: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], told: str
) -> None:
    arguments = [str(photos / "a.png") if argument == "IN" else argument for argument in arguments]
    with pytest.raises(SystemExit) as caught:
        main(["cutout", *arguments])
    assert caught.value.code == 2
    assert told in capsys.readouterr().err


def test_several_servers_may_be_named(gateway: FakeGateway, photos: Path, tmp_path: Path) -> None:
    arguments = ["cutout", str(photos / "a.png"), "-o", str(tmp_path / "out.png")]
    assert main([*arguments, "--server", "127.0.0.1:1", "--server", gateway.address]) == 0


def test_a_token_may_be_in_a_file(gateway: FakeGateway, photos: Path, tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.write_text("secret\n")
    assert main(["cutout", str(photos / "a.png"), "-o", str(tmp_path / "out.png"), "--token", f"@{token}"]) == 0
    assert gateway.calls[0].metadata["authorization"] == "Bearer secret"


def test_models_and_policy_are_printed(gateway: FakeGateway, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["models"]) == 0
    assert "u2net (default)" in capsys.readouterr().out
    assert main(["policy"]) == 0
    told = capsys.readouterr().out
    assert "storage.disk\n  Nothing is written." in told
    assert "NOT kept" in told
    assert main(["models", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)[0]["name"] == "u2net"
    assert main(["policy", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["statements"][1]["values"] == {"tls": "off"}


@pytest.mark.parametrize(("options", "printed"), [([], "the server serves no model now"), (["--json"], "[]")])
def test_no_model_served_is_a_failure_that_says_why(
    options: list[str], printed: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with FakeGateway(answer=answer_left_half, models=[], policy=pb.DataPolicy()) as server:
        monkeypatch.setenv("MATTING_SERVER", server.address)
        assert main(["models", *options]) == 1
    told = capsys.readouterr()
    assert told.out.strip() == printed
    assert "no Triton behind it is ready" in told.err


def test_the_bare_install_works_and_says_what_it_lacks(gateway: FakeGateway, photos: Path, tmp_path: Path) -> None:
    hidden = "import sys; sys.modules.update(dict.fromkeys(['numpy', 'PIL', 'cv2', 'rich']))"
    program = f"{hidden}; from matting_client.program.cli import main; sys.exit(main(sys.argv[1:]))"
    command = [sys.executable, "-c", program, "cutout", str(photos), "-o", str(tmp_path / "out")]
    done = subprocess.run(command, capture_output=True, text=True, env=os.environ, timeout=30)
    assert done.returncode == 0, done.stderr
    assert "composing at the server: numpy, pillow, opencv-python-headless not installed" in done.stderr
    assert gateway.calls[0].request.outputs[0].kind == pb.OUTPUT_KIND_CUTOUT
    compose = f"{hidden}; import matting_client.compose"
    failed = subprocess.run([sys.executable, "-c", compose], capture_output=True, text=True, timeout=30)
    assert "pip install 'matting-client[pixels]'" in failed.stderr
