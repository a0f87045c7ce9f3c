# SPDX-License-Identifier: Apache-2.0
"""The file of tenants: TOML, one `[[tenant]]` table each, as `docs/tenants.md` has it.

A token is a random string of 128 bits or more, so a plain SHA-256 of it is as good as a slow hash
(NIST SP 800-63B, 5.1.2). A table that is wrong is left out, with its line said, and the rest goes on.
"""

import hashlib
import hmac
import re
import secrets
import tomllib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from matting_gateway.clock import Clock
from matting_gateway.reloading.watched_files import ReloadReport, WatchedFiles

_NAME = re.compile(r"[A-Za-z0-9._-]{1,64}")
_DIGEST = re.compile(r"[0-9a-fA-F]{64}")
_TABLE = re.compile(r"\s*\[\[\s*tenant\s*\]\]\s*(#.*)?")
_KEYS = frozenset(
    {
        "name",
        "token_sha256",
        "certificate_names",
        "models",
        "requests_per_second",
        "megapixels_per_second",
        "bytes_in_flight",
        "share",
        "operator",
    }
)


@dataclass(frozen=True, slots=True)
class Tenant:
    """Who calls, and what they may. None means without limit; `share` is a weight, over 0."""

    name: str
    models: frozenset[str] | None = None
    requests_per_s: float | None = None
    megapixels_per_s: float | None = None
    bytes_in_flight: int | None = None
    share: float = 1.0
    operator: bool = False

    def may_use(self, model: str) -> bool:
        return self.models is None or model in self.models


# Everybody, where no file of tenants is configured.
ANONYMOUS = Tenant("", operator=True)


@dataclass(frozen=True, slots=True)
class TenantProblem:
    """A table that was left out. Says nothing of a token."""

    line: int
    problem: str


@dataclass(frozen=True, slots=True, repr=False)
class _Entry:
    tenant: Tenant
    digests: tuple[bytes, ...]
    certificate_names: tuple[str, ...]


class TenantDirectory:
    """Finds a tenant by what its caller shows. Immutable.

    Tokens are kept as keyed hashes of their digests under a key that no caller knows, so that
    the time of looking one up tells nothing about the digests that are there, however many.
    """

    def __init__(self, entries: Iterable[_Entry], problems: tuple[TenantProblem, ...]) -> None:
        self._key = secrets.token_bytes(32)
        self._by_token: dict[bytes, Tenant] = {}
        self._by_certificate_name: dict[str, Tenant] = {}
        self.problems = problems
        self._by_name: dict[str, Tenant] = {}
        for entry in entries:
            self._by_name[entry.tenant.name] = entry.tenant
            self._by_token.update((self._keyed(digest), entry.tenant) for digest in entry.digests)
            self._by_certificate_name.update((name, entry.tenant) for name in entry.certificate_names)

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(self._by_name)

    def by_name(self, name: str) -> Tenant | None:
        return self._by_name.get(name)

    def by_token(self, token: str) -> Tenant | None:
        return self._by_token.get(self._keyed(hashlib.sha256(token.encode()).digest()))

    def by_certificate_names(self, names: Iterable[str]) -> Tenant | None:
        """Return the tenant of the first name that is one's."""
        return next((self._by_certificate_name[name] for name in names if name in self._by_certificate_name), None)

    def __repr__(self) -> str:
        return f"<TenantDirectory {len(self.names)} tenants, {len(self.problems)} left out>"

    def _keyed(self, digest: bytes) -> bytes:
        return hmac.digest(self._key, digest, "sha256")


def new_token() -> tuple[str, str]:
    """Return a new token of 256 bits, and its digest as `token_sha256` has it."""
    token = secrets.token_urlsafe(32)
    return token, hashlib.sha256(token.encode()).hexdigest()


def parse_tenants(text: str) -> TenantDirectory:
    """Read a file of tenants. Tables that are wrong, or claim what an earlier one has, are left out and told of.

    Raises:
        ValueError: There is something else in the file than tenants.
    """
    blocks = _tables(text)
    entries: list[_Entry] = []
    problems: list[TenantProblem] = []
    taken: set[str | bytes] = set()
    for line, block in blocks:
        try:
            entry = _entry(tomllib.loads(block)["tenant"][0])
            _claim(entry, taken)
        except tomllib.TOMLDecodeError:
            # Its own text could quote a token.
            problems.append(TenantProblem(line, "is not TOML"))
        except ValueError as exc:
            problems.append(TenantProblem(line, str(exc)))
        else:
            entries.append(entry)
    return TenantDirectory(entries, tuple(problems))


def _tables(text: str) -> list[tuple[int, str]]:
    """Return each table's first line and text. A broken line then spoils its own table only."""
    lines = text.splitlines()
    starts = [i for i, line in enumerate(lines) if _TABLE.fullmatch(line)]
    head = lines[: starts[0]] if starts else lines
    for i, line in enumerate(head):
        if line.strip() and not line.lstrip().startswith("#"):
            raise ValueError(f"Line {i + 1} stands before the first [[tenant]]; every setting belongs to a tenant.")
    ends = [*starts[1:], len(lines)]
    return [(start + 1, "\n".join(lines[start:end])) for start, end in zip(starts, ends, strict=False)]


def _entry(table: Mapping[str, object]) -> _Entry:
    unknown = table.keys() - _KEYS
    if unknown:
        raise ValueError(f"has the unknown key {min(unknown)}; known are {', '.join(sorted(_KEYS))}")
    name = table.get("name")
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise ValueError("needs a name of 1 to 64 of A-Z a-z 0-9 . _ -")
    digests = _strings(table, "token_sha256") or ()
    if not all(_DIGEST.fullmatch(digest) for digest in digests):
        raise ValueError("token_sha256 must be SHA-256 digests of 64 hex digits each, not tokens")
    models = _strings(table, "models")
    byte_count = _positive(table, "bytes_in_flight")
    tenant = Tenant(
        name=name,
        models=None if models is None else frozenset(models),
        requests_per_s=_positive(table, "requests_per_second"),
        megapixels_per_s=_positive(table, "megapixels_per_second"),
        bytes_in_flight=None if byte_count is None else int(byte_count),
        share=_positive(table, "share") or 1.0,
        operator=_flag(table, "operator"),
    )
    certificate_names = _strings(table, "certificate_names") or ()
    if not digests and not certificate_names:
        raise ValueError("has neither token_sha256 nor certificate_names, so nobody could be it")
    return _Entry(tenant, tuple(bytes.fromhex(digest) for digest in digests), certificate_names)


def _claim(entry: _Entry, taken: set[str | bytes]) -> None:
    """Take a tenant's name and credentials; two tenants with one of them in common are a mistake."""
    claims: set[str | bytes] = {f"name {entry.tenant.name}", *entry.digests}
    claims.update(f"certificate {name}" for name in entry.certificate_names)
    if claims & taken:
        raise ValueError("shares its name, a token or a certificate name with an earlier tenant")
    taken |= claims


def _strings(table: Mapping[str, object], key: str) -> tuple[str, ...] | None:
    value = table.get(key)
    if value is None:
        return None
    if not isinstance(value, list) or not all(isinstance(item, str) and item for item in value):
        raise ValueError(f"{key} must be a list of strings")
    return tuple(value)


def _positive(table: Mapping[str, object], key: str) -> float | None:
    value = table.get(key)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < float("inf"):
        raise ValueError(f"{key} must be a number over 0")
    return float(value)


def _flag(table: Mapping[str, object], key: str) -> bool:
    value = table.get(key, False)
    if value is not True and value is not False:
        raise ValueError(f"{key} must be true or false")
    return value


def tenants_from_file(
    path: Path,
    *,
    clock: Clock,
    on_reload: Callable[[ReloadReport], None] | None = None,
    on_problem: Callable[[str], None] | None = None,
) -> WatchedFiles[TenantDirectory]:
    """Return the tenants of a file that is read again when it changes. `on_problem` hears of each table left out."""

    def load() -> TenantDirectory:
        try:
            directory = parse_tenants(path.read_text("utf-8"))
        except UnicodeDecodeError as exc:
            raise ValueError(f"{path} is not UTF-8 text.") from exc
        except ValueError as exc:
            raise ValueError(f"{path}: {exc}") from exc
        if on_problem is not None:
            for problem in directory.problems:
                on_problem(f"{path.name}, line {problem.line}: the tenant {problem.problem}; it is left out.")
        return directory

    return WatchedFiles([path], load, clock=clock, on_reload=on_reload)
