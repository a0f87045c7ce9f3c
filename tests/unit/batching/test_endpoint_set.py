# SPDX-License-Identifier: Apache-2.0
"""Which instance is free when, as predicted."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from matting_gateway.batching.endpoints.endpoint_model import EndpointModel, InflightBatch, expected_end
from matting_gateway.batching.endpoints.endpoint_set import EndpointSet
from matting_gateway.batching.entry import Entry
from matting_gateway.batching.settings import BatchingSettings
from matting_gateway.domain.job import BatchKey, EndpointState, Job

KEY = BatchKey("model", "1", ())


def send(endpoint_set: EndpointSet, server: EndpointModel, at_s: float) -> InflightBatch:
    batch = (Entry(Job(KEY, (), 1, 1e9), KEY, 0.0, None),)
    return endpoint_set.send(server, KEY, batch, at_s)


@pytest.mark.slow
@given(st.lists(st.one_of(st.none(), st.floats(0.0, 10.0)), min_size=1, max_size=12), st.floats(10.0, 10.2), st.data())
def test_the_order_of_instances_is_that_of_their_expected_ends(
    sent_s: list[float | None], now_s: float, data: st.DataObject
) -> None:
    endpoint_set = EndpointSet(BatchingSettings())
    states = [EndpointState(str(number), True, 2, 1, 8) for number in range(len(sent_s))]
    endpoint_set.set_endpoints(states, 0.0)
    for state, at_s in zip(states, sent_s, strict=True):
        if at_s is not None:
            send(endpoint_set, endpoint_set.servers[state.endpoint], at_s)
    expected = sorted(expected_end(server.ends[0], now_s) for server in endpoint_set.servers.values())
    assert [endpoint_set.start_of(position, now_s) for position in range(len(states))] == expected


def test_batches_queued_behind_one_another_are_told_apart() -> None:
    endpoint_set = EndpointSet(BatchingSettings())
    endpoint_set.set_endpoints([EndpointState("a", True, 2, 1, 8)], 0.0)
    server = endpoint_set.servers["a"]
    now_s = 1.0
    for _ in range(10):
        first = send(endpoint_set, server, now_s)
        second = send(endpoint_set, server, now_s + 0.01)
        endpoint_set.finish(first, now_s + 0.1, succeeded=True)
        endpoint_set.finish(second, now_s + 0.2, succeeded=True)
        now_s += 1.0
    # The second waited for the first inside the backend; its own time is a tenth of a second too.
    assert abs(endpoint_set.table(server, KEY).predict(1) - 0.1) < 0.001
    assert endpoint_set.rate(KEY) > 0.0


def test_what_comes_back_from_an_endpoint_that_is_gone_is_harmless() -> None:
    endpoint_set = EndpointSet(BatchingSettings())
    endpoint_set.set_endpoints([EndpointState("a", True, 2, 1, 8)], 0.0)
    inflight_batch = send(endpoint_set, endpoint_set.servers["a"], 1.0)
    endpoint_set.set_endpoints([EndpointState("a", False, 2, 1, 8)], 1.1)
    assert endpoint_set.instance_count == 0
    endpoint_set.finish(inflight_batch, 2.0, succeeded=True)
    assert endpoint_set.take_ready(2.0) is None
    endpoint_set.set_endpoints([EndpointState("a", True, 2, 1, 8)], 3.0)
    server = endpoint_set.take_ready(3.0)
    assert server is not None
    assert "0 of 2 slots" in repr(server)
