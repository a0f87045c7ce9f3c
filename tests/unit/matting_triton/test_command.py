# SPDX-License-Identifier: Apache-2.0
"""Triton is told to listen on loopback only and to keep nothing."""

from pathlib import Path

import pytest
from matting_triton.command import ModelControl, Ports, command_line
from matting_triton.runtime import Runtime

_RUNTIME = Runtime(Path("/runtime"), Path("/lib"))


def _options(ports: Ports, model_control: ModelControl = ModelControl.EXPLICIT) -> list[str]:
    return command_line(_RUNTIME, Path("/models"), ports, shm_prefix="mine_", model_control=model_control)


def test_only_the_doors_asked_for_are_open_and_only_on_loopback() -> None:
    closed = _options(Ports(grpc=1))
    assert {"--grpc-address=127.0.0.1", "--grpc-port=1", "--allow-http=false", "--allow-metrics=false"} <= set(closed)
    opened = _options(Ports(grpc=1, http=2, metrics=3))
    assert {"--http-address=127.0.0.1", "--http-port=2", "--metrics-address=127.0.0.1", "--metrics-port=3"} <= set(
        opened
    )


def test_nothing_is_traced_cached_or_logged_in_detail() -> None:
    options = _options(Ports(grpc=1))
    assert {"--log-verbose=0", "--grpc-infer-allocation-pool-size=0"} <= set(options)
    assert not any(option.startswith(("--trace", "--cache", "--log-file")) for option in options)


@pytest.mark.parametrize(
    ("mode", "present"),
    [
        (ModelControl.EXPLICIT, "--load-model=*"),
        (ModelControl.POLL, "--repository-poll-secs=2"),
        (ModelControl.NONE, "--model-control-mode=none"),
    ],
)
def test_each_way_of_model_control(mode: ModelControl, present: str) -> None:
    assert present in _options(Ports(grpc=1), mode)


def test_the_environment_is_ours_and_what_the_caller_adds() -> None:
    environment = _RUNTIME.process_environment({"MALLOC_PERTURB_": "90", "LD_LIBRARY_PATH": "/cuda"})
    assert environment["LD_LIBRARY_PATH"] == "/runtime/server/nvidia_pytriton.libs:/lib:/cuda"
    assert environment["PATH"].startswith("/runtime/python/bin:")
    assert environment["MALLOC_PERTURB_"] == "90"
    assert "HOME" not in environment
