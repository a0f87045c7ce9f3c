# SPDX-License-Identifier: Apache-2.0
"""Flags go before variables and these before the file; everything wrong is named at once, with where it was given."""

import datetime as dt
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from matting_gateway.cli import main
from matting_gateway.configuration.settings import OPTIONS
from matting_gateway.configuration.sources import Configuration, configuration, deeper_problems
from matting_gateway.telemetry.log_lines import LogFormat
from testkit.certificates import Authority
from testkit.manual_clock import ManualClock

DAY = dt.timedelta(days=1)
HERE = {"repository": str(Path(__file__).parent)}


def read(text: str, folder: Path, flags: dict[str, object] | None = None, **environ: str) -> Configuration:
    file = folder / "gateway.toml"
    file.write_text(text)
    return configuration({**HERE, **(flags or {})}, environ, file, clock=ManualClock())


def run(*arguments: str, **environ: str) -> Result:
    return CliRunner(env=environ).invoke(main, arguments)


def test_a_flag_goes_before_a_variable_and_that_before_the_file(tmp_path: Path) -> None:
    text = "max-pixels = 1\nmax-side-px = 1\nmax-streams = 7\n"
    told = read(text, tmp_path, {"max_pixels": "3"}, MATTING_MAX_PIXELS="2", MATTING_MAX_SIDE_PX="2")
    assert told.problems == ()
    limits = told.settings.imaging.limits
    assert (limits.max_pixels, limits.max_side_px, told.settings.door.max_stream_count) == (3, 2, 7)


def test_the_file_has_the_types_of_toml(tmp_path: Path) -> None:
    text = """
    listen = ["127.0.0.1:1", "unix:/run/x"]
    triton = "127.0.0.1:8001"
    drain-timeout-s = 3
    allow-animated = true
    log-format = "text"
    """
    told = read(text, tmp_path)
    assert told.problems == ()
    settings = told.settings
    assert settings.listen == ("127.0.0.1:1", "unix:/run/x")
    assert settings.triton == ("127.0.0.1:8001",)
    assert settings.drain_timeout_s == 3.0
    assert settings.imaging.allow_animated
    assert settings.log_format is LogFormat.TEXT


def test_several_addresses_in_a_variable_are_separated_by_spaces(tmp_path: Path) -> None:
    told = read("", tmp_path, MATTING_LISTEN="127.0.0.1:1 127.0.0.1:2")
    assert told.settings.listen == ("127.0.0.1:1", "127.0.0.1:2")


PROBLEMS = {
    "max-pixels = 'many'": "gateway.toml:1: max-pixels: expected a whole number, not 'many'",
    "max-pixels = 1.5": "gateway.toml:1: max-pixels: expected a whole number, not 1.5",
    "max-pixels = true": "gateway.toml:1: max-pixels: expected a whole number, not True",
    "allow-animated = 'yes please'": "gateway.toml:1: allow-animated: expected true or false, not 'yes please'",
    "\n# a comment\nlisten = [1]": "gateway.toml:3: listen: expected a text or a list of texts, not [1]",
    "max-pixls = 1": "gateway.toml:1: max-pixls: there is no such option; did you mean max-pixels?",
    "\n[imaging]\nworkers = 1": "gateway.toml:2: imaging: there is no such option",
    "imaging-workers = -1": "gateway.toml:1: imaging-workers: worker_count must be 0",
    "memory-budget-mib = 0": "gateway.toml:1: memory-budget-mib: must be above 0, not 0",
    "max-message-mib = 2048": "gateway.toml:1: max-message-mib: must be below 2048",
    "log-format = 'xml'": "gateway.toml:1: log-format: expected one of auto, json, text, not 'xml'",
    "listen = 'banana'": "gateway.toml:1: listen: 'banana' is no address: expected HOST:PORT",
    "listen = '::1:50051'": "write an IPv6 address in brackets, as in [::1]:50051",
    "listen = ['127.0.0.1:7', '127.0.0.1:7']": "127.0.0.1:7 is listened on twice",
    "triton = '127.0.0.1:0'": "gateway.toml:1: triton: '127.0.0.1:0' is no address",
    "metrics-listen = 'unix:/x'": "gateway.toml:1: metrics-listen: 'unix:/x' is no address here",
    "tls-key = '/no/key.pem'": "gateway.toml:1: tls-key: --tls-certificate must be given too",
    "tenants = '/no/tenants.toml'": "gateway.toml:1: tenants: /no/tenants.toml cannot be read: No such file",
    "triton-tls-ca = '/no/ca.pem'": "gateway.toml:1: triton-tls-ca: /no/ca.pem cannot be read: No such file",
    "no toml": "gateway.toml: Expected '=' after a key in a key/value pair (at line 1, column 4)",
}


@pytest.mark.parametrize(("text", "told"), PROBLEMS.items(), ids=range(len(PROBLEMS)))
def test_what_is_wrong_in_a_file_is_told_with_its_line(text: str, told: str, tmp_path: Path) -> None:
    (problem,) = read(text, tmp_path).problems
    assert told in problem


def test_everything_wrong_is_told_at_once_each_with_where_it_was_given(tmp_path: Path) -> None:
    told = read(
        "max-pixls = 1\nformats = 'svg'\n",
        tmp_path,
        {"listen": ("banana",), "imaging_workers": "-3", "tls_certificate": "/no/crt.pem", "tls_key": "/no/key.pem"},
        MATTING_MAX_CALLS="0",
        MATTING_SCRUB_MEMORY="maybe",
    )
    origins = ["gateway.toml:1", "gateway.toml:2", "--listen", "--imaging-workers", "--tls-certificate, --tls-key"]
    origins += ["MATTING_MAX_CALLS", "MATTING_SCRUB_MEMORY"]
    assert len(told.problems) == len(origins)
    for origin in origins:
        assert sum(origin in problem for problem in told.problems) == 1, origin


def test_a_file_that_is_not_there_is_told_with_the_rest() -> None:
    told = configuration({"max_calls": "0"}, HERE, Path("/no/gateway.toml"), clock=ManualClock())
    assert told.problems[0] == "--config /no/gateway.toml: cannot be read: No such file or directory"
    assert any("--max-calls" in problem for problem in told.problems)


def test_every_option_has_a_key_of_its_own() -> None:
    assert len({option.key for option in OPTIONS}) == len(OPTIONS)


def test_a_check_tells_what_is_good_and_starts_nothing(tmp_path: Path) -> None:
    told = run("serve", "--check", "--triton", "127.0.0.1:8001")
    assert told.exit_code == 0
    assert "the configuration is good" in told.output


def test_a_check_tells_of_expired_certificates_left_out_tenants_and_a_missing_model(tmp_path: Path) -> None:
    old = Authority().issue("gateway", starts=-3 * DAY, ends=-DAY)
    certificate, key = old.write(tmp_path, "old")
    tenants = tmp_path / "tenants.toml"
    tenants.write_text('[[tenant]]\nname = "shop"\nnonsense = 1\n')
    (tmp_path / "repository" / "isnet").mkdir(parents=True)
    (tmp_path / "repository" / "isnet" / "config.pbtxt").write_text("")
    told = run(
        *("serve", "--check", "--tls-certificate", str(certificate), "--tls-key", str(key)),
        *("--tenants", str(tenants), "--repository", str(tmp_path / "repository")),
    )
    assert told.exit_code == 1
    assert "old.crt: a certificate in it has expired" in told.output
    assert "tenants.toml, line 1: the tenant" in told.output
    assert "--default-model u2net" in told.output
    assert "there: isnet" in told.output


def test_nothing_deeper_is_wrong_with_a_gateway_before_a_triton(tmp_path: Path) -> None:
    told = read("triton = '127.0.0.1:8001'", tmp_path)
    assert deeper_problems(told.settings, clock=ManualClock()) == ()


def test_the_configuration_file_can_be_named_by_a_variable(tmp_path: Path) -> None:
    (tmp_path / "gateway.toml").write_text("max-calls = 0")
    told = run("serve", "--triton", "127.0.0.1:1", MATTING_CONFIG=str(tmp_path / "gateway.toml"))
    assert told.exit_code == 1
    assert "gateway.toml:1: max-calls: must be above 0" in told.output


def test_the_version_is_told() -> None:
    told = run("--version")
    assert told.exit_code == 0
    assert "version" in told.output
