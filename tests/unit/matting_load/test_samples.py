# SPDX-License-Identifier: Apache-2.0
"""A few different messages of each outcome are kept, however many there were and however long they are."""

from matting_load.samples import LONGEST_CHARACTERS, MOST_OF_AN_OUTCOME, ErrorSamples, join_samples


def test_different_messages_are_kept_up_to_a_few() -> None:
    errors = ErrorSamples()
    for number in range(1000):
        errors.note("OVERLOADED", f"{number % 5} wait")
        errors.note("UNAVAILABLE", "")
    assert errors.kept() == {"OVERLOADED": ("0 wait", "1 wait", "2 wait")}


def test_a_message_is_one_line_of_bounded_length() -> None:
    errors = ErrorSamples()
    errors.note("HTTP_500", "<html>\n\n  " + "x" * 1_000_000)
    (message,) = errors.kept()["HTTP_500"]
    assert message.startswith("<html> xxx")
    assert len(message) == LONGEST_CHARACTERS + 3


def test_messages_of_processes_are_joined() -> None:
    joined = join_samples([{"a": ("1", "2")}, {}, {"a": ("2", "3", "4"), "b": ("5",)}])
    assert joined == {"a": ("1", "2", "3"), "b": ("5",)}
    assert len(joined["a"]) == MOST_OF_AN_OUTCOME
