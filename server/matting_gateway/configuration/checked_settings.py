# SPDX-License-Identifier: Apache-2.0
"""Settings from what was given: each value brought into its field's form and checked, and every problem told."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from matting_gateway.configuration.option_values import address_problem, read_value, read_values
from matting_gateway.configuration.settings import OPTIONS, Settings
from matting_gateway.options import Option
from matting_gateway.privacy.transport import PlaintextRefusedError, check_backend, check_collector, check_listen
from matting_gateway.reloading.client_tls import ClientTlsSettings
from matting_gateway.rpc.settings import TlsSettings

# Groups that are there only if one of their fields is given: (class, fields that must be given then).
_OPTIONAL_GROUPS = {
    "tls": (TlsSettings, ("certificate_file", "key_file")),
    "triton_tls": (ClientTlsSettings, ("ca_file",)),
    "otlp_tls": (ClientTlsSettings, ("ca_file",)),
}


class SettingsError(ValueError):
    """Settings that cannot be started with; `problems` lists every one of them."""

    def __init__(self, problems: Sequence[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = tuple(problems)


def build_settings(values: Mapping[str, Any], origins: Mapping[str, str] | None = None) -> Settings:
    """Return the settings that the given values make.

    Args:
        values: By option name, as text or of the option's own type; None or () for not given.
        origins: Where each was given, by option name, to be named with what is wrong with it.

    Raises:
        SettingsError: With every problem found, not only the first.
    """
    settings, problems = settings_and_problems(values, origins)
    if problems:
        raise SettingsError(problems)
    return settings


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
    problems = []
    listen = where("listen", "--listen")
    for address in settings.listen:
        problems += _refusal(
            check_listen, address, listen, least_port=0, tls=settings.tls is not None, allowed=settings.allow_plaintext
        )
    for address in settings.triton:
        problems += _refusal(
            check_backend,
            address,
            where("triton", "--triton"),
            least_port=1,
            tls=settings.triton_tls is not None,
            allowed=settings.allow_plaintext,
        )
    problems += _tracing_problems(settings, where)
    metrics = settings.metrics_listen
    if metrics and (problem := address_problem(metrics, least_port=0, unix=False)):
        problems.append(f"{where('metrics_listen', '--metrics-listen')}: {problem}")
    for address in sorted({*settings.listen, metrics}):
        if not address.endswith(":0") and [*settings.listen, metrics].count(address) > 1:
            problems.append(f"{listen}: {address} is listened on twice")
    if not settings.listen:
        problems.append(f"{listen}: there is no address to listen on")
    if not settings.triton and not settings.repository.is_dir():
        repository = where("repository", "--repository")
        problems.append(f"{repository}: {settings.repository} is no folder; run `make setup`, or name a --triton")
    return problems


def _tracing_problems(settings: Settings, where: Callable[[str, str], str]) -> list[str]:
    tracing, flag = settings.tracing, where("tracing.endpoint", "--otlp-endpoint")
    if not tracing.endpoint:
        given = [o.flag for o in OPTIONS if o.path.startswith(("tracing.", "otlp_tls.")) and where(o.path, "")]
        return [f"{', '.join(given)}: {flag} must be given too"] if given else []
    return _refusal(
        check_collector,
        tracing.endpoint,
        flag,
        least_port=1,
        tls=settings.otlp_tls is not None,
        allowed=settings.allow_plaintext,
    )


def _refusal(
    check: Callable[..., object], address: str, where: str, *, least_port: int, tls: bool, allowed: Sequence[str]
) -> list[str]:
    problem = address_problem(address, least_port=least_port)
    if problem:
        return [f"{where}: {problem}"]
    try:
        check(address, tls=tls, plaintext_allowed=allowed)
    except PlaintextRefusedError as exc:
        return [f"{where}: {exc}"]
    return []
