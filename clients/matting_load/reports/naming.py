# SPDX-License-Identifier: Apache-2.0
"""What a report says was run, and what to call runs that are compared: by what differs between them."""

import contextlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import PurePath
from typing import Any

from matting_load.reports.report import Report


def title_of(report: Report) -> str:
    """Say what was run, in a line."""
    return f"{report.label}: {report.load}"


def what_was_sent(report: Report) -> str:
    """Say what calls were like, in a line; empty where the report does not tell."""
    return ", ".join(filter(None, _traits(report.plan, _CALLS).values()))


def named(reports: Sequence[Report], fallbacks: Sequence[str] = ()) -> list[Report]:
    """Return the reports under names that tell them apart.

    A label that was given stays. Without one a run is called by what differs from the other runs:
    address, model, load and calls, or else how it was sent, or else machine and versions. Where that
    does not tell two apart, or takes too many words, it is the fallback (such as the file's name).
    """
    if len(reports) == 1:
        return list(reports)
    others = list(fallbacks) or [f"run {number}" for number in range(1, len(reports) + 1)]
    levels = (_unlike([traits(each) for each in reports]) for traits in (_run_traits, _sending_traits, _machine_traits))
    names = next((names for names in levels if len(set(names)) == len(names)), others)
    if max(map(len, names)) > _LONGEST_NAME:
        names = others
    names = [str(report.plan.get("label") or name) for report, name in zip(reports, names, strict=True)]
    names = [
        f"{name}, {other}" if names.count(name) > 1 and name != other else name
        for name, other in zip(names, others, strict=True)
    ]
    return [report.called(name) for report, name in zip(reports, names, strict=True)]


def in_common(reports: Sequence[Report]) -> str:
    """Say what was the same in all runs, in a line."""
    first, *others = [_run_traits(report) for report in reports]
    return ", ".join(trait for key, trait in first.items() if all(each.get(key) == trait for each in others))


Trait = tuple[str, Callable[[Any], str]]

_LONGEST_NAME = 60


def _counted(unit: str, units: str) -> Callable[[int], str]:
    return lambda count: f"{count} {unit if count == 1 else units}"


def _deadlines(classes: Sequence[Mapping[str, Any]]) -> str:
    seconds = [each["deadline_s"] for each in classes]
    if seconds == [None]:
        return "no deadline"
    shares = {each["share"] for each in classes}
    return "deadline " + " or ".join(
        ("none" if each["deadline_s"] is None else f"{each['deadline_s'] * 1e3:g} ms")
        + (f" ({each['share']:g})" if len(shares) > 1 else "")
        for each in classes
    )


def _photos(photos: Mapping[str, Any]) -> str:
    if photos["folder"]:
        return f"photos of {PurePath(photos['folder']).name}"
    return "photos of " + " and ".join(f"{each['width_px']}x{each['height_px']}" for each in photos["sizes"])


# Paths in a report's plan, and how what is there is written.
_TARGET: Sequence[Trait] = (
    ("target.address", str),
    ("target.url", str),
    ("target.model", lambda name: str(name or "default model")),
)
_CALLS: Sequence[Trait] = (
    ("target.shape", lambda shape: f"tensors of {'x'.join(map(str, shape))}"),
    ("target.datatype", str),
    ("photos", _photos),
    ("target.output", str),
    ("target.mime_type", lambda mime_type: f"as {str(mime_type).removeprefix('image/')}"),
    ("deadlines", _deadlines),
)
_SENDING: Sequence[Trait] = (
    ("warmup_s", lambda seconds: f"{seconds:g} s of warm-up"),
    ("settle_s", lambda seconds: f"{seconds:g} s to settle"),
    ("processes", _counted("sending process", "sending processes")),
    ("connections", _counted("connection", "connections")),
    ("seed", lambda seed: f"seed {seed}"),
)


def _traits(plan: Mapping[str, Any], kinds: Sequence[Trait]) -> dict[str, str]:
    """Return what a plan says of these, by path. Tensors have no photos."""
    found: dict[str, str] = {}
    for path, write in kinds:
        value: Any = plan
        for part in path.split("."):
            value = value.get(part) if isinstance(value, Mapping) else None
        if value is None or (path == "photos" and "target.shape" in found):
            continue
        # What another version wrote otherwise is left out.
        with contextlib.suppress(AttributeError, KeyError, TypeError, ValueError):
            found[path] = write(value)
    return found


def _run_traits(report: Report) -> Mapping[str, str]:
    load = {f"load {index}": part for index, part in enumerate(report.load.split(", "))}
    return _traits(report.plan, _TARGET) | load | _traits(report.plan, _CALLS)


def _sending_traits(report: Report) -> Mapping[str, str]:
    return _traits(report.plan, _SENDING)


def _machine_traits(report: Report) -> Mapping[str, str]:
    return {name: value if name == "host" else f"{name} {value}" for name, value in report.environment.items()}


def _unlike(traits: Sequence[Mapping[str, str]]) -> list[str]:
    """Return for each the traits that are not the same in all."""
    keys = list(dict.fromkeys(key for each in traits for key in each))
    unlike = [key for key in keys if len({each.get(key, "") for each in traits}) > 1]
    return [", ".join(filter(None, (each.get(key, "") for key in unlike))) for each in traits]
