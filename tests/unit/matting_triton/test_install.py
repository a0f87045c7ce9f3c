# SPDX-License-Identifier: Apache-2.0
"""An installation is whole or not there, is made once, and never downloads twice.

pip is replaced by a function that puts the files in place that the package would; the real one runs whenever a machine
installs Triton.
"""

import re
import shutil
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from matting_triton import install
from matting_triton.errors import InstallError
from matting_triton.install import ensure_runtime

_PARTS = (
    "pytriton/tritonserver/bin/tritonserver",
    "pytriton/tritonserver/backends/python/libtriton_python.so",
    "pytriton/tritonserver/backends/python/triton_python_backend_utils.py",
    "pytriton/tritonserver/python_backend_stubs/3.11/triton_python_backend_stub",
    "pytriton/tritonserver/python_backend_stubs/3.12/triton_python_backend_stub",
    "pytriton/tritonserver/caches/local/libtritoncache_local.so",
    "pytriton/triton.py",
    "nvidia_pytriton.libs/libtritonserver.so",
    "nvidia_pytriton.libs/libpython3-419a3a08.13.so.1.0",
)


class FakePip:
    """Counts its runs; fails at the one it is told to."""

    def __init__(self) -> None:
        self.runs = 0
        self.fails_at = 0

    def __call__(self, arguments: Sequence[str], *, python: Path | None, tell: install.Progress) -> None:
        self.runs += 1
        if self.runs == self.fails_at:
            raise KeyboardInterrupt
        tell("Downloading something")
        if python is None:
            _touch(Path(arguments[arguments.index("--target") + 1]), _PARTS)
        else:
            packages = next(python.parent.parent.glob("lib/python3.*")) / "site-packages"
            _touch(packages, [f"{name}/__init__.py" for name in ("numpy", "onnxruntime", "openvino")])


def _touch(root: Path, names: Sequence[str]) -> None:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()


@pytest.fixture
def pip(monkeypatch: pytest.MonkeyPatch) -> FakePip:
    fake = FakePip()
    monkeypatch.setattr(install, "_pip", fake)
    return fake


def test_it_is_installed_once_and_found_from_then_on(pip: FakePip, tmp_path: Path) -> None:
    told: list[str] = []
    first = ensure_runtime(tmp_path / "cache", told.append)
    assert first.is_complete()
    assert any("Downloading" in line for line in told)
    told.clear()
    assert ensure_runtime(tmp_path / "cache", told.append) == first
    assert (pip.runs, told) == (2, [])


def test_only_what_is_needed_is_kept(pip: FakePip, tmp_path: Path) -> None:
    runtime = ensure_runtime(tmp_path)
    assert pip.runs == 2
    kept = {str(path.relative_to(runtime.root)) for path in (runtime.root / "server").rglob("*") if path.is_file()}
    assert kept == {"server/pytriton/tritonserver/bin/tritonserver", "server/nvidia_pytriton.libs/libtritonserver.so"}
    python_backend = {path.name for path in (runtime.backends / "python").iterdir()}
    assert python_backend == {"libtriton_python.so", "triton_python_backend_utils.py", "triton_python_backend_stub"}
    assert (runtime.backends / "onnxruntime" / "model.py").is_file()


def test_of_two_at_once_one_installs_and_the_other_waits(pip: FakePip, tmp_path: Path) -> None:
    with ThreadPoolExecutor(2) as programs:
        first, second = programs.map(ensure_runtime, [tmp_path, tmp_path])
    assert first == second
    assert pip.runs == 2


@pytest.mark.parametrize("run", [1, 2])
def test_an_interrupted_installation_is_redone(pip: FakePip, tmp_path: Path, run: int) -> None:
    pip.fails_at = run
    with pytest.raises(KeyboardInterrupt):
        ensure_runtime(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {"triton.lock"}
    assert ensure_runtime(tmp_path).is_complete()


def test_what_a_killed_installation_left_is_removed(pip: FakePip, tmp_path: Path) -> None:
    _touch(tmp_path, [".half-abcdefgh/server/something"])
    assert ensure_runtime(tmp_path).is_complete()
    assert pip.runs == 2
    assert not list(tmp_path.glob(".half-*"))


def test_a_damaged_runtime_is_made_anew(pip: FakePip, tmp_path: Path) -> None:
    runtime = ensure_runtime(tmp_path)
    shutil.rmtree(runtime.environment_folder)
    assert ensure_runtime(tmp_path).is_complete()
    assert pip.runs == 4


def test_our_own_backend_is_brought_up_to_date_without_installing(pip: FakePip, tmp_path: Path) -> None:
    runtime = ensure_runtime(tmp_path)
    model = runtime.backends / "onnxruntime" / "model.py"
    current = model.read_bytes()
    model.write_text("# an older one\n")
    ensure_runtime(tmp_path)
    assert model.read_bytes() == current
    assert pip.runs == 2


def test_a_place_that_cannot_be_written_is_an_error_in_words(tmp_path: Path) -> None:
    (tmp_path / "cache").touch()
    with pytest.raises(InstallError, match="cache"):
        ensure_runtime(tmp_path / "cache")


def test_every_package_is_pinned_by_version_and_hash() -> None:
    for lock in ("runtime.lock", "tritonserver.lock"):
        text = (Path(install.__file__).parent / lock).read_text()
        packages = re.findall(r"^([a-z][a-z0-9-]*)(==\S+ \\\n    --hash=sha256:[0-9a-f]{64})?", text, re.MULTILINE)
        assert packages
        assert all(pin for _name, pin in packages), lock


def test_numpy_stays_below_2_where_triton_runs_python() -> None:
    """With numpy 2 there, this Triton answers with empty outputs and reports no error."""
    text = (Path(install.__file__).parent / "runtime.lock").read_text()
    assert re.search(r"^numpy==1\.", text, re.MULTILINE)
