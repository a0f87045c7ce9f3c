# SPDX-License-Identifier: Apache-2.0
"""The work of `matting cutout`: many files through the gateway, a few at a time."""

import asyncio
import contextlib
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Literal, ParamSpec, TypeAlias, TypeVar

from matting_client.aio import AsyncClient
from matting_client.answers import Answer
from matting_client.errors import (
    BackendUnavailableError,
    CredentialsInvalidError,
    CredentialsMissingError,
    MattingError,
    ModelNotFoundError,
    OptionUnsupportedError,
    PermissionDeniedError,
    ServerUnreachableError,
)
from matting_client.local import local_composer
from matting_client.photos import OutputSpec
from matting_client.program.explaining import explain
from matting_client.program.paths.files import FileJob
from matting_client.program.paths.transfer import read_photo, waits_for_others, write_result
from matting_client.program.retrier import Retrier

Status: TypeAlias = Literal["done", "skipped", "failed", "not tried"]
Given = ParamSpec("Given")
Made = TypeVar("Made")

# Failures that every other photo would meet as well: reported once, and the rest is not tried.
OF_ALL = (
    ServerUnreachableError,
    BackendUnavailableError,
    CredentialsMissingError,
    CredentialsInvalidError,
    PermissionDeniedError,
    ModelNotFoundError,
)


@dataclass(frozen=True, slots=True)
class CutoutPlan:
    """What is wanted of every photo.

    With `local` the server is asked for the alpha only, and the finished file is made here; a
    photo that cannot be read, or not be finished here is asked for as a finished file after all. Unless the caller
    `insists` on the refinement, a server that does not know it is asked for GUIDED. A result that is there is
    replaced only with `overwrite`.
    """

    spec: OutputSpec
    model: str = ""
    version: str = ""
    local: bool = False
    insists: bool = True
    overwrite: bool = False


@dataclass(frozen=True, slots=True)
class FileOutcome:
    """What became of one photo: `error` where it failed, the call's own as `cause`; `note` is worth telling."""

    job: FileJob
    status: Status
    error: str = ""
    cause: MattingError | None = None
    note: str = ""
    answer: Answer | None = None

    @property
    def of_all(self) -> bool:
        """Whether every other photo would fail just so."""
        return isinstance(self.cause, OF_ALL)


class CutoutRun:
    """Works through files, a few at a time; one that fails does not stop the others.

    Owns what is left, and whether the work stopped: after a failure that would befall all, nothing more is tried.
    `on_done` hears once, on the event loop, of each photo that was tried. When `run` is cancelled, a result that is
    being written is written to its end, and told of.
    """

    def __init__(
        self,
        client: AsyncClient,
        jobs: Sequence[FileJob],
        plan: CutoutPlan,
        retrier: Retrier,
        on_done: Callable[[FileOutcome], None],
    ) -> None:
        self._client = client
        self._jobs = jobs
        self._plan = plan
        self._retrier = retrier
        self._on_done = on_done
        self._composer = local_composer(plan.spec) if plan.local else None
        self._stopped = False

    async def run(self, *, concurrency: int) -> None:
        """Do what there is to do; then all that is left was not tried."""
        waiting = iter(self._jobs)
        async with asyncio.TaskGroup() as group:
            for _ in range(min(concurrency, len(self._jobs))):
                group.create_task(self._work(waiting))
        for job in waiting:
            self._note(FileOutcome(job, "not tried", error="not tried"))

    async def _work(self, waiting: Iterator[FileJob]) -> None:
        while not self._stopped and (job := next(waiting, None)) is not None:
            try:
                await self._one(job)
            except MattingError as error:
                self._note(FileOutcome(job, "failed", error=explain(error), cause=error))
            except ValueError as error:
                self._note(FileOutcome(job, "failed", error=str(error)))
            except OSError as error:
                where = f": {error.filename}" if error.filename is not None else ""
                self._note(FileOutcome(job, "failed", error=f"{error.strerror or error}{where}"))

    def _note(self, outcome: FileOutcome) -> None:
        self._stopped = self._stopped or outcome.of_all
        self._on_done(outcome)

    async def _one(self, job: FileJob) -> None:
        read = _in_thread_of_its_own if waits_for_others(job.source) else asyncio.to_thread
        photo = await read(read_photo, job.source)
        if not photo:
            raise ValueError("the file is empty" if job.source is not None else "it is empty")
        content, answer, note = await self._retrier.until_answered(lambda left_s: self._finished(photo, left_s))
        if not content:
            raise ValueError("the server answered with an empty file")
        plan = self._plan
        if plan.insists and plan.spec.refinement == "matting" and answer.output.refinement_applied == "guided":
            note = "the edge could not be solved for; the guided filter made it"
        if not answer.subject.found:
            note = "no subject found; the result is what the model made of it"
        outcome = FileOutcome(job, "done", note=note, answer=answer)
        if waits_for_others(job.target):
            await _in_thread_of_its_own(write_result, job.target, content, overwrite=True)
        else:
            writing = asyncio.create_task(
                asyncio.to_thread(write_result, job.target, content, overwrite=plan.overwrite)
            )
            try:
                await asyncio.shield(writing)
            except asyncio.CancelledError:
                await asyncio.wait([writing])
                if writing.exception() is None:
                    self._note(outcome)
                raise
        self._note(outcome)

    async def _finished(self, photo: bytes, timeout_s: float) -> tuple[bytes, Answer, str]:
        until_s = time.monotonic() + timeout_s
        note = ""
        if self._composer is not None:
            try:
                wanted = await asyncio.to_thread(self._composer.alpha_spec, photo)
                answer = await self._ask(photo, wanted, until_s)
                return await asyncio.to_thread(self._composer.compose, photo, answer), answer, note
            except ValueError as error:
                note = f"finished by the server: {error}"
        spec = self._plan.spec
        try:
            answer = await self._ask(photo, spec, until_s)
        except OptionUnsupportedError as error:
            if self._plan.insists or not error.details.field_path.endswith("refinement"):
                raise
            answer = await self._ask(photo, replace(spec, refine="guided"), until_s)
        return answer.output.content, answer, note

    async def _ask(self, photo: bytes, spec: OutputSpec, until_s: float) -> Answer:
        left_s = max(until_s - time.monotonic(), 0.001)
        model, version = self._plan.model, self._plan.version
        answer = await self._client.remove_background(photo, [spec], model=model, version=version, timeout_s=left_s)
        if not answer.outputs:
            raise ValueError("the server answered without a result")
        return answer


async def _in_thread_of_its_own(
    function: Callable[Given, Made], /, *arguments: Given.args, **options: Given.kwargs
) -> Made:
    """Run what may wait for another program for ever, in a thread that holds up neither cancelling nor the end."""
    loop = asyncio.get_running_loop()
    future: asyncio.Future[Made] = loop.create_future()

    def settle(made: Made | None, error: BaseException | None) -> None:
        if not future.done():
            if error is None:
                future.set_result(made)  # type: ignore[arg-type]  # None only where the function returns it
            else:
                future.set_exception(error)

    def work() -> None:
        made, failure = None, None
        try:
            made = function(*arguments, **options)
        except BaseException as error:  # noqa: BLE001 - it is raised where it is awaited
            failure = error
        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits any more
            loop.call_soon_threadsafe(settle, made, failure)

    threading.Thread(target=work, daemon=True).start()
    return await future
