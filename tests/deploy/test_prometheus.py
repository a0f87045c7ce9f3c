# SPDX-License-Identifier: Apache-2.0
"""A real Prometheus and a gateway under load: every panel of the dashboard has data, and what every rule is made of."""

import asyncio
import re
import runpy
import socket
from pathlib import Path

import grpc
import numpy as np
import pytest
import yaml
from matting.v1 import matting_service_pb2 as pb
from matting_triton.local import LocalTriton
from testkit.certificates import Authority
from testkit.deploy_tools import DEPLOY, tool
from testkit.program import Service, running_service
from testkit.prometheus import Prometheus, running_prometheus
from testkit.tenants import bearer, table
from tritonclient.grpc import service_pb2, service_pb2_grpc

pytest.importorskip("opentelemetry.proto", reason="pip install 'matting-gateway[otel]'")

from testkit.collector import FakeCollector

pytestmark = [pytest.mark.triton, pytest.mark.slow]

# As Grafana puts them in.
MATCH = 'job="matting-gateway",instance=~".*"'
SERIES = re.compile(r"\b(?:matting|grpc_server|process)[a-z_]*(?::[a-z0-9_:]+)?\b")
MATCHERS = re.compile(r"\{.*?\}")
SIDE_PX = 64


def panels() -> dict[str, str]:
    """Return each expression of the dashboard by its panel and legend."""
    rows = runpy.run_path(str(DEPLOY / "grafana" / "dashboard.py"))["ROWS"]
    found = {}
    for row in rows.values():
        for panel in row:
            for legend, expression in panel.queries.items():
                query = expression.replace("$match", MATCH).replace("$__rate_interval", "10s")
                found[f"{panel.title}: {legend}"] = query
    return found


def series_of_rules() -> dict[str, str]:
    """Return the names of records, and of what they and alerts are made of: alerts are quiet where all is well."""
    groups = yaml.safe_load((DEPLOY / "prometheus" / "rules.yaml").read_text())["groups"]
    rules = [rule for group in groups for rule in group["rules"]]
    names = {name for rule in rules for name in SERIES.findall(MATCHERS.sub("", rule["expr"]))}
    return {name: name for name in names | {rule["record"] for rule in rules if "record" in rule}}


async def load(service: Service) -> None:
    """Call as callers do, well and badly: photos, tensors, one too late, more than a quota, and what is not gRPC."""
    pixels = pb.PixelImage(
        data=np.zeros((SIDE_PX, SIDE_PX, 3), np.uint8).tobytes(),
        width_px=SIDE_PX,
        height_px=SIDE_PX,
        pixel_format=pb.PIXEL_FORMAT_RGB8,
    )
    tensor = service_pb2.ModelInferRequest(model_name="nothing")
    tensor.inputs.add(name="image", datatype="UINT8", shape=[1, 320, 320, 3])
    tensor.raw_input_contents.append(bytes(320 * 320 * 3))
    stub = service_pb2_grpc.GRPCInferenceServiceStub(service.channel)
    photo, shop, rare = pb.RemoveBackgroundRequest(pixels=pixels), bearer("token-shop"), bearer("token-rare")
    photos = (service.stub.RemoveBackground(photo, metadata=shop) for _ in range(8))
    await asyncio.gather(*photos, *(stub.ModelInfer(tensor, metadata=shop) for _ in range(8)))
    codes = {await service.stub.RemoveBackground(photo, metadata=rare).code() for _ in range(2)}
    assert grpc.StatusCode.RESOURCE_EXHAUSTED in codes
    tensor.parameters["timeout"].int64_param = 1
    assert await stub.ModelInfer(tensor, metadata=shop).code() is grpc.StatusCode.DEADLINE_EXCEEDED
    await asyncio.to_thread(stray, service.address)


def stray(address: str) -> None:
    host, _, port = address.rpartition(":")
    with socket.create_connection((host, int(port))) as connection:
        connection.sendall(b"GET / HTTP/1.1\r\n\r\n")
        while connection.recv(4096):
            pass


async def without_data(prometheus: Prometheus, expressions: dict[str, str]) -> dict[str, str]:
    return {name: text for name, text in expressions.items() if not await prometheus.has_data(text)}


async def test_every_panel_and_every_series_of_the_rules_has_data_of_a_gateway_under_load(
    triton_server: LocalTriton, tmp_path: Path
) -> None:
    tool("prometheus")
    authority = Authority()
    issued = authority.issue("collector", names=("127.0.0.1",))
    ca = tmp_path / "ca.crt"
    ca.write_bytes(authority.certificate)
    credentials = grpc.ssl_server_credentials([(issued.key, issued.certificate)])
    tenants = tmp_path / "tenants.toml"
    tenants.write_text(table("shop") + table("rare", "requests_per_second = 0.001"))
    async with FakeCollector(credentials=credentials) as collector:
        arguments = (
            *("--triton", triton_server.grpc_address, "--default-model", "nothing"),
            *("--otlp-endpoint", collector.address, "--otlp-tls-ca", str(ca), "--tenants", str(tenants)),
        )
        async with (
            running_service(*arguments) as service,
            running_prometheus(tmp_path, service.metrics_address) as prometheus,
        ):
            missing = panels() | series_of_rules()
            try:
                async with asyncio.timeout(60):
                    while missing:
                        await load(service)
                        missing = await without_data(prometheus, missing)
            except TimeoutError:
                pytest.fail(f"no data: {missing}")
