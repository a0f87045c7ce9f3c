# SPDX-License-Identifier: Apache-2.0
"""The whole proof, short: the same code as `python -m privacy_proof`, on a small model and fewer photos."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from testkit.first_channel import NAME, write_first_channel

from privacy_proof import system_calls
from privacy_proof.findings import Finding, Verdict, exit_code, finding, not_shown, table
from privacy_proof.processes import data_policy
from privacy_proof.service import started_service

TESTS = Path(__file__).parents[1]
PLANTED = Path(__file__).parent / "planted"


def test_a_table_says_what_was_kept_broken_and_not_shown() -> None:
    findings = [finding("a", "1", kept=True), finding("bb", "2", kept=False), not_shown("c", "3")]
    assert table(findings).splitlines() == [
        "kept       a   1",
        "BROKEN     bb  2",
        "not shown  c   3",
        "",
        "1 kept, 1 BROKEN, 1 not shown",
    ]


@pytest.mark.parametrize(
    ("verdicts", "code"),
    [
        ([Verdict.KEPT], 0),
        ([Verdict.KEPT, Verdict.BROKEN], 1),
        ([Verdict.KEPT, Verdict.NOT_SHOWN], 1),
        ([], 1),
    ],
)
def test_only_what_was_shown_in_full_is_a_proof(verdicts: list[Verdict], code: int) -> None:
    assert exit_code([Finding("p", "m", verdict) for verdict in verdicts]) == code


@pytest.mark.triton
@pytest.mark.usefixtures("triton_runtime")
def test_every_promise_is_kept(tmp_path: Path) -> None:
    """Needs root or CAP_SYS_PTRACE and strace: without them this fails and says so, rather than pass."""
    repository = write_first_channel(tmp_path)
    options = ["--count", "24", "--", "--repository", str(repository), "--default-model", NAME]
    result = subprocess.run(
        [sys.executable, "-m", "privacy_proof", *options],
        env={**os.environ, "PYTHONPATH": str(TESTS)},
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert result.returncode == 0, result.stdout + result.stderr


def test_the_proof_of_no_writes_fails_when_a_write_is_planted_in_the_gateway(tmp_path: Path) -> None:
    """With confinement the write does not come about, and the attempt is still seen."""
    environment = {"PYTHONPATH": str(PLANTED), "PLANTED_FOLDER": str(tmp_path)}
    prefix = system_calls.command(tmp_path)
    arguments = ("--triton", "127.0.0.1:1")
    with started_service(*arguments, prefix=prefix, environment=environment, wait_backend=False) as service:
        assert data_policy(service).version
        os.kill(service.pid, signal.SIGUSR1)
        assert data_policy(service).version
    found = [v for v in system_calls.violations(tmp_path, since_s=0) if "planted" in v.target]
    assert found
    assert "192.0.2.1" in {v.target for v in system_calls.violations(tmp_path, since_s=0)}
