# SPDX-License-Identifier: Apache-2.0
"""Some thousands of the files of `make fuzz`, and every file that it ever found."""

import pathlib
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
    for _ in range(short_or_long(2_500, 30_000)):
        fuzzer.step()
    assert [why for why, _ in fuzzer.outcome.bad] == []
    # Mutations that never got as far as a picture would show little.
    assert fuzzer.outcome.decoded > fuzzer.outcome.count // 50


@pytest.mark.slow
def test_files_that_once_broke_the_rule_keep_it_now(fuzzer: Fuzzer) -> None:
    for path in sorted(CORPUS.glob("*.bin")):
        fuzzer.run(path.read_bytes())
    assert [why for why, _ in fuzzer.outcome.bad] == []
