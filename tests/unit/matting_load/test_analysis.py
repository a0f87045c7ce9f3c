# SPDX-License-Identifier: Apache-2.0
"""Figures follow from what was seen of each call."""

import contextlib
import json
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest
from matting_load.arrivals import bursts, steady, steps
from matting_load.plan import ClosedLoop, DeadlineClass, GatewayTarget, OpenLoop, Plan, Replay
from matting_load.reports.analysis import analyse
from matting_load.reports.describe import described_plan
from matting_load.reports.naming import named
from matting_load.reports.page import render_page
from matting_load.reports.report import Report, read_report
from matting_load.reports.table import render_csv
from matting_load.sending.records import Recorder, Records, Tally, merge


def records(rows: Sequence[tuple[float, float, str]], classes: Sequence[int] = ()) -> Records:
    """Rows of (due, latency, outcome)."""
    recorder = Recorder()
    for index, (due_s, latency_s, outcome) in enumerate(rows):
        recorder.due()
        deadline_class = classes[index] if classes else 0
        recorder.add(due_s, due_s + 0.001, due_s + latency_s, outcome=outcome, deadline_class=deadline_class, payload=0)
    return recorder.records(cpu_s=0.5, wall_s=10.0)


def report(plan: Plan, seen: Records, batch_sizes: dict[str, int] | None = None) -> Report:
    return analyse(plan, seen, started="now", environment={}, described={}, batch_sizes=batch_sizes or {})


def open_plan(duration_s: float = 10.0, **changes: object) -> Plan:
    return Plan(GatewayTarget(), OpenLoop(steady(1, duration_s)), **changes)  # type: ignore[arg-type]  # any field


def test_throughput_counts_answers_and_goodput_those_in_time() -> None:
    seen = records([(1.0, 0.1, "ok")] * 60 + [(2.0, 0.9, "late")] * 20 + [(3.0, 0.01, "OVERLOADED")] * 20)
    total = report(open_plan(), seen).total
    assert (total.offered_per_s, total.throughput_per_s, total.goodput_per_s) == (10, 8, 6)
    assert total.good_share == 0.6
    assert total.latency is not None
    assert total.latency.p50_s == pytest.approx(0.1)
    assert total.latency.max_s == pytest.approx(0.9)
    assert [(each.name, each.count) for each in total.outcomes] == [("ok", 60), ("late", 20), ("OVERLOADED", 20)]
    assert total.outcomes[2].p99_s == pytest.approx(0.01)


def test_percentiles_are_of_the_due_time() -> None:
    seen = records([(0.0, (1 + index) / 1000, "ok") for index in range(1000)])
    latency = report(open_plan(), seen).total.latency
    assert latency is not None
    assert latency.p50_s == pytest.approx(0.5, abs=0.002)
    assert latency.p90_s == pytest.approx(0.9, abs=0.002)
    assert latency.p99_s == pytest.approx(0.99, abs=0.002)
    assert latency.p999_s == pytest.approx(0.999, abs=0.002)


def test_a_warm_up_does_not_count() -> None:
    seen = records([(0.5, 5.0, "late"), (6.0, 0.1, "ok")])
    total = report(open_plan(warmup_s=5.0), seen).total
    assert (total.offered_count, total.goodput_per_s) == (1, 0.2)


def test_a_closed_loop_counts_what_was_done_in_its_time() -> None:
    plan = Plan(GatewayTarget(), ClosedLoop(1, 10.0))
    assert report(plan, records([(0.0, 4.0, "ok"), (4.0, 4.0, "ok"), (8.0, 4.0, "ok")])).total.throughput_per_s == 0.2


def test_classes_are_reported_apart() -> None:
    plan = open_plan(deadlines=(DeadlineClass(0.15), DeadlineClass(1.0)))
    tight, loose = report(plan, records([(1.0, 0.1, "ok"), (1.0, 0.1, "OVERLOADED")], [0, 1])).classes
    assert (tight.name, tight.good_share, loose.name, loose.good_share) == ("150 ms", 1.0, "1000 ms", 0.0)


def test_steps_are_reported_apart_without_their_beginning() -> None:
    plan = Plan(GatewayTarget(), OpenLoop(steps([10, 20], 4.0)), settle_s=1.0)
    seen = records([(0.5, 9.0, "late"), (2.0, 0.1, "ok"), (5.0, 0.1, "ok"), (6.0, 0.1, "ok")])
    first, second = report(plan, seen).steps
    assert (first.name, first.offered_count, first.duration_s) == ("10/s", 1, 3.0)
    assert (second.name, second.offered_count) == ("20/s", 2)


def test_bursts_of_one_rate_are_no_steps() -> None:
    assert report(Plan(GatewayTarget(), OpenLoop(bursts(10, 1, 1, 4))), records([(0.0, 0.1, "ok")])).steps == ()


def test_nothing_answered_is_reported_too() -> None:
    empty = report(open_plan(), records([]))
    refused = report(open_plan(), records([(1.0, 0.1, "UNAVAILABLE")]))
    assert empty.total.latency is refused.total.latency is None
    assert refused.total.throughput_per_s == 0
    assert render_page([empty, refused])


def test_a_series_tells_when() -> None:
    seen = records([(0.1, 0.05, "ok"), (9.9, 0.05, "ok"), (9.8, 0.05, "OVERLOADED")])
    series = report(open_plan(), seen).series
    assert series.offered_per_s[0] * series.bucket_s == 1
    assert series.offered_per_s[-1] * series.bucket_s == 2
    assert series.goodput_per_s[-1] * series.bucket_s == 1
    assert series.p50_s[5] is None


def test_a_slow_generator_is_suspected() -> None:
    calm = report(open_plan(), records([(1.0, 0.1, "ok")]))
    assert calm.generator.suspect == ""
    recorder = Recorder()
    recorder.add(1.0, 1.2, 1.3, outcome="ok", deadline_class=0, payload=0)
    late = report(open_plan(), recorder.records(cpu_s=0.0, wall_s=10.0))
    assert "sent late" in late.generator.suspect
    busy = report(open_plan(), Recorder().records(cpu_s=9.9, wall_s=10.0))
    assert "of a core" in busy.generator.suspect


def test_records_of_processes_are_joined() -> None:
    joined = merge([records([(1.0, 0.1, "ok"), (1.0, 0.1, "late")]), records([(2.0, 0.1, "late")]), records([])])
    assert joined.mask("late").sum() == 2
    assert joined.mask("ok").sum() == 1
    assert joined.mask("never").sum() == 0
    assert (joined.cpu_s, joined.wall_s) == (1.5, 10.0)


def test_tallies_add_up() -> None:
    recorder = Recorder()
    recorder.due()
    recorder.due()
    recorder.add(0.0, 0.0, 0.5, outcome="ok", deadline_class=0, payload=0)
    total = recorder.tally() + recorder.tally() + Tally()
    assert (total.due_count, total.outstanding_count, total.outcomes["ok"]) == (4, 2, 2)
    assert total.recent_latencies_s == (0.5, 0.5)


def test_a_report_goes_to_json_and_back(tmp_path: Path) -> None:
    plan = Plan(
        GatewayTarget(),
        OpenLoop(steps([10, 20], 4.0)),
        deadlines=(DeadlineClass(0.15), DeadlineClass(None)),
        label="mine",
    )
    made = report(plan, records([(2.0, 0.1, "ok"), (5.0, 0.1, "OVERLOADED")], [0, 1]), {"1": 3})
    made.save(tmp_path / "report.json")
    assert read_report(tmp_path / "report.json") == made
    assert not np.isnan(json.loads(made.to_json())["total"]["goodput_per_s"])


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"form": 99}', '{"form": 1}'])
def test_what_is_no_report_is_refused(tmp_path: Path, content: str) -> None:
    path = tmp_path / "report.json"
    path.write_text(content)
    with pytest.raises(ValueError, match="no report"):
        read_report(path)


def places(value: object, path: tuple[str | int, ...] = ()) -> Iterator[tuple[str | int, ...]]:
    """Every place in a value of JSON; of a list the first."""
    yield path
    parts = value.items() if isinstance(value, dict) else enumerate(value[:1]) if isinstance(value, list) else ()
    for key, part in parts:
        yield from places(part, (*path, key))


@pytest.mark.slow
@pytest.mark.parametrize("wrong", [None, -1, [[]]])
def test_a_damaged_report_is_refused_or_shown_and_never_a_traceback(tmp_path: Path, wrong: object) -> None:
    plan = Plan(GatewayTarget(), OpenLoop(steps([10, 20], 4.0)), deadlines=(DeadlineClass(0.15), DeadlineClass(None)))
    seen = records([(2.0, 0.1, "ok"), (5.0, 0.1, "OVERLOADED")], [0, 1])
    described = described_plan(plan)
    made = analyse(plan, seen, started="now", environment={"host": "a"}, described=described, batch_sizes={"1": 3})
    whole = json.loads(made.to_json())
    path = tmp_path / "report.json"
    # Classes and steps are like the total.
    for place in [each for each in places(whole) if each and each[0] not in ("classes", "steps")]:
        damaged = json.loads(made.to_json())
        inner = damaged
        for key in place[:-1]:
            inner = inner[key]
        inner[place[-1]] = wrong
        path.write_text(json.dumps(damaged))
        with contextlib.suppress(ValueError):
            read = read_report(path)
            assert render_page(named([read, made], ["a", "b"]))
            assert render_csv([read])


@pytest.mark.parametrize(
    "make",
    [
        lambda: Plan(GatewayTarget(), ClosedLoop(1, 5.0), warmup_s=5.0),
        lambda: Plan(GatewayTarget(), ClosedLoop(1, 5.0), processes=0),
        lambda: Plan(GatewayTarget(), ClosedLoop(1, 5.0), deadlines=()),
        lambda: ClosedLoop(0, 5.0),
        lambda: ClosedLoop(1, 0.0),
        lambda: DeadlineClass(0.0),
        lambda: DeadlineClass(1.0, 0.0),
        lambda: Replay(()),
    ],
)
def test_a_plan_that_cannot_be_is_refused(make: object) -> None:
    with pytest.raises(ValueError, match=r"."):
        make()  # type: ignore[operator]  # one of the lambdas above
