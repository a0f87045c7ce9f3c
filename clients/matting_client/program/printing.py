# SPDX-License-Identifier: Apache-2.0
"""Models and the data policy as text for people, or as JSON for programs."""

import dataclasses
import json
import textwrap
from collections.abc import Sequence

from matting_client.answers import Answer, DataPolicy, Model
from matting_client.program.cutout import FileOutcome
from matting_client.program.explaining import plain


def models_text(models: Sequence[Model], *, as_json: bool) -> str:
    """Write the models, one block each."""
    if as_json:
        return json.dumps([dataclasses.asdict(model) for model in models], indent=2)
    if not models:
        return "the server serves no model now"
    return "\n\n".join(map(_model_text, models))


def policy_text(policy: DataPolicy, *, as_json: bool) -> str:
    """Write the policy, one statement a paragraph."""
    if as_json:
        return json.dumps(dataclasses.asdict(policy), indent=2)
    lines = [
        f"Data policy, version {policy.version}, revision {policy.revision}",
        f"A photo is held while its call is open, {policy.retention_ceiling_s:g} s at most.",
    ]
    for statement in policy.statements:
        mark = "" if statement.kept else "  (NOT kept in full by the settings in force)"
        lines += ["", f"{statement.topic}{mark}"]
        lines += [f"  {line}" for line in textwrap.wrap(statement.statement, 96)]
        lines += [f"  {name} = {value}" for name, value in sorted(statement.values.items())]
    return "\n".join(map(plain, lines))


def outcome_json(outcome: FileOutcome) -> str:
    """Write what became of one photo as a line of JSON, and what the answer said where there is one."""
    job, cause = outcome.job, outcome.cause
    facts = {
        "photo": "-" if job.source is None else str(job.source),
        "result": "-" if job.target is None else str(job.target),
        "status": outcome.status,
    }
    optional = {
        "error": outcome.error,
        "reason": cause.reason or cause.code.name if cause is not None else "",
        "request_id": cause.request_id if cause is not None else "",
        "note": outcome.note,
    }
    facts |= {name: text for name, text in optional.items() if text}
    return json.dumps(facts | (_answer_facts(outcome.answer) if outcome.answer is not None else {}))


def _answer_facts(answer: Answer) -> dict[str, object]:
    return {
        "model": answer.model,
        "version": answer.version,
        "request_id": answer.request_id,
        "subject": dataclasses.asdict(answer.subject),
        "timings": dataclasses.asdict(answer.timings),
    }


def _model_text(model: Model) -> str:
    size = f"{model.input_width_px}x{model.input_height_px}" if model.input_width_px else "any"
    lines = [
        f"{model.name}{' (default)' if model.default else ''}",
        f"  versions    {', '.join(model.versions)}",
        f"  input       {size}, up to {model.max_batch_size} photos a batch",
        f"  licence     {model.license or 'not stated'}{', no commercial use' if model.noncommercial else ''}",
    ]
    lines += [
        f"  runs on     {each.backend}: {each.engine} on {each.device}, {each.precision}, {each.instance_count} at once"
        for each in model.instances
    ]
    return "\n".join(map(plain, lines))
