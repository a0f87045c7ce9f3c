# SPDX-License-Identifier: Apache-2.0
"""How long tests go on that could go on for ever: `make check-long` has them do so, nightly and before a release."""

import os
from typing import TypeVar

import pytest

_T = TypeVar("_T")
_IS_LONG = bool(os.environ.get("MATTING_LONG_TESTS"))

only_in_long_runs = pytest.mark.skipif(not _IS_LONG, reason="takes long, and a shorter one is there: make check-long")


def short_or_long(short: _T, long: _T) -> _T:
    """Return how often, for how many seconds, or with what something is tried in this run."""
    return long if _IS_LONG else short
