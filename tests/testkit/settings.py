# SPDX-License-Identifier: Apache-2.0
"""Settings from values, for tests: all that is wrong with them is one error."""

from collections.abc import Mapping, Sequence
from typing import Any

from matting_gateway.configuration.checked_settings import settings_and_problems
from matting_gateway.configuration.settings import Settings


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
