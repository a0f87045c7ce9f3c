# SPDX-License-Identifier: Apache-2.0
"""The very Containerfile, built on a base that is made here, and what runs in it: `make image`, as root."""

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image as Photo
from testkit.certificates import Authority
from testkit.certificates import replace as replace_file
from testkit.containers import Builder, Container, Image, Pod, pod, require_container_tools
from testkit.default_model import SAMPLES, Rembg, f32_repository
from testkit.local_triton import CACHE_DIR
from testkit.program import PROGRAM, ROOT

pytestmark = pytest.mark.image

MODEL = "u2net-f32"
MAX_BYTES = 450_000_000
CLIENT = Path(sys.executable).with_name("matting")
ASTRONAUT = SAMPLES / "astronaut.png"


@pytest.fixture(scope="module")
def builder() -> Iterator[Builder]:
    require_container_tools()
    folder = Path(tempfile.mkdtemp(prefix="matting-image-"))
    try:
        yield Builder(folder)
    finally:
        shutil.rmtree(folder)


@pytest.fixture(scope="module")
def base(builder: Builder) -> str:
    return builder.base()


@pytest.fixture(scope="module")
def image(builder: Builder, base: str) -> Image:
    return builder.build(base)


@pytest.fixture
def models(tmp_path: Path) -> Path:
    """Return a repository of the default model's file, at f32."""
    tmp_path.chmod(0o755)
    (folder := tmp_path / "models").mkdir()
    return f32_repository(folder)


@pytest.fixture
def network() -> Iterator[Pod]:
    with pod() as network:
        yield network


def healthcheck(container: Container, image: Image) -> int:
    kind, *command = image.config["Healthcheck"]["Test"]
    assert kind == "CMD"
    return container.run(*command).returncode


def before_a_triton(**more: str) -> dict[str, Any]:
    """Return the environment of a gateway in the clear beside a Triton."""
    return {"MATTING_DEFAULT_MODEL": MODEL, "MATTING_ALLOW_PLAINTEXT": "0.0.0.0:50051"} | more


@contextmanager
def triton_beside(network: Pod, models: Path) -> Iterator[None]:
    with network.start(str(PROGRAM), "triton", "--repository", str(models), "--cache", str(CACHE_DIR)) as triton:
        try:
            yield
        finally:
            triton.terminate()


def cut_out(network: Pod, photo: Path, result: Path, *options: str) -> None:
    """Ask for a cutout from within the network of the gateway, where its address is the client's default."""
    with network.start(str(CLIENT), "cutout", str(photo), "-o", str(result), *options) as client:
        assert client.wait(timeout=300) == 0


def astronauts_alpha_is_rembgs(network: Pod, folder: Path) -> None:
    alpha = folder / "alpha.png"
    cut_out(network, ASTRONAUT, alpha, "--output", "alpha", "--refine", "none", "--server-side")
    with Photo.open(alpha) as made, Photo.open(ASTRONAUT) as photo:
        difference = np.abs(np.asarray(made).astype(float) - Rembg().mask(photo)).mean()
    assert difference < 0.01 * 255


def test_it_is_small(image: Image, capsys: pytest.CaptureFixture[str]) -> None:
    with capsys.disabled():
        print(f"\nthe image takes {image.size_bytes / 1e6:.0f} MB")  # noqa: T201 -- whoever builds it is to know
    assert image.size_bytes <= MAX_BYTES


def test_it_is_labelled_and_runs_as_nobody_of_the_hosts(image: Image) -> None:
    assert image.config["User"] == "65532:65532"
    assert image.config["StopSignal"] == "SIGTERM"
    labels = {name.removeprefix("org.opencontainers.image."): text for name, text in image.config["Labels"].items()}
    assert {"title", "description", "version", "licenses"} <= set(labels)


def test_the_interpreter_is_the_only_program_of_the_system_in_it(image: Image) -> None:
    folders = [image.root / name for name in ("usr/bin", "usr/sbin", "usr/local/bin", "usr/local/sbin")]
    programs = {file.name for folder in folders if folder.is_dir() for file in folder.iterdir()}
    assert {re.sub(r"[\d.]+$", "", name) for name in programs} == {"python"}
    installers = [
        file for name in ("pip", "setuptools", "ensurepip") for file in image.root.rglob(f"**/{name}/__init__.py")
    ]
    assert installers == []


def test_packages_of_the_system_are_named_where_scanners_look(image: Image) -> None:
    listed = {file.name for file in (image.root / "var/lib/dpkg/status.d").iterdir()}
    assert {"libc6", "libssl3", "libstdc++6"} <= {name.removesuffix("t64") for name in listed}


def test_its_bill_of_materials_names_each_package_in_it_with_its_version(image: Image) -> None:
    bill = json.loads((image.root / "opt/matting/sbom.cdx.json").read_text())
    assert bill["bomFormat"] == "CycloneDX"
    named = {f"{_plain(one['name'])}-{one['version']}" for one in [*bill["components"], bill["metadata"]["component"]]}
    found = {_plain(path.name.removesuffix(".dist-info")) for path in image.root.rglob("*.dist-info")}
    assert {_plain(name) for name in named} == found
    locked = re.findall(
        r"^([\w.-]+)==([^ ;]+)", (ROOT / "deploy/container/requirements.lock").read_text(), re.MULTILINE
    )
    assert found - {_plain(f"{name}-{version}") for name, version in locked} == {
        _plain(f"matting-gateway-{version_of(image)}")
    }


def _plain(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def version_of(image: Image) -> str:
    found: str = image.config["Labels"]["org.opencontainers.image.version"]
    return found


def test_a_photo_is_served_from_inside_it_between_an_unready_start_and_a_drain(
    image: Image, network: Pod, models: Path, tmp_path: Path
) -> None:
    with network.container(image, **before_a_triton(MATTING_TRITON="127.0.0.1:8001")) as gateway:
        gateway.events("not_ready")
        assert healthcheck(gateway, image) == 1
        with triton_beside(network, models):
            gateway.events("serving")
            assert healthcheck(gateway, image) == 0
            astronauts_alpha_is_rembgs(network, tmp_path)
            assert gateway.stop() == 0


def test_each_kind_of_file_is_read_refined_and_written_by_what_is_left_of_its_libraries(
    image: Image, network: Pod, models: Path, tmp_path: Path
) -> None:
    pillow_heif = pytest.importorskip("pillow_heif")
    pillow_heif.register_heif_opener()
    with (
        triton_beside(network, models),
        network.container(image, **before_a_triton(MATTING_TRITON="127.0.0.1:8001")) as gateway,
        Photo.open(ASTRONAUT) as photo,
    ):
        gateway.events("serving")
        for read, written in (("jpg", "png"), ("png", "webp"), ("webp", "avif"), ("avif", "png"), ("heic", "webp")):
            file, result = tmp_path / f"photo.{read}", tmp_path / f"{read}.{written}"
            photo.convert("RGB").save(file)
            cut_out(network, file, result, "--server-side", "--refine", "matting", "--decontaminate")
            with Photo.open(result) as cutout:
                assert cutout.size == photo.size
                assert np.asarray(cutout.convert("RGBA"))[..., 3].mean() > 50
        assert gateway.stop() == 0


# Run in the gateway's network by the Python of the tests.
_TRITON = """
import asyncio
from testkit.fake_triton import FakeModel, FakeTriton, echo_config
async def main():
    async with FakeTriton(FakeModel(echo_config("one"))) as triton:
        print(triton.address, flush=True)
        await asyncio.Event().wait()
asyncio.run(main())
"""
_SILENT = """
import signal, socket
with socket.create_server(("127.0.0.1", 0)) as listener:
    print("127.0.0.1:%d" % listener.getsockname()[1], flush=True)
    signal.pause()
"""


@contextmanager
def listening(network: Pod, program: str) -> Iterator[str]:
    """Run a program that prints its address until the end of the block."""
    environment = {"PYTHONPATH": os.pathsep.join(sys.path)}
    with network.start(sys.executable, "-c", program, stdout=subprocess.PIPE, env=environment) as process:
        try:
            assert process.stdout is not None
            yield process.stdout.readline().strip()
        finally:
            process.kill()


def test_health_says_zero_or_one_inside_it_by_tls_by_a_socket_and_of_who_never_answers(
    image: Image, network: Pod, tmp_path: Path
) -> None:
    tmp_path.chmod(0o755)
    authority = Authority()
    certificate, key = authority.issue("gateway", names=("localhost",)).write(tmp_path, "gateway")
    replace_file(tmp_path / "ca.crt", authority.certificate)
    replace_file(tmp_path / "stranger.crt", Authority("stranger").certificate)
    for file in tmp_path.iterdir():
        file.chmod(0o644)
    socket = "unix:/dev/shm/gateway"
    said = {
        "MATTING_LISTEN": f"0.0.0.0:50051 {socket}",
        "MATTING_TLS_CERTIFICATE": f"/etc/tls/{certificate.name}",
        "MATTING_TLS_KEY": f"/etc/tls/{key.name}",
        "MATTING_DEFAULT_MODEL": "one",
    }
    with (
        listening(network, _TRITON) as triton,
        listening(network, _SILENT) as silent,
        network.container(image, volumes={"/etc/tls": tmp_path}, MATTING_TRITON=triton, **said) as gateway,
    ):
        gateway.events("serving")

        def health(*options: str) -> tuple[int, str]:
            done = gateway.run("matting-gateway", "health", *options)
            return done.returncode, done.stdout + done.stderr

        by_tls = ("--address", "localhost:50051", "--tls-ca")
        assert health(*by_tls, "/etc/tls/ca.crt") == (0, "localhost:50051: SERVING\n")
        code, text = health(*by_tls, "/etc/tls/stranger.crt")
        assert (code, "certificate" in text) == (1, True)
        assert health("--address", "localhost:50051")[0] == 1  # in the clear
        assert health("--address", socket) == (0, f"{socket}: SERVING\n")
        code, text = health("--address", silent, "--timeout-s", "0.5")
        assert (code, "no answer within 0.5 s" in text) == (1, True)
        assert gateway.stop() == 0


def test_with_a_triton_of_its_own_it_needs_nothing_but_models(
    builder: Builder, base: str, network: Pod, models: Path, tmp_path: Path
) -> None:
    image = builder.build(base, target="standalone")
    with network.container(image, volumes={"/models": models}, **before_a_triton()) as gateway:
        gateway.events("serving")
        assert healthcheck(gateway, image) == 0
        astronauts_alpha_is_rembgs(network, tmp_path)
        assert gateway.stop() == 0
