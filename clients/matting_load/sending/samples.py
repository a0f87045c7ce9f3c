# SPDX-License-Identifier: Apache-2.0
"""What servers said of failed calls: a few messages of each outcome that differ in more than their numbers."""

import re
from collections.abc import Iterable, Mapping
from typing import TypeAlias

# By outcome, in the order they came.
Samples: TypeAlias = Mapping[str, tuple[str, ...]]

MOST_OF_AN_OUTCOME = 3
LONGEST_CHARACTERS = 300

_NUMBERS = re.compile(r"\d[\d.,]*")


class ErrorSamples:
    """Keeps the first few different messages of each outcome. Owns them; used on one event loop."""

    def __init__(self) -> None:
        # By outcome, the first message of each that numbers are left out of.
        self._kept: dict[str, dict[str, str]] = {}

    def note(self, outcome: str, message: str) -> None:
        """Keep a message where it says something new and there is room."""
        kept = self._kept.setdefault(outcome, {})
        if len(kept) >= MOST_OF_AN_OUTCOME:
            return
        line = " ".join(message.split())
        short = line if len(line) <= LONGEST_CHARACTERS else f"{line[:LONGEST_CHARACTERS]}..."
        if short:
            kept.setdefault(_NUMBERS.sub("#", short), short)

    def kept(self) -> Samples:
        return {outcome: tuple(messages.values()) for outcome, messages in self._kept.items() if messages}


def join_samples(parts: Iterable[Samples]) -> Samples:
    """Join what several processes kept."""
    joined = ErrorSamples()
    for part in parts:
        for outcome, messages in part.items():
            for message in messages:
                joined.note(outcome, message)
    return joined.kept()
