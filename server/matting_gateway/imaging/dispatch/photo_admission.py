# SPDX-License-Identifier: Apache-2.0
"""Which photos are let in: those that can be done in time, with all that is in work. Pure."""

from collections.abc import Sequence

from matting_gateway.domain.job import Priority
from matting_gateway.domain.photo import OutputSpec
from matting_gateway.errors import DeadlineUnreachableError, OverloadedError
from matting_gateway.imaging.dispatch.backlog import Backlog, PhotoWork
from matting_gateway.imaging.dispatch.step_costs import StepCosts, StepKind, decode_kind, render_kind
from matting_gateway.imaging.header import PhotoHeader


class PhotoAdmission:
    """Owns the photos in work, and what is known of how long such photos take.

    Args:
        worker_count: How many steps are done at a time.
    """

    def __init__(self, worker_count: int) -> None:
        self._worker_count = worker_count
        self._costs = StepCosts()
        self._backlog = Backlog(worker_count)

    @property
    def in_work(self) -> int:
        """Photos that were let in and have not left."""
        return len(self._backlog)

    @property
    def photo_work_s(self) -> float:
        """How long all workers together are busy with a photo as they come of late; 0.0 while unknown."""
        return self._costs.photo_s / self._worker_count

    def admit(
        self, header: PhotoHeader, outputs: Sequence[OutputSpec], *, deadline_s: float, priority: Priority, now_s: float
    ) -> PhotoWork:
        """Let a photo in, and say what it will take. One that comes while none is in work always is.

        Raises:
            OverloadedError: With all that is in work, it or another one would not be done in time.
            DeadlineUnreachableError: It takes longer than its deadline allows, whoever else is in work.
        """
        kinds, backlog = (decode_kind(header, outputs), render_kind(outputs)), self._backlog
        decode_s, render_s = (self._costs.expected_s(kind, header.pixel_count, now_s) for kind in kinds)
        work = PhotoWork(
            deadline_s,
            priority,
            decode_s,
            backlog.between_s,
            render_s,
            decode_kind=kinds[0],
            render_kind=kinds[1],
            hopeful=not len(backlog),
        )
        late_s = 0.0 if work.hopeful else backlog.late_by_s(work, now_s)
        if late_s > 0:
            alone_s = decode_s + work.between_s + render_s
            if now_s + alone_s > deadline_s:
                raise DeadlineUnreachableError(
                    f"A photo like this takes {alone_s:.2g} s, longer than the call's deadline allows; allow more time,"
                    " or ask for fewer or smaller results."
                )
            raise OverloadedError(
                "More photos are in work than can be done before the call's deadline; try again later or allow more"
                " time.",
                retry_after_s=late_s,
            )
        backlog.add(work)
        return work

    def leave(self, work: PhotoWork) -> None:
        """Note that a photo is in work no more."""
        self._backlog.remove(work)

    def note_step(self, kind: StepKind | None, pixel_count: int, seconds: float, now_s: float) -> None:
        """Learn how long a worker was busy with a step that it did."""
        if kind is not None:
            self._costs.note(kind, pixel_count, seconds, now_s)

    def note_between(self, seconds: float) -> None:
        """Learn how long it takes from when a photo is decoded until the model has answered."""
        self._backlog.note_between(seconds)
