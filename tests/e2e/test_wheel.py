# SPDX-License-Identifier: Apache-2.0
"""Facts about the package: bare it is a small, working client; nothing else is asked for until it is used."""

import email
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
BARE = {"grpcio", "grpcio-status", "googleapis-common-protos", "protobuf", "typing-extensions"}
PACKAGES = {
    "matting",
    "matting_client",
    "matting_gateway",
    "matting_load",
    "matting_models",
    "matting_pixels",
    "matting_programs",
    "matting_triton",
}


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(folder), str(ROOT)]
    subprocess.run(command, check=True, capture_output=True)
    return next(folder.glob("*.whl"))


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


def bare_requirements(wheel: Path) -> set[str]:
    with zipfile.ZipFile(wheel) as archive:
        name = next(n for n in archive.namelist() if n.endswith(".dist-info/METADATA"))
        message = email.message_from_bytes(archive.read(name))
    requirements = [Requirement(text) for text in message.get_all("Requires-Dist", [])]
    return {r.name for r in requirements if r.marker is None}


@pytest.fixture(scope="module")
def bare_environment(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that holds what a bare install brings and nothing else: our wheel, and links to what it requires."""
    folder = tmp_path_factory.mktemp("bare")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder)
    for distribution in closure(bare_requirements(wheel)):
        for file in distribution.files or ():
            source = Path(str(distribution.locate_file(file)))
            target = folder / str(file)
            if ".." not in str(file) and not target.exists() and source.is_file():
                target.parent.mkdir(parents=True, exist_ok=True)
                target.symlink_to(source)
    return folder


def python(environment: Path, code: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    start = f"import sys; sys.path.insert(0, {str(environment)!r})\n"
    return subprocess.run(
        [sys.executable, "-I", "-S", "-c", start + textwrap.dedent(code), *arguments], capture_output=True, text=True
    )


def test_the_wheel_holds_every_package_and_its_types(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
    assert {name.split("/")[0] for name in names if ".dist-info" not in name} == PACKAGES
    assert {f"{package}/py.typed" for package in PACKAGES} <= names
    assert not [name for name in names if name.startswith("tests")]


def test_bare_it_asks_for_a_few_small_packages(wheel: Path) -> None:
    assert {d.metadata["Name"].lower().replace("_", "-") for d in closure(bare_requirements(wheel))} <= BARE


def test_bare_it_is_a_working_client(bare_environment: Path) -> None:
    code = """
        import sys
        from matting_client import Client, OutputSpec
        with Client(sys.argv[1]) as client:
            answer = client.remove_background(b"a photo", [OutputSpec(kind="alpha")])
            print(len(answer.outputs))
        assert "numpy" not in sys.modules
    """
    with FakeGateway() as gateway:
        result = python(bare_environment, code, gateway.address)
    assert (result.returncode, result.stdout.strip()) == (0, "1"), result.stderr


def test_bare_the_server_says_which_extra_it_needs(bare_environment: Path) -> None:
    result = python(bare_environment, "import matting_gateway.cli")
    assert result.returncode != 0
    assert result.stderr.endswith("ImportError: matting_gateway needs click: pip install 'matting-gateway[server]'\n")


@pytest.mark.parametrize(("program", "extra"), [("gateway", "server"), ("load", "load")])
def test_bare_a_program_says_which_extra_it_needs(bare_environment: Path, program: str, extra: str) -> None:
    result = python(bare_environment, f"import matting_programs; sys.exit(matting_programs.{program}())", "serve")
    assert (result.returncode, result.stderr.count("\n")) == (1, 1)
    assert f"pip install 'matting-gateway[{extra}]'" in result.stderr
