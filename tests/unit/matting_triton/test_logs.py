# SPDX-License-Identifier: Apache-2.0
"""Triton's log tells which models failed, and why."""

import threading

from matting_triton.logs import LoadReports, LogFollower

_FAILED = (
    "E1122 06:41:39.033390 27109 model_lifecycle.cc:642] \"failed to load 'cat' version 1: Internal: SettingsError: "
    'there is no file model.onnx in version 1\\n\\nAt:\\n  /somewhere/model.py(60): initialize\\n"'
)
_POLLED = "E1122 06:41:36.1 27109 model_repository_manager.cc:1460] \"Poll failed for model directory 'dog': no text\""
_PARSE = (
    "[libprotobuf ERROR text_format.cc:337] Error parsing text-format inference.ModelConfig: 1:35: Expected integer"
)
_LOADED = "I1122 06:23:52.6 15128 model_lifecycle.cc:839] \"successfully loaded 'cat'\""

_OPTIONS = "I1129 01:43:25.819010 7 tritonserver.cc:2598] "


def test_the_reason_is_one_line_without_a_stack() -> None:
    reports = LoadReports()
    reports.take(_FAILED)
    assert reports.failures == {"cat": "there is no file model.onnx in version 1"}


def test_a_configuration_that_cannot_be_parsed_is_explained_by_the_line_before() -> None:
    reports = LoadReports()
    for line in (_PARSE, _POLLED):
        reports.take(line)
    assert reports.failures == {"dog": "no text: 1:35: Expected integer"}


def test_a_model_that_loads_later_has_not_failed() -> None:
    reports = LoadReports()
    for line in (_FAILED, _LOADED):
        reports.take(line)
    assert reports.failures == {}


def test_the_follower_passes_lines_on_and_keeps_the_last() -> None:
    passed: list[str] = []
    ended = threading.Event()
    follower = LogFollower([f"{number}\n" for number in range(100)], passed.append, ended.set)
    follower.start()
    assert ended.wait(5)
    assert passed == [str(number) for number in range(100)]
    assert follower.tail == tuple(str(number) for number in range(70, 100))


def test_a_reader_that_raises_gets_no_more_lines_but_all_are_read() -> None:
    passed: list[str] = []

    def log(line: str) -> None:
        passed.append(line)
        raise OSError("broken pipe")

    ended = threading.Event()
    follower = LogFollower(["one\n", "two\n", _FAILED], log, ended.set)
    follower.start()
    assert ended.wait(5)
    assert passed == ["one"]
    assert list(follower.failures) == ["cat"]


def test_which_models_failed_is_known_once_all_that_was_said_of_loading_has_been_read() -> None:
    follower = LogFollower([_FAILED, _OPTIONS], None, lambda: None)
    follower.start()
    follower.wait_loaded(30)
    assert list(follower.failures) == ["cat"]
