# SPDX-License-Identifier: Apache-2.0
"""Photos are let in as long as they, and those who are in already, can be done in time; in virtual time."""

import heapq
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from matting_gateway.domain.job import Priority
from matting_gateway.imaging.dispatch.backlog import Backlog, PhotoWork


def photo(deadline_s: float, *, takes_s: float = 0.1, priority: Priority = Priority.NORMAL) -> PhotoWork:
    return PhotoWork(deadline_s, priority, 0.6 * takes_s, 0.0, 0.4 * takes_s, hopeful=False)


def test_a_photo_is_refused_for_which_there_is_no_time_behind_those_before_it() -> None:
    backlog = Backlog(2)
    for _ in range(10):
        backlog.add(photo(1.0, takes_s=0.2))
    assert backlog.late_by_s(photo(2.0), 0.0) == 0.0
    assert backlog.late_by_s(photo(1.1), 0.0) > 0.0


def test_a_photo_that_would_make_another_late_is_refused() -> None:
    backlog = Backlog(1)
    backlog.add(photo(1.0, takes_s=0.8))
    assert backlog.late_by_s(photo(0.5, takes_s=0.05), 0.0) == 0.0
    assert backlog.late_by_s(photo(0.5, takes_s=0.2), 0.0) > 0.0
    assert backlog.late_by_s(photo(0.5, takes_s=0.2, priority=Priority.HIGH), 0.0) == 0.0


def test_who_is_late_already_is_no_reason_to_refuse_others() -> None:
    backlog = Backlog(1)
    backlog.add(photo(1.0, takes_s=5.0))
    assert backlog.late_by_s(photo(0.5, takes_s=0.1), 0.0) == 0.0


def test_what_is_decoded_goes_before_all_that_is_not() -> None:
    backlog = Backlog(1)
    decoded = photo(9.0, takes_s=1.0)
    backlog.add(decoded)
    assert backlog.late_by_s(photo(0.3), 0.0) == 0.0
    decoded.decoded = True
    assert decoded.left_s == 0.4
    assert backlog.late_by_s(photo(0.3), 0.0) > 0.0
    backlog.remove(decoded)
    assert len(backlog) == 0


def test_the_models_time_counts_and_is_learned() -> None:
    backlog = Backlog(1)
    for _ in range(100):
        backlog.note_between(0.5)
    assert backlog.between_s == 0.5
    new = replace(photo(0.6), between_s=backlog.between_s)
    assert backlog.late_by_s(new, 0.0) > 0.0
    assert new.latest_decode_s < new.latest_render_s == new.model_deadline_s < new.deadline_s


photos = st.tuples(st.floats(0.0, 0.1), st.floats(0.01, 0.4), st.floats(0.1, 3.0))


@pytest.mark.slow
@given(st.integers(1, 4), st.lists(photos, min_size=1, max_size=60))
def test_of_those_let_in_none_is_later_than_the_longest_step_that_cannot_be_interrupted(
    worker_count: int, arrivals: list[tuple[float, float, float]]
) -> None:
    backlog = Backlog(worker_count)
    ends: list[tuple[float, int, PhotoWork]] = []  # of steps that run
    longest_s, now_s, number = max(takes_s for _, takes_s, _ in arrivals), 0.0, 0
    ready: list[PhotoWork] = []  # decoded, and to be rendered
    waiting: list[PhotoWork] = []

    def begin() -> None:
        nonlocal number
        while len(ends) < worker_count and (ready or waiting):
            work = ready.pop() if ready else waiting.pop(waiting.index(min(waiting, key=lambda w: w.deadline_s)))
            number += 1
            heapq.heappush(ends, (now_s + (work.render_s if work.decoded else work.decode_s), number, work))

    def finish(until_s: float) -> None:
        nonlocal now_s
        while ends and ends[0][0] <= until_s:
            now_s, _, work = heapq.heappop(ends)
            if work.decoded:
                assert now_s <= work.deadline_s + 2 * longest_s
                backlog.remove(work)
            else:
                work.decoded = True
                ready.append(work)
            begin()
        now_s = until_s

    for gap_s, takes_s, allowed_s in arrivals:
        finish(now_s + gap_s)
        new = photo(now_s + allowed_s, takes_s=takes_s)
        if backlog.late_by_s(new, now_s) == 0.0:
            backlog.add(new)
            waiting.append(new)
            begin()
    finish(1e9)
    assert len(backlog) == 0
