# SPDX-License-Identifier: Apache-2.0
"""Settings from what was given: each value brought into its field's form and checked, and every problem told."""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

from matting_gateway.configuration.option_values import address_problem, read_value, read_values
from matting_gateway.configuration.settings import OPTIONS, Settings
from matting_gateway.options import Option
from matting_gateway.privacy.transport import PlaintextRefusedError, check_backend, check_collector, check_listen
from matting_gateway.reloading.client_tls import ClientTlsSettings
from matting_gateway.rpc.settings import TlsSettings

_Check: TypeAlias = Callable[..., object]
# Groups that are there only if one of their fields is given: (class, fields that must be given then).
_OPTIONAL_GROUPS = {
    "tls": (TlsSettings, ("certificate_file", "key_file")),
    "triton_tls": (ClientTlsSettings, ("ca_file",)),
    "otlp_tls": (ClientTlsSettings, ("ca_file",)),
}


def settings_and_problems(
    values: Mapping[str, Any], origins: Mapping[str, str] | None = None
) -> tuple[Settings, list[str]]:
    """Return the settings that those of the given values make that can be used, and what is wrong with the others."""
    origins = origins or {}
    given: dict[str, _Given] = {}
    problems: list[str] = []
    for option in OPTIONS:
        value = values.get(option.name)
        if value is None or value == ():
            continue
        where = origins.get(option.name) or f"{option.flag} ({option.variable})"
        try:
            value = _checked(option, read_values(value) if option.multiple else read_value(option.type, value))
        except ValueError as exc:
            problems.append(f"{where}: {exc}")
            continue
        given[option.path] = _Given(where, value)
    groups: dict[str, dict[str, _Given]] = {}
    for path, one in given.items():
        group, _, name = path.rpartition(".")
        groups.setdefault(group, {})[name] = one
    settings = Settings()
    # Innermost groups first, so that `imaging.limits` is in place before `imaging` is rebuilt.
    for group in sorted(groups, key=lambda g: -g.count(".") if g else 1):
        settings, found = _with_group(settings, group, groups[group])
        problems += found
    problems += _problems_of(settings, lambda path, flag: given[path].where if path in given else flag)
    door = replace(settings.door, max_pixels=settings.imaging.limits.max_pixels)
    return replace(settings, door=door), problems


@dataclass(frozen=True, slots=True)
class _Given:
    """A value, in the unit of its field, and where it was given."""

    where: str
    value: Any


def _checked(option: Option, value: Any) -> Any:
    """Return a value in the unit of its field.

    Raises:
        ValueError: It is out of range.
    """
    if option.check is not None:
        option.check(value)
    if option.convert is not None:
        return option.convert(value)
    return value * option.unit if option.unit > 1 else value


def _with_group(settings: Settings, group: str, given: Mapping[str, _Given]) -> tuple[Settings, list[str]]:
    """Return the settings with a group's values, and what is wrong with each, or with them together."""
    problems: list[str] = []
    good = dict(given)
    if group and group not in _OPTIONAL_GROUPS:
        for name, one in given.items():
            try:
                _with(settings, group, {name: one.value})
            except ValueError as exc:
                problems.append(f"{one.where}: {exc}")
                del good[name]
    try:
        settings = _with(settings, group, {name: one.value for name, one in good.items()}) if good else settings
    except ValueError as exc:
        problems.append(f"{', '.join(one.where for one in good.values())}: {exc}")
    return settings, problems


def _with(settings: Settings, group: str, fields: Mapping[str, Any]) -> Settings:
    if not group:
        return replace(settings, **fields)
    if group in _OPTIONAL_GROUPS:
        cls, needed = _OPTIONAL_GROUPS[group]
        missing = [name for name in needed if name not in fields]
        if missing:
            flags = [o.flag for o in OPTIONS if o.path in {f"{group}.{name}" for name in missing}]
            raise ValueError(f"{' and '.join(flags)} must be given too")
        made: Any = cls(**fields)
        return replace(settings, **{group: made})
    outer, _, inner = group.partition(".")
    part = getattr(settings, outer)
    part = replace(part, **{inner: replace(getattr(part, inner), **fields)}) if inner else replace(part, **fields)
    return replace(settings, **{outer: part})


def _problems_of(settings: Settings, where: Callable[[str, str], str]) -> list[str]:
    """Return what is wrong with values that are good by themselves; `where(path, flag)` says where one was given."""
    problems, listen = list(_hop_problems(settings, where)), where("listen", "--listen")
    of_traces = [o.flag for o in OPTIONS if o.path.startswith(("tracing.", "otlp_tls.")) and where(o.path, "")]
    if of_traces and not settings.tracing.endpoint:
        endpoint = where("tracing.endpoint", "--otlp-endpoint")
        problems.append(f"{', '.join(of_traces)}: {endpoint} must be given too")
    metrics = settings.metrics_listen
    if metrics and (problem := address_problem(metrics, least_port=0, unix=False)):
        problems.append(f"{where('metrics_listen', '--metrics-listen')}: {problem}")
    listened = [address for address in (*settings.listen, metrics) if not address.endswith(":0")]
    twice = sorted(address for address, count in Counter(listened).items() if count > 1)
    problems += [f"{listen}: {address} is listened on twice" for address in twice]
    if not settings.listen:
        problems.append(f"{listen}: there is no address to listen on")
    if not settings.triton and not settings.repository.is_dir():
        repository = where("repository", "--repository")
        problems.append(f"{repository}: {settings.repository} is no folder; run `make setup`, or name a --triton")
    return problems


def _hop_problems(settings: Settings, where: Callable[[str, str], str]) -> Iterator[str]:
    """Yield what is wrong with the addresses of listeners, Tritons and the collector."""
    endpoint = settings.tracing.endpoint
    hops: tuple[tuple[_Check, Sequence[str], str, int, object | None], ...] = (
        (check_listen, settings.listen, where("listen", "--listen"), 0, settings.tls),
        (check_backend, settings.triton, where("triton", "--triton"), 1, settings.triton_tls),
        (
            check_collector,
            (endpoint,) if endpoint else (),
            where("tracing.endpoint", "--otlp-endpoint"),
            1,
            settings.otlp_tls,
        ),
    )
    for check, addresses, origin, least_port, tls in hops:
        for address in addresses:
            problem = address_problem(address, least_port=least_port)
            try:
                if not problem:
                    check(address, tls=tls is not None, plaintext_allowed=settings.allow_plaintext)
            except PlaintextRefusedError as exc:
                problem = str(exc)
            if problem:
                yield f"{origin}: {problem}"
