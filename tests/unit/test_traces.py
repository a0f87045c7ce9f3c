# SPDX-License-Identifier: Apache-2.0
import pytest
from matting_gateway.errors import OverloadedError
from matting_gateway.traces import (
    INFERENCE,
    CallerContext,
    SentBatch,
    Trace,
    caller_context,
    error_type_of,
    passed_on,
)

TRACE_ID, SPAN_ID = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
GOOD = f"00-{TRACE_ID}-{SPAN_ID}-01"


def ignored(_trace: Trace) -> None:
    """Take a trace that no test asks for."""


def test_a_callers_context_is_taken_to_the_letter() -> None:
    assert caller_context(GOOD) == CallerContext(TRACE_ID, SPAN_ID, sampled=True)


@pytest.mark.parametrize(("flags", "sampled"), [("00", False), ("01", True), ("02", False), ("03", True), ("ff", True)])
def test_the_lowest_flag_says_whether_it_is_sampled(flags: str, sampled: bool) -> None:
    context = caller_context(f"00-{TRACE_ID}-{SPAN_ID}-{flags}")
    assert context is not None
    assert context.sampled is sampled


def test_a_version_to_come_is_read_as_this_one() -> None:
    assert caller_context(f"cc-{TRACE_ID}-{SPAN_ID}-01") == CallerContext(TRACE_ID, SPAN_ID, sampled=True)


@pytest.mark.parametrize(
    "header",
    [
        None,
        "",
        "garbage",
        GOOD.encode(),
        GOOD.upper(),
        f" {GOOD}",
        f"{GOOD}\n",
        f"{GOOD}-00",
        f"{GOOD},{GOOD}",
        f"ff-{TRACE_ID}-{SPAN_ID}-01",
        f"00-{'0' * 32}-{SPAN_ID}-01",
        f"00-{TRACE_ID}-{'0' * 16}-01",
        f"00-{TRACE_ID[:-1]}-{SPAN_ID}-01",
        f"00-{TRACE_ID}0-{SPAN_ID}-01",
        f"00-{TRACE_ID[:-1]}g-{SPAN_ID}-01",
        f"00-{TRACE_ID[:-1]}\u0661-{SPAN_ID}-01",
        f"00-{TRACE_ID}-{SPAN_ID}-1",
        '00-"}\n{"event": "call"}-b7ad6b7169203331-01',
        "0" * 1_000_000,
    ],
)
def test_anything_else_is_no_context(header: str | bytes | None) -> None:
    assert caller_context(header) is None


def test_a_trace_that_begins_here_has_an_id_made_here() -> None:
    trace = Trace(ignored)
    assert caller_context(trace.traceparent) == CallerContext(trace.trace_id, trace.span_id, sampled=True)
    assert trace.exemplar == {"trace_id": trace.trace_id, "span_id": trace.span_id}
    assert trace.parent_span_id == ""


def test_an_exemplar_has_no_id_that_a_caller_made_up() -> None:
    trace = Trace(ignored, CallerContext(TRACE_ID, SPAN_ID, sampled=True))
    assert (trace.trace_id, trace.parent_span_id) == (TRACE_ID, SPAN_ID)
    assert trace.exemplar == {"span_id": trace.span_id}
    assert trace.item().exemplar.keys() == {"span_id"}


def test_an_item_is_below_the_call_of_its_stream() -> None:
    trace = Trace(ignored)
    item = trace.item()
    assert (item.trace_id, item.parent_span_id) == (trace.trace_id, trace.span_id)
    assert item.span_id != trace.span_id


def test_waiting_again_begins_when_the_batch_that_failed_is_over() -> None:
    trace = Trace(ignored)
    trace.inference(1.0, 2.0, 5.0, "a" * 16, SentBatch("a", 1, "UNAVAILABLE", trace.trace_id, "a" * 16))
    trace.queued(1.0, 6.0)
    assert [stage[:3] for stage in trace.noted] == [
        ("queue", 1.0, 2.0),
        (INFERENCE, 2.0, 5.0),
        ("queue", 5.0, 6.0),
    ]


def test_what_is_passed_on_is_an_inference_of_its_own() -> None:
    trace = Trace(ignored)
    with passed_on(trace, lambda: 1.0) as traceparent:
        pass
    ((name, _, _, span_id, _),) = trace.noted
    assert traceparent == f"00-{trace.trace_id}-{span_id}-01"
    assert name == INFERENCE


def test_what_is_passed_on_and_fails_says_so() -> None:
    trace = Trace(ignored)
    with pytest.raises(OverloadedError), passed_on(trace, lambda: 1.0):
        raise OverloadedError("full")
    ((*_, batch),) = trace.noted
    assert batch is not None
    assert batch.error_type == "RESOURCE_EXHAUSTED"


def test_what_is_not_traced_is_passed_on_without_a_word() -> None:
    with passed_on(None, lambda: 1.0) as traceparent:
        assert traceparent == ""


def test_a_failure_is_told_by_its_code_or_type_and_never_by_its_text() -> None:
    assert error_type_of(ValueError("secret")) == "ValueError"
