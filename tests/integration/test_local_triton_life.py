# SPDX-License-Identifier: Apache-2.0
"""However a local Triton, its shepherd or its parent ends: no process, port or shared-memory segment is left."""

import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
import tritonclient.grpc as triton_client
from matting_triton.local import LocalTriton
from matting_triton.ports import HeldPort
from matting_triton.runtime import Runtime
from testkit.local_triton import CACHE_DIR, QUICK_START, copy_models, segments

pytestmark = pytest.mark.triton

_PATIENCE_S = 20.0
_PARENT = """
import sys
from pathlib import Path
from matting_triton.install import ensure_runtime
from matting_triton.local import LocalTriton
with LocalTriton(ensure_runtime(Path(sys.argv[1])), Path(sys.argv[2])) as triton:
    print(triton.pid, triton.ports.grpc, triton.shm_prefix, flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    return copy_models(["two"], tmp_path)


@pytest.fixture
def triton(triton_runtime: Runtime, repository: Path) -> Iterator[LocalTriton]:
    with LocalTriton(triton_runtime, repository, grace_s=0, extra_arguments=QUICK_START) as triton:
        yield triton


def _family(pid: int) -> list[psutil.Process]:
    """Return Triton, its shepherd and its stubs."""
    triton = psutil.Process(pid)
    shepherd = triton.parent()
    assert shepherd is not None
    return [shepherd, triton, *triton.children(recursive=True)]


def _assert_all_gone(family: list[psutil.Process], port: int, prefix: str) -> None:
    assert len(family) >= 4
    _gone, alive = psutil.wait_procs(family, timeout=_PATIENCE_S)
    assert alive == []
    assert segments(prefix) == []
    HeldPort(port).close()


def test_stopping_leaves_nothing(triton: LocalTriton) -> None:
    family, port, prefix = _family(triton.pid), triton.ports.grpc, triton.shm_prefix
    assert segments(prefix)
    triton.stop()
    _assert_all_gone(family, port, prefix)
    assert not triton.is_running


def test_a_killed_triton_leaves_nothing_and_restarts_on_its_port(triton: LocalTriton) -> None:
    family, port, prefix = _family(triton.pid), triton.ports.grpc, triton.shm_prefix
    family[1].kill()
    assert triton.wait_ended(_PATIENCE_S)
    psutil.wait_procs(family, timeout=_PATIENCE_S)
    assert segments(prefix) == []
    triton.restart()
    triton.wait_ready()
    assert triton.ports.grpc == port
    with triton_client.InferenceServerClient(triton.grpc_address) as client:
        assert client.is_model_ready("two")
    family, prefix = _family(triton.pid), triton.shm_prefix
    triton.stop()
    _assert_all_gone(family, port, prefix)


def test_a_killed_shepherd_takes_triton_with_it(triton: LocalTriton) -> None:
    family, port, prefix = _family(triton.pid), triton.ports.grpc, triton.shm_prefix
    family[0].kill()
    assert triton.wait_ended(_PATIENCE_S)
    triton.stop()
    _assert_all_gone(family, port, prefix)


def test_a_killed_parent_takes_triton_with_it(triton_runtime: Runtime, repository: Path) -> None:
    assert triton_runtime.is_complete()
    command = [sys.executable, "-c", _PARENT, str(CACHE_DIR), str(repository)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        pid, port, prefix = parent.stdout.readline().split()
        family = _family(int(pid))
        parent.kill()
    _assert_all_gone(family, int(port), prefix)


def test_the_command_runs_until_it_is_told_to_stop(triton_runtime: Runtime, repository: Path) -> None:
    assert triton_runtime.is_complete()
    command = [sys.executable, "-m", "matting_triton.cli", "--repository", str(repository), "--cache", str(CACHE_DIR)]
    with subprocess.Popen([*command, "--grpc-port", "0"], stdout=subprocess.PIPE, text=True) as program:
        assert program.stdout is not None
        ready = next(line for line in program.stdout if line.startswith("Triton is ready"))
        family = _family(next(iter(psutil.Process(program.pid).children()[0].children())).pid)
        program.send_signal(signal.SIGTERM)
        rest = program.stdout.read()
    assert program.returncode == 0
    assert "successfully unloaded 'two'" in rest
    assert "Triton is stopped" in rest
    _assert_all_gone(family, int(ready.rsplit(":", 1)[1]), "matting_triton_" + str(program.pid))
