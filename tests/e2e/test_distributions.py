# SPDX-License-Identifier: Apache-2.0
"""Facts about the distributions: the client is small and works by itself, and the others add what they are for."""

import email
import email.message
import os
import subprocess
import sys
import textwrap
import zipfile
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from testkit.fake_gateway import FakeGateway

ROOT = Path(__file__).parents[2]
CLIENT, GATEWAY, LOAD = "matting_client", "matting_gateway", "matting_load"
PACKAGES = {
    CLIENT: {"matting", "matting_client", "matting_pixels", "matting_programs"},
    GATEWAY: {"matting_gateway", "matting_models", "matting_triton"},
    LOAD: {"matting_load"},
}
PROGRAMS = {CLIENT: "matting", GATEWAY: "matting-gateway", LOAD: "matting-load"}
BARE = {"click", "grpcio", "grpcio-status", "googleapis-common-protos", "protobuf", "typing-extensions"}
SERVICE = '''
"""A service that has a photo cut out."""

from pathlib import Path

from matting_client import Answer, AsyncClient, Client, MattingError, OutputSpec


def cut_out(server: str, photo: Path) -> bytes:
    with Client(server) as client:
        try:
            answer: Answer = client.remove_background(photo, [OutputSpec(kind="cutout", encoding="webp")], timeout_s=10)
        except MattingError as error:
            raise RuntimeError(error.reason) from error
        return answer.output.content


async def width(server: str, photo: bytes) -> int:
    async with AsyncClient(server) as client:
        return (await client.remove_background(photo)).output.width_px
'''


@pytest.fixture(scope="module")
def wheels(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("wheels")
    command = [sys.executable, str(ROOT / "deploy/release/distributions.py"), str(folder)]
    subprocess.run(command, check=True, capture_output=True)
    return {path.name.split("-")[0]: path for path in folder.glob("*.whl")}


def facts(wheel: Path) -> email.message.Message:
    with zipfile.ZipFile(wheel) as archive:
        name = next(n for n in archive.namelist() if n.endswith(".dist-info/METADATA"))
        return email.message_from_bytes(archive.read(name))


def requirements(wheel: Path) -> dict[str, Requirement]:
    """Return what is required without any extra."""
    found = [Requirement(text) for text in facts(wheel).get_all("Requires-Dist", [])]
    return {each.name: each for each in found if each.marker is None}


def closure(names: set[str]) -> Iterator[metadata.Distribution]:
    """Yield distributions and what they need, extras aside."""
    todo, seen = set(names), set()
    while todo:
        name = todo.pop()
        seen.add(name)
        distribution = metadata.distribution(name)
        yield distribution
        for text in distribution.requires or ():
            requirement = Requirement(text)
            wanted = requirement.marker is None or requirement.marker.evaluate({"extra": ""})
            if wanted and requirement.name not in seen:
                todo.add(requirement.name)


@pytest.fixture(scope="module")
def bare(wheels: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The Python of an environment with the client's wheel, links to what that requires, and nothing else."""
    folder = tmp_path_factory.mktemp("bare")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder)], check=True)
    packages = next(folder.glob("lib/python3*/site-packages"))
    with zipfile.ZipFile(wheels[CLIENT]) as archive:
        archive.extractall(packages)
    for distribution in closure(set(requirements(wheels[CLIENT]))):
        for file in distribution.files or ():
            source = Path(str(distribution.locate_file(file)))
            target = packages / str(file)
            if ".." not in str(file) and not target.exists() and source.is_file():
                target.parent.mkdir(parents=True, exist_ok=True)
                target.symlink_to(source)
    return folder / "bin/python"


def run(python: Path, code: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([python, "-I", "-c", textwrap.dedent(code), *arguments], capture_output=True, text=True)


@pytest.mark.parametrize("name", PACKAGES)
def test_a_wheel_holds_its_packages_with_their_types_and_its_own_program_only(
    wheels: dict[str, Path], name: str
) -> None:
    with zipfile.ZipFile(wheels[name]) as archive:
        names = [each for each in archive.namelist() if ".dist-info" not in each]
        entries = next(n for n in archive.namelist() if n.endswith("/entry_points.txt"))
        programs = archive.read(entries).decode()
    assert {each.split("/")[0] for each in names} == PACKAGES[name]
    assert {f"{package}/py.typed" for package in PACKAGES[name]} <= set(names)
    assert [line.split(" = ")[0] for line in programs.splitlines() if " = " in line] == [PROGRAMS[name]]


def test_a_wheel_holds_all_files_of_its_packages(wheels: dict[str, Path]) -> None:
    held: set[str] = set()
    for wheel in wheels.values():
        with zipfile.ZipFile(wheel) as archive:
            held |= {name for name in archive.namelist() if ".dist-info" not in name}
    places = [ROOT / place for place in ("server", "clients", "proto/gen/python")]
    there = {
        str(file.relative_to(place))
        for place in places
        for package in place.iterdir()
        if package.name.startswith("matting") and package.is_dir()
        for file in package.rglob("*")
        if file.is_file() and "__pycache__" not in file.parts and file.name != "README.md"
    }
    assert there <= held


def test_all_have_one_version_and_the_others_require_just_that_of_the_client(wheels: dict[str, Path]) -> None:
    (version,) = {facts(wheel)["Version"] for wheel in wheels.values()}
    for name in (GATEWAY, LOAD):
        required = requirements(wheels[name])["matting-client"]
        assert (str(required.specifier), required.extras) == (f"=={version}", {"pixels"})


def test_who_installs_the_gateway_needs_no_extra_to_run_it(wheels: dict[str, Path]) -> None:
    assert {"click", "tritonclient", "prometheus-client"} <= set(requirements(wheels[GATEWAY]))
    assert {"server", "models", "heif", "otel"} <= set(facts(wheels[GATEWAY]).get_all("Provides-Extra", []))


def test_the_client_is_small_pure_and_for_python_from_3_11_on(wheels: dict[str, Path]) -> None:
    assert wheels[CLIENT].stat().st_size < 300_000
    assert wheels[CLIENT].name.endswith("-py3-none-any.whl")
    assert facts(wheels[CLIENT])["Requires-Python"] == ">=3.11"
    assert {d.metadata["Name"].lower().replace("_", "-") for d in closure(set(requirements(wheels[CLIENT])))} <= BARE


def test_the_client_works_by_itself(bare: Path) -> None:
    code = """
        import sys
        from matting_client import Client, OutputSpec
        with Client(sys.argv[1]) as client:
            answer = client.remove_background(b"a photo", [OutputSpec(kind="alpha")])
            print(len(answer.outputs))
        assert "numpy" not in sys.modules
    """
    with FakeGateway() as gateway:
        result = run(bare, code, gateway.address)
    assert (result.returncode, result.stdout.strip()) == (0, "1"), result.stderr


def test_its_program_knows_its_version(bare: Path, wheels: dict[str, Path]) -> None:
    result = run(bare, "import sys, matting_programs; sys.exit(matting_programs.matting())", "--version")
    assert (result.returncode, result.stdout) == (0, f"matting {facts(wheels[CLIENT])['Version']}\n"), result.stderr


def test_a_service_that_uses_the_client_passes_the_strict_type_check(bare: Path, tmp_path: Path) -> None:
    (tmp_path / "service.py").write_text(SERVICE)
    command = [sys.executable, "-m", "mypy", "--strict", "--python-executable", str(bare), "--cache-dir", os.devnull]
    result = subprocess.run([*command, "service.py"], cwd=tmp_path, capture_output=True, text=True)
    assert (result.returncode, result.stderr) == (0, ""), result.stdout
