# SPDX-License-Identifier: Apache-2.0
"""Triton's log, redacted: its own words until it can be reached, then severity and place alone."""

from matting_triton.logs import LogLine, LogRedactor, Severity

_FAILED = (
    "E1129 01:43:22.184014 7 model_lifecycle.cc:642] \"failed to load 'x' version 1: Internal: ValueError:"
    ' a \\"quoted\\" word\\n\\nAt:\\n  /m/1/model.py(1): <module>\\n"'
)
_OPTIONS = "I1129 01:43:25.819010 7 tritonserver.cc:2598] "
_NO_CUDA = 'E1129 01:43:21.845541 7 server.cc:241] "CudaDriverHelper has not been initialized."'
_LATE = "E1129 02:00:00.1 7 python_be.cc:1200] \"could not take b'\\x89PNG the photo'\""


def test_words_are_told_until_the_options_are_listed() -> None:
    lines = LogRedactor()
    assert lines.redact(_FAILED) == LogLine(
        Severity.ERROR,
        "model_lifecycle.cc:642",
        "failed to load 'x' version 1: Internal: ValueError: a \"quoted\" word",
    )
    lines.redact(_OPTIONS)
    assert lines.redact(_LATE) == LogLine(Severity.ERROR, "python_be.cc:1200", "")
    assert lines.redact(_FAILED) == LogLine(Severity.ERROR, "model_lifecycle.cc:642", "")


def test_a_machine_without_a_gpu_is_no_error() -> None:
    lines = LogRedactor()
    line = lines.redact(_NO_CUDA)
    assert line is not None
    assert line.severity is Severity.INFO
    assert line.words == "no GPU is used: CudaDriverHelper has not been initialized."


def test_lines_that_always_read_the_same_keep_their_words() -> None:
    lines = LogRedactor()
    lines.redact(_OPTIONS)
    line = lines.redact('E1129 01:43:25.819217 7 tritonserver.cc:2607] "Internal: failed to load all models"')
    assert line == LogLine(Severity.WARNING, "tritonserver.cc:2607", "Internal: failed to load all models")


def test_what_is_no_line_of_the_logs_own_form_is_not_told() -> None:
    lines = LogRedactor()
    for line in ("| model | READY |", "At:", "", "E1129 nothing more", "[libprotobuf ERROR x.cc:1] words"):
        assert lines.redact(line) is None


def test_lines_of_the_lowest_severity_have_no_words_and_are_not_notable() -> None:
    line = LogRedactor().redact('I1129 01:43:21.8 7 cuda_memory_manager.cc:117] "CUDA memory pool disabled"')
    assert line == LogLine(Severity.INFO, "cuda_memory_manager.cc:117", "")
    assert not line.is_notable
