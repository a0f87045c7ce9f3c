# SPDX-License-Identifier: Apache-2.0
"""The work of `matting cutout`: many files through the gateway, a few at a time."""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from matting_client.aio import AsyncClient
from matting_client.answers import Answer
from matting_client.errors import MattingError, OptionUnsupportedError, ServerUnreachableError
from matting_client.files import FileJob, write_atomically
from matting_client.local import Composer, local_composer
from matting_client.photos import OutputSpec


@dataclass(frozen=True, slots=True)
class CutoutPlan:
    """What is wanted of every photo.

    With `local` the server is asked for the alpha only, and the finished file is made here; a
    photo that cannot be read, or not be finished here is asked for as a finished file after all. Unless the caller
    `insists` on the refinement, a server that does not know it is asked for GUIDED.
    """

    spec: OutputSpec
    model: str = ""
    version: str = ""
    local: bool = False
    insists: bool = True


@dataclass(frozen=True, slots=True)
class FileOutcome:
    """What became of one photo: `error` is empty where its result was written; `note` is worth telling."""

    job: FileJob
    error: str = ""
    note: str = ""
    unreachable: bool = False
    tried: bool = True


async def cut_out(
    client: AsyncClient,
    jobs: Sequence[FileJob],
    plan: CutoutPlan,
    *,
    concurrency: int,
    on_done: Callable[[FileOutcome], None],
) -> list[FileOutcome]:
    """Work through the files, `concurrency` at a time; one that fails does not stop the others.

    A server that cannot be reached does: what is left is not tried.
    """
    composer = local_composer(plan.spec) if plan.local else None
    waiting = iter(jobs)
    outcomes: list[FileOutcome] = []
    reachable = True

    async def work() -> None:
        nonlocal reachable
        for job in waiting:
            outcome = (
                await _one(client, job, plan, composer)
                if reachable
                else FileOutcome(job, tried=False, error="not tried")
            )
            reachable = reachable and not outcome.unreachable
            outcomes.append(outcome)
            on_done(outcome)

    async with asyncio.TaskGroup() as group:
        for _ in range(min(concurrency, len(jobs))):
            group.create_task(work())
    return outcomes


async def _one(client: AsyncClient, job: FileJob, plan: CutoutPlan, composer: Composer | None) -> FileOutcome:
    try:
        photo = await asyncio.to_thread(job.source.read_bytes)
        content, answer, note = await _finished(client, photo, plan, composer)
        await asyncio.to_thread(write_atomically, job.target, content)
    except MattingError as error:
        return FileOutcome(job, error=explain(error), unreachable=isinstance(error, ServerUnreachableError))
    except OSError as error:
        return FileOutcome(job, error=f"{error.strerror or error}: {error.filename or job.source}")
    if plan.insists and plan.spec.refinement == "matting" and answer.output.refinement_applied == "guided":
        note = "the edge could not be solved for; the guided filter made it"
    if not answer.subject.found:
        note = "no subject found; the result is what the model made of it"
    return FileOutcome(job, note=note)


async def _finished(
    client: AsyncClient, photo: bytes, plan: CutoutPlan, composer: Composer | None
) -> tuple[bytes, Answer, str]:
    note = ""
    if composer is not None:
        try:
            wanted = await asyncio.to_thread(composer.alpha_spec, photo)
            answer = await client.remove_background(photo, [wanted], model=plan.model, version=plan.version)
            return await asyncio.to_thread(composer.compose, photo, answer), answer, note
        except ValueError as error:
            note = f"finished by the server: {error}"
    try:
        answer = await client.remove_background(photo, [plan.spec], model=plan.model, version=plan.version)
    except OptionUnsupportedError as error:
        if plan.insists or not error.details.field_path.endswith("refinement"):
            raise
        guided = replace(plan.spec, refine="guided")
        answer = await client.remove_background(photo, [guided], model=plan.model, version=plan.version)
    return answer.output.content, answer, note


def explain(error: MattingError) -> str:
    """Say in plain words why a call failed."""
    parts = [error.message or f"the server answered {error.code.name}"]
    if error.details.field_path:
        parts.append(f"(option {error.details.field_path})")
    if error.reason:
        parts.append(f"[{error.reason}]")
    if error.retry_after_s is not None:
        parts.append(f"(the server says to try again in {error.retry_after_s:.1f} s)")
    return " ".join(parts)
