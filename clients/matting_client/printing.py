# SPDX-License-Identifier: Apache-2.0
"""Models and the data policy as text for people, or as JSON for programs."""

import dataclasses
import json
import textwrap
from collections.abc import Sequence

from matting_client.answers import DataPolicy, Model


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
        lines += ["", f"{statement.topic}{mark}", textwrap.indent(textwrap.fill(statement.statement, 96), "  ")]
        lines += [f"  {name} = {value}" for name, value in sorted(statement.values.items())]
    return "\n".join(lines)


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
    return "\n".join(lines)
