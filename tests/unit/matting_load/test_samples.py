# SPDX-License-Identifier: Apache-2.0
"""A few different messages of each outcome are kept, however many there were and however long they are."""

from matting_load.sending.samples import LONGEST_CHARACTERS, MOST_OF_AN_OUTCOME, ErrorSamples, join_samples


def test_different_messages_are_kept_up_to_a_few() -> None:
    errors = ErrorSamples()
    for number in range(1000):
        errors.note("OVERLOADED", f"{'abcde'[number % 5]} waits for {number / 8} s")
        errors.note("UNAVAILABLE", "")
    assert errors.kept() == {"OVERLOADED": ("a waits for 0.0 s", "b waits for 0.125 s", "c waits for 0.25 s")}


def test_messages_that_differ_in_numbers_alone_are_one() -> None:
    errors = ErrorSamples()
    for number in range(100):
        errors.note("OVERLOADED", f"Calls take about {number / 10} s now; {number:,} wait.")
    assert errors.kept() == {"OVERLOADED": ("Calls take about 0.0 s now; 0 wait.",)}


def test_a_message_is_one_line_of_bounded_length() -> None:
    errors = ErrorSamples()
    errors.note("HTTP_500", "<html>\n\n  " + "x" * 1_000_000)
    (message,) = errors.kept()["HTTP_500"]
    assert message.startswith("<html> xxx")
    assert len(message) == LONGEST_CHARACTERS + 3


def test_messages_of_processes_are_joined() -> None:
    joined = join_samples([{"a": ("k", "l")}, {}, {"a": ("l", "m", "n"), "b": ("o",)}])
    assert joined == {"a": ("k", "l", "m"), "b": ("o",)}
    assert len(joined["a"]) == MOST_OF_AN_OUTCOME
