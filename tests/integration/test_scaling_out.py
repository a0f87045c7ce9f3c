# SPDX-License-Identifier: Apache-2.0
"""Gateways that come later get their share of a caller who was there before: its connection grows old."""

import json

import grpc
import pytest
from testkit.doors import infer_request
from testkit.fake_triton import FakeModel, FakeTriton, echo_config
from testkit.gateways import HOSTS, Gateways, shares
from testkit.name_server import NameServer
from testkit.steady_load import SteadyLoad

pytestmark = pytest.mark.alone

NAME = "gateways.test"
INFER = "/inference.GRPCInferenceService/ModelInfer"
ROW = infer_request("echo", {"x": ("UINT8", (1, 3), b"abc")}).SerializeToString()
AGE_S = 2.0
OPTIONS = (
    ("grpc.service_config", json.dumps({"loadBalancingConfig": [{"round_robin": {}}]})),
    ("grpc.dns_min_time_between_resolutions_ms", 200),
    ("grpc.use_local_subchannel_pool", 1),
)


async def test_two_gateways_beside_a_first_have_their_share_within_two_ages_of_a_connection_and_no_call_fails() -> None:
    async with (
        FakeTriton(FakeModel(echo_config())) as triton,
        NameServer(NAME, HOSTS[0]) as names,
        Gateways("--triton", triton.address, "--default-model", "echo", "--max-connection-age-s", f"{AGE_S}") as all_of,
    ):
        await all_of.start(*HOSTS)
        target = f"dns://127.0.0.1:{names.port}/{NAME}:{all_of.port}"
        async with grpc.aio.insecure_channel(target, options=OPTIONS) as channel:
            infer = channel.unary_unary(INFER, bytes, bytes)
            async with SteadyLoad(lambda: infer(ROW, timeout=10), 60) as load:
                await load.after(AGE_S)
                assert shares({}, await all_of.call_counts("ModelInfer")) == {HOSTS[0]: 1.0, HOSTS[1]: 0, HOSTS[2]: 0}
                names.addresses = list(HOSTS)
                await load.after(2 * AGE_S)
                before = await all_of.call_counts("ModelInfer")
                await load.after(AGE_S)
                got = shares(before, await all_of.call_counts("ModelInfer"))
    assert all(0.25 <= share <= 0.42 for share in got.values()), got
    assert set(load.codes) == {"OK"}
