# SPDX-License-Identifier: Apache-2.0
"""When a machine is believed to have changed its speed."""

import pytest
from matting_gateway.batching.latency.latency_model import LatencyTable
from matting_gateway.batching.latency.latency_tables import LatencyTables
from matting_gateway.batching.latency.speed_change import SpeedChange
from matting_gateway.domain.job import BatchKey


@pytest.mark.parametrize(("ratio", "count"), [(6.0, 4), (1.0 / 6.0, 3)])
def test_so_many_alike_in_a_row_are_a_change(ratio: float, count: int) -> None:
    change = SpeedChange()
    assert [change.note(ratio) for _ in range(count)] == [None] * (count - 1) + [ratio]
    assert not change.suspected


@pytest.mark.parametrize("other", [1.0, 0.2])
def test_one_that_is_ordinary_or_off_the_other_way_begins_the_count_anew(other: float) -> None:
    change = SpeedChange()
    for _ in range(3):
        change.note(6.0)
    assert change.note(other) is None
    assert [change.note(6.0) for _ in range(4)] == [None, None, None, 6.0]


def test_a_change_that_is_seen_in_batches_of_several_keys_is_taken_over_for_all() -> None:
    keys = [BatchKey("model", "1", (), (str(number),)) for number in range(6)]
    tables = LatencyTables()
    for key in keys:
        tables.put(key, LatencyTable(8))
        for _ in range(4):
            tables.observe(key, 1, 0.1, probe=False)
    for key in keys[:4]:
        tables.observe(key, 1, 0.6, probe=False)
    for key in keys:
        table = tables.get(key)
        assert table is not None
        assert table.predict(1) == pytest.approx(0.6, rel=0.05)


def test_a_key_that_alone_has_changed_is_learned_beside_the_others() -> None:
    keys = [BatchKey("model", "1", (), (str(number),)) for number in range(2)]
    tables = LatencyTables()
    for key in keys:
        tables.put(key, LatencyTable(8))
        for _ in range(4):
            tables.observe(key, 1, 0.1, probe=False)
    for _ in range(4):
        tables.observe(keys[0], 1, 0.6, probe=False)
        tables.observe(keys[1], 1, 0.1, probe=False)
    changed, same = (tables.get(key) for key in keys)
    assert changed is not None
    assert same is not None
    assert changed.predict(1) == pytest.approx(0.6, rel=0.05)
    assert same.predict(1) == pytest.approx(0.1, rel=0.05)
