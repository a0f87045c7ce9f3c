# SPDX-License-Identifier: Apache-2.0
"""From records to a report: pure arithmetic on columns."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from matting_load.arrivals import Seconds
from matting_load.outcomes import LATE, OK
from matting_load.plan import ClosedLoop, OpenLoop, Plan
from matting_load.reports.report import Generator, Latency, Outcome, Report, Series, Summary
from matting_load.sending.records import Records

Mask: TypeAlias = npt.NDArray[np.bool_]

QUANTILES = (
    *(round(0.01 * step, 4) for step in range(100)),
    *(round(0.99 + 0.001 * step, 4) for step in range(1, 10)),
    *(round(0.999 + 0.0001 * step, 4) for step in range(1, 10)),
    1.0,
)


def analyse(
    plan: Plan,
    records: Records,
    *,
    started: str,
    environment: Mapping[str, str],
    described: Mapping[str, Any],
    batch_sizes: Mapping[str, int],
    batch_size_mean: float | None = None,
) -> Report:
    """Build the report of a finished test; only what came due after the warm-up, and before it was stopped, counts.

    Raises:
        ValueError: It was stopped before anything counted.
    """
    if records.stopped_s is not None:
        plan = plan.until(records.stopped_s)
    counted = _within(plan, records, plan.warmup_s, plan.load.duration_s)
    window_s = plan.load.duration_s - plan.warmup_s
    answered = counted & _answered(records)
    latencies = np.sort(_latency(records)[answered])
    classes = tuple(
        summarise(each.name, records, counted & (records.deadline_class == index), window_s)
        for index, each in enumerate(plan.deadlines)
    )
    return Report(
        label=plan.name,
        target=plan.target.name,
        load=describe_load(plan) + (", interrupted" if records.stopped_s is not None else ""),
        started=started,
        plan=described,
        environment=environment,
        total=summarise("total", records, counted, window_s),
        classes=classes if len(classes) > 1 else (),
        steps=_steps(plan, records),
        series=_series(plan, records),
        latency_quantiles=QUANTILES,
        latency_cdf_s=tuple(np.quantile(latencies, QUANTILES).tolist()) if latencies.size else (),
        generator=_generator(plan, records),
        batch_sizes=batch_sizes,
        batch_size_mean=batch_size_mean,
        interrupted=records.stopped_s is not None,
    )


def summarise(name: str, records: Records, chosen: Mask, duration_s: float) -> Summary:
    """Sum up the chosen calls, which came due in a stretch of this length."""
    count = int(chosen.sum())
    latency_s = _latency(records)
    answered = chosen & _answered(records)
    good_count = int((chosen & records.mask(OK)).sum())
    return Summary(
        name=name,
        duration_s=duration_s,
        offered_count=count,
        offered_per_s=count / duration_s,
        throughput_per_s=int(answered.sum()) / duration_s,
        goodput_per_s=good_count / duration_s,
        good_share=good_count / count if count else 0.0,
        latency=_percentiles(latency_s[answered]),
        outcomes=_outcomes(records, chosen, latency_s),
    )


def describe_load(plan: Plan) -> str:
    """Say in a few words how calls were sent."""
    load = plan.load
    if isinstance(load, ClosedLoop):
        callers = "1 caller" if load.caller_count == 1 else f"{load.caller_count} callers"
        return f"closed loop, {callers}, {round(load.duration_s, 1):g} s"
    if not isinstance(load, OpenLoop):
        return f"replay of {len(load.times_s)} calls, {round(load.duration_s, 1):g} s"
    rates = list(dict.fromkeys(rate for each in load.segments for rate in (each.start_rate, each.end_rate)))
    if len(rates) == 1:
        text = f"{rates[0]:g}/s"
    elif 0.0 in rates and len(rates) == 2:
        text = f"bursts of {max(rates):g}/s"
    else:
        text = f"{min(rates):g} to {max(rates):g}/s"
    return f"open loop, {load.process}, {text}, {round(load.duration_s, 1):g} s"


def _within(plan: Plan, records: Records, start_s: float, end_s: float) -> Mask:
    """Choose the calls of a stretch: by when they were due, or in a closed loop, which has no due times, done."""
    times = records.done_s if isinstance(plan.load, ClosedLoop) else records.due_s
    return (times >= start_s) & (times < end_s)


def row_names(plan: Plan) -> list[str]:
    """Return the deadlines and steps that a plan's report will have figures of, beside those of the whole test."""
    classes = [each.name for each in plan.deadlines] if len(plan.deadlines) > 1 else []
    return [*classes, *(name for name, _, _ in _stretches(plan))]


def _steps(plan: Plan, records: Records) -> tuple[Summary, ...]:
    """Sum up each stretch of constant rate, where there are several rates."""
    return tuple(
        summarise(name, records, _within(plan, records, from_s, to_s), to_s - from_s)
        for name, from_s, to_s in _stretches(plan)
    )


def _stretches(plan: Plan) -> Iterator[tuple[str, float, float]]:
    """Yield the name of each step, and from when to when calls count."""
    if not isinstance(plan.load, OpenLoop) or len({each.start_rate for each in plan.load.segments} - {0.0}) < 2:
        return
    start_s = 0.0
    for segment in plan.load.segments:
        end_s = start_s + segment.duration_s
        counted_from_s = max(start_s + min(plan.settle_s, segment.duration_s / 2), plan.warmup_s)
        if segment.start_rate == segment.end_rate > 0 and counted_from_s < end_s:
            yield f"{segment.start_rate:g}/s", counted_from_s, end_s
        start_s = end_s


def _series(plan: Plan, records: Records) -> Series:
    duration_s = plan.load.duration_s
    bucket_s = max(0.25, duration_s / 120)
    edges = np.arange(0.0, duration_s + bucket_s - 1e-9, bucket_s)
    answered = _answered(records)
    latency_s = _latency(records)
    bucket_of = np.digitize(records.done_s, edges) - 1
    p50: list[float | None] = []
    p99: list[float | None] = []
    for bucket in range(len(edges) - 1):
        inside = latency_s[answered & (bucket_of == bucket)]
        p50.append(float(np.quantile(inside, 0.5)) if inside.size else None)
        p99.append(float(np.quantile(inside, 0.99)) if inside.size else None)

    def rates(times: Seconds) -> tuple[float, ...]:
        return tuple((np.histogram(times, edges)[0] / bucket_s).tolist())

    return Series(
        bucket_s=bucket_s,
        start_s=tuple(edges[:-1].tolist()),
        offered_per_s=rates(records.due_s),
        throughput_per_s=rates(records.done_s[answered]),
        goodput_per_s=rates(records.done_s[records.mask(OK)]),
        p50_s=tuple(p50),
        p99_s=tuple(p99),
    )


def _generator(plan: Plan, records: Records) -> Generator:
    lag = records.sent_s - records.due_s
    p50, p99, longest = np.quantile(lag, (0.5, 0.99, 1.0)).tolist() if lag.size else (0.0, 0.0, 0.0)
    wall_s = max(records.wall_s, 1e-9) * plan.processes
    return Generator(
        processes=plan.processes,
        lag_p50_s=p50,
        lag_p99_s=p99,
        lag_max_s=longest,
        cpu_share=records.cpu_s / wall_s,
        cpu_per_call_s=records.cpu_s / max(len(lag), 1),
    )


def _outcomes(records: Records, chosen: Mask, latency_s: Seconds) -> tuple[Outcome, ...]:
    total = max(int(chosen.sum()), 1)
    outcomes: list[Outcome] = []
    for name in records.outcome_names:
        times = latency_s[chosen & records.mask(name)]
        if times.size:
            p50, p99, longest = np.quantile(times, (0.5, 0.99, 1.0)).tolist()
            messages = records.errors.get(name, ())
            outcomes.append(Outcome(name, len(times), len(times) / total, p50, p99, longest, messages))
    return tuple(sorted(outcomes, key=lambda each: -each.count))


def _percentiles(latency_s: Seconds) -> Latency | None:
    if not latency_s.size:
        return None
    values: Sequence[float] = np.quantile(latency_s, (0.5, 0.9, 0.99, 0.999, 1.0)).tolist()
    return Latency(float(latency_s.mean()), *values)


def _answered(records: Records) -> Mask:
    return records.mask(OK) | records.mask(LATE)


def _latency(records: Records) -> Seconds:
    return records.done_s - records.due_s
