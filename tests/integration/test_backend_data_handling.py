# SPDX-License-Identifier: Apache-2.0
"""What a Triton does with tensors beside answering is read from itself, and the data policy says so."""

from pathlib import Path

import pytest
from matting_gateway.triton.discovery.backend_data_handling import BackendDataHandling, together
from matting_triton.local import LocalTriton
from matting_triton.runtime import Runtime
from privacy_proof.processes import data_policy
from privacy_proof.service import started_service
from testkit.fake_triton import FakeModel, FakeTriton, echo_config
from testkit.local_triton import QUICK_START, copy_models
from testkit.pools import running_pool

DISCREET = BackendDataHandling(trace_off=True, response_cache_off=True, tensor_logging_off=True)


@pytest.mark.parametrize(
    ("practices", "all_of_them"),
    [
        ([], BackendDataHandling()),
        ([DISCREET, DISCREET], DISCREET),
        ([DISCREET, BackendDataHandling()], BackendDataHandling()),
        ([DISCREET, BackendDataHandling(trace_off=False)], BackendDataHandling(trace_off=False)),
    ],
)
def test_several_servers_are_as_discreet_as_the_least_of_them(
    practices: list[BackendDataHandling], all_of_them: BackendDataHandling
) -> None:
    assert together(practices) == all_of_them


async def test_of_a_server_that_does_not_tell_nothing_is_known() -> None:
    """One without the extensions: it cannot trace, and may log what it likes."""
    async with FakeTriton(FakeModel(echo_config())) as triton, running_pool(triton.address) as pool:
        await pool.wait_until(lambda: pool.can_serve("echo"))
        assert pool.data_handlings() == {triton.address: BackendDataHandling(trace_off=True, response_cache_off=True)}


async def test_of_a_server_that_was_never_reached_nothing_is_known() -> None:
    async with running_pool("127.0.0.1:1") as pool:
        assert pool.data_handlings() == {"127.0.0.1:1": BackendDataHandling()}


@pytest.mark.triton
@pytest.mark.parametrize(
    ("arguments", "config", "told"),
    [
        pytest.param((), "", "trace off, cache off, tensor log off", id="as it comes"),
        pytest.param(
            ("--trace-config", "level=TENSORS", "--trace-config", "triton,file={folder}/trace.json"),
            "",
            "trace on, cache off, tensor log off",
            id="trace of tensors",
        ),
        pytest.param(
            ("--trace-config", "level=TIMESTAMPS", "--trace-config", "triton,file={folder}/trace.json"),
            "",
            "trace off, cache off, tensor log off",
            id="trace of times",
        ),
        pytest.param(("--log-verbose=1",), "", "trace off, cache off, tensor log on", id="verbose log"),
        pytest.param((), "response_cache { enable: true }", "trace off, cache on, tensor log off", id="response cache"),
    ],
)
def test_the_data_policy_says_what_a_real_triton_does(
    triton_runtime: Runtime, tmp_path: Path, arguments: tuple[str, ...], config: str, told: str
) -> None:
    repository = copy_models(["nothing"], tmp_path / "models")
    with (repository / "nothing" / "config.pbtxt").open("a") as file:
        file.write(config)
    extra = (*QUICK_START, *(argument.format(folder=tmp_path) for argument in arguments))
    with (
        LocalTriton(triton_runtime, repository, grace_s=0, extra_arguments=extra) as triton,
        started_service("--triton", triton.grpc_address, "--default-model", "nothing") as service,
    ):
        (purpose,) = [s for s in data_policy(service).statements if s.topic == "use.purpose"]
        assert dict(purpose.values) == {triton.grpc_address: told}
    assert purpose.kept == (" on" not in told)
