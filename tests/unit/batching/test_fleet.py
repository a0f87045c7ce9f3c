# SPDX-License-Identifier: Apache-2.0
"""Which instance is free when, as predicted."""

from hypothesis import given
from hypothesis import strategies as st
from matting_gateway.batching.endpoints.endpoint_model import EndpointModel, InflightBatch, expected_end
from matting_gateway.batching.endpoints.endpoint_set import EndpointSet
from matting_gateway.batching.entry import Entry
from matting_gateway.batching.settings import BatchingSettings
from matting_gateway.domain.job import BatchKey, EndpointState, Job

KEY = BatchKey("model", "1", ())


def send(fleet: EndpointSet, server: EndpointModel, at_s: float) -> InflightBatch:
    batch = (Entry(Job(KEY, (), 1, 1e9), KEY, 1e9, 0.0, None),)
    return fleet.send(server, KEY, batch, at_s)


@given(st.lists(st.one_of(st.none(), st.floats(0.0, 10.0)), min_size=1, max_size=12), st.floats(10.0, 10.2), st.data())
def test_the_order_of_instances_is_that_of_their_expected_ends(
    sent_s: list[float | None], now_s: float, data: st.DataObject
) -> None:
    fleet = EndpointSet(BatchingSettings())
    states = [EndpointState(str(number), True, 2, 1, 8) for number in range(len(sent_s))]
    fleet.set_endpoints(states, 0.0)
    for state, at_s in zip(states, sent_s, strict=True):
        if at_s is not None:
            send(fleet, fleet.servers[state.endpoint], at_s)
    expected = sorted(expected_end(server.ends[0], now_s) for server in fleet.servers.values())
    assert [fleet.start_of(position, now_s) for position in range(len(states))] == expected


def test_batches_queued_behind_one_another_are_told_apart() -> None:
    fleet = EndpointSet(BatchingSettings())
    fleet.set_endpoints([EndpointState("a", True, 2, 1, 8)], 0.0)
    server = fleet.servers["a"]
    now_s = 1.0
    for _ in range(10):
        first = send(fleet, server, now_s)
        second = send(fleet, server, now_s + 0.01)
        fleet.finish(first, now_s + 0.1, succeeded=True)
        fleet.finish(second, now_s + 0.2, succeeded=True)
        now_s += 1.0
    # The second waited for the first inside the backend; its own time is a tenth of a second too.
    assert abs(fleet.table(server, KEY).predict(1) - 0.1) < 0.001
    assert fleet.rate(KEY) > 0.0


def test_what_comes_back_from_an_endpoint_that_is_gone_is_harmless() -> None:
    fleet = EndpointSet(BatchingSettings())
    fleet.set_endpoints([EndpointState("a", True, 2, 1, 8)], 0.0)
    flight = send(fleet, fleet.servers["a"], 1.0)
    fleet.set_endpoints([EndpointState("a", False, 2, 1, 8)], 1.1)
    assert fleet.instance_count == 0
    fleet.finish(flight, 2.0, succeeded=True)
    assert fleet.take_ready(2.0) is None
    fleet.set_endpoints([EndpointState("a", True, 2, 1, 8)], 3.0)
    server = fleet.take_ready(3.0)
    assert server is not None
    assert "0 of 2 slots" in repr(server)
