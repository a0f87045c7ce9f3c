# SPDX-License-Identifier: Apache-2.0
"""A local Triton serves on loopback only, says what goes wrong, and keeps nothing it was not asked to keep."""

import socket
import time
import urllib.request
from collections.abc import Iterator
from http import HTTPStatus
from pathlib import Path
from urllib.error import URLError

import numpy as np
import numpy.typing as npt
import psutil
import pytest
import tritonclient.grpc as triton_client
from matting_triton.errors import ModelLoadError, PortTakenError, RepositoryMissingError, TritonStartError
from matting_triton.local import LocalTriton
from matting_triton.ports import HeldPort
from matting_triton.runtime import Runtime
from testkit.local_triton import QUICK_START, copy_models

pytestmark = pytest.mark.triton


@pytest.fixture
def client(triton_server: LocalTriton) -> Iterator[triton_client.InferenceServerClient]:
    with triton_client.InferenceServerClient(triton_server.grpc_address) as client:
        yield client


def _infer(
    client: triton_client.InferenceServerClient, model: str, **arrays: npt.NDArray[np.generic]
) -> triton_client.InferResult:
    inputs = []
    for name, array in arrays.items():
        datatype = triton_client.InferInput(name, list(array.shape), _datatype(array))
        datatype.set_data_from_numpy(array)
        inputs.append(datatype)
    return client.infer(model, inputs)


def _datatype(array: npt.NDArray[np.generic]) -> str:
    names = {"uint8": "UINT8", "float32": "FP32", "float16": "FP16", "int32": "INT32", "object": "BYTES"}
    return names[array.dtype.name]


def _get_when_open(url: str) -> int:
    """Return the status of a GET, made as soon as somebody listens there."""
    give_up_at = time.monotonic() + 20
    while True:
        try:
            with urllib.request.urlopen(url, timeout=5) as answer:
                return int(answer.status)
        except URLError:
            if time.monotonic() > give_up_at:
                raise


def test_every_test_model_is_served(triton_server: LocalTriton) -> None:
    triton_server.wait_ready(every_model=True)
    assert triton_server.failed_models == {}


def test_outputs_are_whole(client: triton_client.InferenceServerClient) -> None:
    """With numpy 2 in its environment, this Triton would answer with the right shape and no bytes."""
    image = np.random.default_rng(1).integers(0, 256, (3, 320, 320, 3), dtype=np.uint8)
    result = _infer(client, "nothing", image=image)
    assert len(result.get_response().raw_output_contents[0]) == 3 * 320 * 320
    np.testing.assert_array_equal(result.as_numpy("alpha"), image[..., 0])


def test_the_test_models_answer_what_they_promise(client: triton_client.InferenceServerClient) -> None:
    row = np.arange(8, dtype=np.uint8)[None]
    np.testing.assert_array_equal(_infer(client, "delay", row=row).as_numpy("inverted"), 255 - row)
    left, right = np.array([[1, 2, 3, 4]], np.float32), np.array([[4, 3, 2, 1]], np.float32)
    both = _infer(client, "two", left=left, right=right)
    np.testing.assert_array_equal(both.as_numpy("sum"), left + right)
    np.testing.assert_array_equal(both.as_numpy("difference"), left - right)
    text = np.array([[b"one", "zw\u00f6lf".encode()]], dtype=np.object_)
    np.testing.assert_array_equal(_infer(client, "strings", text=text).as_numpy("echo"), text)
    np.testing.assert_array_equal(_infer(client, "single", values=np.array([1, 2, 3], np.int32)).as_numpy("total"), [6])
    halves = _infer(client, "half", values=np.array([[-1.5, 2.0]], np.float16))
    np.testing.assert_array_equal(halves.as_numpy("doubled"), np.array([[-3, 4]], np.float16))
    np.testing.assert_array_equal(halves.as_numpy("positive"), [[False, True]])


def test_listens_on_one_loopback_port_only(triton_server: LocalTriton) -> None:
    processes = [psutil.Process(triton_server.pid), *psutil.Process(triton_server.pid).children(recursive=True)]
    listening = {
        (connection.laddr.ip.removeprefix("::ffff:"), connection.laddr.port)
        for process in processes
        for connection in process.net_connections("inet")
        if connection.status == psutil.CONN_LISTEN
    }
    assert listening == {("127.0.0.1", triton_server.ports.grpc)}


def test_neither_traces_nor_logs_tensors_nor_caches(client: triton_client.InferenceServerClient) -> None:
    assert list(client.get_trace_settings().settings["trace_level"].value) == ["OFF"]
    log = client.get_log_settings().settings
    assert log["log_verbose_level"].uint32_param == 0
    assert log["log_file"].string_param == ""
    assert not client.get_model_config("nothing").config.response_cache.enable


def test_its_processes_write_no_core_file(triton_server: LocalTriton) -> None:
    assert psutil.Process(triton_server.pid).rlimit(psutil.RLIMIT_CORE) == (0, 0)


def test_a_model_can_be_added_and_removed_while_it_runs(triton_runtime: Runtime, tmp_path: Path) -> None:
    with (
        LocalTriton(triton_runtime, tmp_path, grace_s=0, extra_arguments=QUICK_START) as triton,
        triton_client.InferenceServerClient(triton.grpc_address) as client,
    ):
        copy_models(["single"], tmp_path)
        client.load_model("single")
        assert client.is_model_ready("single")
        client.unload_model("single")
        assert not client.is_model_ready("single")


def test_a_port_in_use_is_refused_by_number(triton_runtime: Runtime, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        triton = LocalTriton(triton_runtime, tmp_path, grpc_port=port)
        with pytest.raises(PortTakenError, match=str(port)):
            triton.start()
        assert not triton.is_running


def test_a_missing_repository_is_refused_by_path(triton_runtime: Runtime, tmp_path: Path) -> None:
    with pytest.raises(RepositoryMissingError, match="nowhere"):
        LocalTriton(triton_runtime, tmp_path / "nowhere").start()


def test_broken_models_are_named_and_good_ones_served(triton_runtime: Runtime, tmp_path: Path) -> None:
    repository = copy_models(["single", "half", "delay"], tmp_path)
    config = repository / "half" / "config.pbtxt"
    config.write_text(config.read_text().replace("max_batch_size: 8", "max_batch_size: many"))
    (repository / "delay" / "1" / "model.py").write_text("raise ValueError('no luck today')\n")
    with LocalTriton(triton_runtime, repository, grace_s=0, extra_arguments=QUICK_START) as triton:
        with pytest.raises(ModelLoadError) as caught:
            triton.wait_ready(every_model=True)
        assert sorted(caught.value.failures) == ["delay", "half"]
        assert caught.value.failures["delay"] == "ValueError: no luck today"
        assert "Expected integer, got: many" in caught.value.failures["half"]
        with triton_client.InferenceServerClient(triton.grpc_address) as client:
            np.testing.assert_array_equal(
                _infer(client, "single", values=np.array([2, 2], np.int32)).as_numpy("total"), [4]
            )


def test_one_that_is_not_ready_in_time_says_so_with_its_last_words(triton_runtime: Runtime, tmp_path: Path) -> None:
    repository = copy_models(["single"], tmp_path)
    slow = "import sys, time\nprint('thinking', flush=True)\ntime.sleep(600)\n"
    (repository / "single" / "1" / "model.py").write_text(slow)
    triton = LocalTriton(triton_runtime, repository, grace_s=0, extra_arguments=QUICK_START)
    triton.start()
    try:
        with pytest.raises(TritonStartError, match=r"not ready in 1 s") as caught:
            triton.wait_ready(1.0)
        assert caught.value.log_tail
    finally:
        triton.stop()


def test_one_that_ends_before_it_is_ready_says_so_at_once(triton_runtime: Runtime, tmp_path: Path) -> None:
    triton = LocalTriton(triton_runtime, tmp_path, extra_arguments=("--no-such-option",))
    triton.start()
    try:
        with pytest.raises(TritonStartError, match="ended before it was ready"):
            triton.wait_ready(60)
    finally:
        triton.stop()


def test_log_lines_are_passed_on_and_a_raising_reader_does_no_harm(triton_runtime: Runtime, tmp_path: Path) -> None:
    lines: list[str] = []

    def log(line: str) -> None:
        lines.append(line)
        if "Started GRPC" in line:
            raise OSError("no space left on device")

    with LocalTriton(
        triton_runtime, copy_models(["single"], tmp_path), log=log, grace_s=0, extra_arguments=QUICK_START
    ) as triton:
        triton.wait_ready()
        assert any("successfully loaded 'single'" in line for line in lines)


def test_ports_of_choice_for_http_and_metrics(triton_runtime: Runtime, tmp_path: Path) -> None:
    held = HeldPort()
    held.close()
    with LocalTriton(
        triton_runtime,
        tmp_path,
        grpc_port=held.number,
        http_port=0,
        metrics_port=0,
        grace_s=0,
        extra_arguments=QUICK_START,
    ) as triton:
        assert triton.ports.grpc == held.number
        assert triton.ports.http is not None
        assert triton.ports.metrics is not None
        for port, path in ((triton.ports.http, "v2/health/ready"), (triton.ports.metrics, "metrics")):
            assert _get_when_open(f"http://127.0.0.1:{port}/{path}") == HTTPStatus.OK
