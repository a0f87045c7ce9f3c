# SPDX-License-Identifier: Apache-2.0
"""docs/load-testing.md says what the program does: its commands run, its tables are the code's."""

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest
from matting_client.program.parsing import DONE, FAILED, INTERRUPTED, UNREACHABLE, USAGE
from matting_load import cli
from matting_load.reports.figures import OF_AN_OUTCOME, OF_EACH_ROW, OF_THE_TEST
from testkit.fake_gateway import FakeGateway

PAGE = (Path(__file__).parents[2] / "docs" / "load-testing.md").read_text()
COMMANDS = re.findall(r"^    (matting-load .*)$", PAGE, re.MULTILINE)
# What is written last counts; the addresses and files of the page are not here.
SHORT = {
    "run": ["--constant", "--duration", "0.5", "--warmup", "0", "--settle", "0"],
    "search": ["--constant", "--trial", "0.2", "--warmup", "0", "--low", "20", "--high", "40"],
}
ELSEWHERE = ("tensors", "rembg")


@pytest.fixture
def gateway(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeGateway]:
    monkeypatch.chdir(tmp_path)
    Path("times.txt").write_text("0\n0.2\n0.3\n")
    Path("token.txt").write_text("secret")
    with FakeGateway() as server:
        yield server


def words_of(command: str, address: str) -> list[str]:
    """Return the words of a command of the page, at an address that is here, and short."""
    here = re.sub(r"--(address|tls-ca) \S+", "", command)
    words = shlex.split(here, comments=True)[1:]
    return [*words, "--address", address, "--sizes", "32x32", "-q", *SHORT[words[0]]]


def ran(words: list[str]) -> bool:
    """Run a command; a threshold of the page may come true on a busy machine."""
    return cli.main(words) in (DONE, cli.THRESHOLD)


@pytest.mark.parametrize(
    "command", [each for each in COMMANDS if each.split()[1] in SHORT and not any(other in each for other in ELSEWHERE)]
)
def test_a_command_of_the_page_runs(gateway: FakeGateway, command: str) -> None:
    assert ran(words_of(command, gateway.address))
    assert gateway.calls


def test_the_comparison_of_the_page_is_made_of_its_runs(gateway: FakeGateway) -> None:
    (compare,) = (each for each in COMMANDS if each.startswith("matting-load compare"))
    for run in (each for each in COMMANDS if "--json u2net.json" in each or "--json int8.json" in each):
        assert ran(words_of(run, gateway.address))
    assert ran(shlex.split(compare)[1:])
    assert "<title>2 runs compared: u2net, u2net-int8</title>" in Path("compared.html").read_text()


def test_every_option_of_the_page_is_one(capsys: pytest.CaptureFixture[str]) -> None:
    helps = ""
    for command in ("run", "search", "compare", "limit"):
        with pytest.raises(SystemExit):
            cli.main([command, "--help"])
        helps += capsys.readouterr().out
    for option in set(re.findall(r"--[a-z][a-z0-9-]+", PAGE)):
        assert re.search(rf"{option}\b", helps), option


def test_every_figure_is_in_the_table() -> None:
    table = "\n".join(line for line in PAGE.splitlines() if line.startswith("| `"))
    named = set(re.findall(r"`([a-z0-9_]+|OUTCOME_[a-z0-9_]+)`", table.replace("`late_count`", "")))
    assert named == {*OF_EACH_ROW, *OF_THE_TEST, *(f"OUTCOME_{each}" for each in OF_AN_OUTCOME)}


def test_every_exit_code_is_in_the_table() -> None:
    codes = {int(code) for code in re.findall(r"^\| (\d+) \|", PAGE, re.MULTILINE)}
    assert codes == {DONE, FAILED, USAGE, UNREACHABLE, cli.THRESHOLD, INTERRUPTED}


def test_its_python_runs(gateway: FakeGateway) -> None:
    (code,) = re.findall(r"<!-- runs: load -->\n```python\n(.*?)```", PAGE, re.DOTALL)
    exec(code.replace("127.0.0.1:50051", gateway.address).replace("1600", "32"), {})  # noqa: S102  # the page's own
    assert "<svg" in Path("report.html").read_text()
