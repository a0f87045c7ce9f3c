# SPDX-License-Identifier: Apache-2.0
"""Seconds of `make fuzz`, or a minute, and every file that it ever found."""

import pathlib
import time
from collections.abc import Iterator

import pytest
from testkit.image_fuzzing import Fuzzer
from testkit.image_seeds import seeds
from testkit.long_runs import short_or_long

CORPUS = pathlib.Path(__file__).parents[2] / "corpus" / "images"


@pytest.fixture
def fuzzer() -> Iterator[Fuzzer]:
    fuzzer = Fuzzer(dict(seeds()), seed=1)
    yield fuzzer
    fuzzer.close()


@pytest.mark.slow
def test_mutated_files_neither_crash_nor_hang_nor_fail_without_a_reason(fuzzer: Fuzzer) -> None:
    end_s = time.monotonic() + short_or_long(5, 60)
    while time.monotonic() < end_s:
        fuzzer.step()
    assert [why for why, _ in fuzzer.outcome.bad] == []
    # Mutations that never got as far as a picture would show little.
    assert fuzzer.outcome.decoded > fuzzer.outcome.count // 50


@pytest.mark.slow
def test_files_that_once_broke_the_rule_keep_it_now(fuzzer: Fuzzer) -> None:
    for path in sorted(CORPUS.glob("*.bin")):
        fuzzer.run(path.read_bytes())
    assert [why for why, _ in fuzzer.outcome.bad] == []
