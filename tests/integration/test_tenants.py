# SPDX-License-Identifier: Apache-2.0
"""Who may call, and how much: over the wire, on the real program and a real Triton."""

import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.rpc import error_details_pb2, status_pb2
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc
from matting.v1 import matting_service_pb2 as pb
from matting.v1 import matting_service_pb2_grpc as pb_grpc
from matting_triton.local import LocalTriton
from privacy_proof.service import Service, started_service
from testkit.tenants import SIDE_PX, bearer, photo, table
from tritonclient.grpc import service_pb2, service_pb2_grpc

pytestmark = pytest.mark.triton

TENANTS = "".join(
    [
        table("free", 'certificate_names = ["free.internal"]'),
        table("operator", "operator = true"),
        table("bound", 'models = ["nothing"]'),
        table("elsewhere", 'models = ["u2net"]'),
        table("rare", "requests_per_second = 0.001"),
        table("small", "megapixels_per_second = 0.001"),
        table("solving", "megapixels_per_second = 0.001"),
        table("broken", "share = -1"),
    ]
)


def reason_of(error: Any) -> str:
    """Return the reason in an error of gRPC's, which is a call too and whose types do not say so."""
    metadata = dict(error.trailing_metadata() or ())
    status = status_pb2.Status.FromString(metadata["grpc-status-details-bin"])
    info = error_details_pb2.ErrorInfo()
    status.details[0].Unpack(info)
    return str(info.reason)


@dataclass(frozen=True)
class House:
    """A gateway with tenants, and a channel to it."""

    service: Service
    channel: grpc.Channel
    tenants_file: Path

    @property
    def stub(self) -> pb_grpc.MattingServiceStub:
        return pb_grpc.MattingServiceStub(self.channel)  # type: ignore[no-untyped-call]  # generated without types

    def call(self, token: str | None) -> pb.RemoveBackgroundResponse:
        answer: pb.RemoveBackgroundResponse = self.stub.RemoveBackground(photo(), timeout=30, metadata=bearer(token))
        return answer

    def reason(self, token: str | None) -> str:
        with pytest.raises(grpc.RpcError) as refused:
            self.call(token)
        return reason_of(refused.value)


@pytest.fixture(scope="module")
def house(triton_server: LocalTriton, tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    path = tmp_path_factory.mktemp("tenants") / "tenants.toml"
    path.write_text(TENANTS)
    arguments = ["--triton", triton_server.grpc_address, "--default-model", "nothing", "--tenants", str(path)]
    with (
        started_service(*arguments, "--close-metrics", "--close-reflection") as service,
        grpc.insecure_channel(service.address) as channel,
    ):
        yield House(service, channel, path)


def test_a_known_token_is_served(house: House) -> None:
    assert house.call("token-free").outputs[0].width_px == SIDE_PX


def test_nobody_is_asked_who_they_are(house: House) -> None:
    assert house.reason(None) == "CREDENTIALS_MISSING"


@pytest.mark.parametrize("token", ["", " ", "wrong", "token-free2", "TOKEN-FREE", "x" * 600, "token-broken"])
def test_wrong_empty_and_very_long_tokens_get_nothing(house: House, token: str) -> None:
    assert house.reason(token) == "CREDENTIALS_INVALID"


@pytest.mark.parametrize("value", ["token-free", "Basic token-free", "Bearer", "Bearertoken-free"])
def test_another_scheme_gets_nothing(house: House, value: str) -> None:
    with pytest.raises(grpc.RpcError) as refused:
        house.stub.RemoveBackground(photo(), timeout=30, metadata=[("authorization", value)])
    assert reason_of(refused.value) == "CREDENTIALS_INVALID"


def test_the_schemes_name_has_no_case(house: House) -> None:
    house.stub.RemoveBackground(photo(), timeout=30, metadata=[("authorization", "bEARER token-free")])


def test_a_flood_of_metadata_is_refused_and_the_next_call_served(house: House) -> None:
    flood = [(f"x-{i}", "y" * 1000) for i in range(100)]
    with pytest.raises(grpc.RpcError) as refused:
        house.stub.RemoveBackground(photo(), timeout=30, metadata=[*bearer("token-free"), *flood])
    assert refused.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    house.call("token-free")


def test_a_token_of_a_megabyte_is_refused_and_the_next_call_served(house: House) -> None:
    with pytest.raises(grpc.RpcError) as refused:
        house.call("x" * 1_000_000)
    assert refused.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    house.call("token-free")


@pytest.mark.parametrize("method", ["ListModels", "GetDataPolicy"])
def test_every_other_method_asks_too(house: House, method: str) -> None:
    request = {"ListModels": pb.ListModelsRequest(), "GetDataPolicy": pb.GetDataPolicyRequest()}[method]
    with pytest.raises(grpc.RpcError) as refused:
        getattr(house.stub, method)(request, timeout=30)
    assert refused.value.code() is grpc.StatusCode.UNAUTHENTICATED
    assert getattr(house.stub, method)(request, timeout=30, metadata=bearer("token-free"))


def test_a_stream_asks_too(house: House) -> None:
    request = pb.StreamRemoveBackgroundRequest(item_id="a", request=photo())
    with pytest.raises(grpc.RpcError) as refused:
        list(house.stub.StreamRemoveBackground(iter([request]), timeout=30))
    assert refused.value.code() is grpc.StatusCode.UNAUTHENTICATED


def test_the_tensor_door_asks_too(house: House) -> None:
    stub = service_pb2_grpc.GRPCInferenceServiceStub(house.channel)
    with pytest.raises(grpc.RpcError) as refused:
        stub.ServerMetadata(service_pb2.ServerMetadataRequest(), timeout=30)
    assert refused.value.code() is grpc.StatusCode.UNAUTHENTICATED


def test_health_is_open(house: House) -> None:
    answer = health_pb2_grpc.HealthStub(house.channel).Check(health_pb2.HealthCheckRequest(), timeout=30)
    assert answer.status == health_pb2.HealthCheckResponse.SERVING


def test_a_model_is_for_those_who_may_use_it(house: House) -> None:
    house.call("token-bound")
    assert house.reason("token-elsewhere") == "PERMISSION_DENIED"


@pytest.mark.parametrize("token", ["token-rare", "token-small"])
def test_an_allowance_is_used_up(house: House, token: str) -> None:
    """Sixteen megapixels may be saved up at least, a request too."""

    def call_for_ever() -> None:
        while True:
            house.call(token)

    with pytest.raises(grpc.RpcError) as refused:
        call_for_ever()
    assert refused.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert reason_of(refused.value) == "QUOTA_EXCEEDED"


def test_an_edge_that_is_solved_for_counts_as_eight_megapixels_more(house: House) -> None:
    request = photo()
    request.outputs.add(refinement=pb.REFINEMENT_MATTING)
    house.stub.RemoveBackground(request, timeout=30, metadata=bearer("token-solving"))
    house.call("token-solving")
    with pytest.raises(grpc.RpcError) as refused:
        house.stub.RemoveBackground(request, timeout=30, metadata=bearer("token-solving"))
    assert reason_of(refused.value) == "QUOTA_EXCEEDED"


def read_metrics(house: House, token: str | None) -> str:
    headers = {key.title(): value for key, value in bearer(token)}
    with urllib.request.urlopen(urllib.request.Request(house.service.metrics_url, headers=headers), timeout=30) as got:
        return str(got.read().decode())


def test_closed_metrics_are_for_operators(house: House) -> None:
    assert "matting_images_total" in read_metrics(house, "token-operator")


@pytest.mark.parametrize("token", [None, "token-free", "wrong"])
def test_closed_metrics_are_for_nobody_else(house: House, token: str | None) -> None:
    with pytest.raises(urllib.error.HTTPError) as refused:
        read_metrics(house, token)
    assert refused.value.code in {401, 403}
    refused.value.close()


def test_closed_reflection_tells_nobody_else_what_there_is(house: House) -> None:
    stub = reflection_pb2_grpc.ServerReflectionStub(house.channel)
    request = reflection_pb2.ServerReflectionRequest(list_services="")
    with pytest.raises(grpc.RpcError):
        list(stub.ServerReflectionInfo(iter([request]), timeout=30, metadata=bearer("token-free")))


def test_the_broken_tenant_was_told_of_and_no_token_is_in_any_line(house: House) -> None:
    assert house.service.output is not None
    (line,) = [e for e in house.service.output.events() if e.get("event") == "tenant_refused"]
    assert "share must be a number over 0" in line["detail"]
    assert "token-" not in house.service.output.text()
