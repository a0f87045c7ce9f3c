# SPDX-License-Identifier: Apache-2.0
"""Where a job is tried that would be refused by what is believed of the servers. Pure.

What is never tried is never learned anew: callers who are refused because a model was slow for a
while would be refused for good. So now and then one of those who would be refused anyway is sent all the
same. It costs nobody else's place: it travels alone, to a server that nothing else has lately told of.
"""

from collections.abc import Iterable

from matting_gateway.batching.endpoints.endpoint_model import EndpointModel
from matting_gateway.domain.job import BatchKey

_NEVER_S = float("-inf")
_BUSY_FACTOR = 10.0  # a server that works for others is probed so many times more seldom


def server_to_probe(
    servers: Iterable[EndpointModel], key: BatchKey, rows: int, now_s: float, interval_s: float
) -> EndpointModel | None:
    """Return the server to probe now: an idle one before a busy one, then the one probed longest ago."""
    chosen: EndpointModel | None = None
    for server in servers:
        if server.max_rows < rows or not server.has_free_slot or now_s - server.seen_s.get(key, _NEVER_S) < interval_s:
            continue
        busy = server.inflight_count > 0
        if now_s - server.probed_s < (_BUSY_FACTOR * interval_s if busy else interval_s):
            continue
        if chosen is None or (busy, server.probed_s) < (chosen.inflight_count > 0, chosen.probed_s):
            chosen = server
    return chosen
