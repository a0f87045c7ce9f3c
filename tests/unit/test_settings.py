# SPDX-License-Identifier: Apache-2.0
"""Facts about settings: one table, every problem at once, nothing silently out of range."""

from pathlib import Path

import pytest
from click.testing import CliRunner
from matting_gateway.cli import main
from matting_gateway.configuration.settings import OPTIONS, Settings
from matting_gateway.imaging.formats import ImageFormat
from matting_gateway.triton.settings import SharedMemoryUse
from testkit.settings import SettingsError, build_settings

REPOSITORY = {"repository": Path(__file__).parent}


def test_nothing_given_makes_the_defaults() -> None:
    assert build_settings(REPOSITORY) == build_settings({**REPOSITORY, "triton": (), "listen": None})
    assert build_settings(REPOSITORY).listen == Settings().listen


def test_flags_names_and_paths_are_unique() -> None:
    for values in ([o.flag for o in OPTIONS], [o.variable for o in OPTIONS], [o.path for o in OPTIONS]):
        assert len(values) == len(set(values))


def test_every_option_reaches_the_field_it_names() -> None:
    settings = build_settings(
        {
            **REPOSITORY,
            "max_pixels": 1000,
            "max_encoded_mib": 3,
            "memory_budget_mib": 7,
            "formats": "png, jpeg",
            "triton_shared_memory": "off",
            "tls_certificate": Path("a.pem"),
            "tls_key": Path("b.pem"),
        }
    )
    assert settings.imaging.limits.max_pixels == settings.door.max_pixels == 1000
    assert settings.imaging.limits.max_encoded_bytes == 3 << 20
    assert settings.gate.budget_bytes == 7 << 20
    assert settings.imaging.formats == frozenset({ImageFormat.PNG, ImageFormat.JPEG})
    assert settings.pool.shared_memory is SharedMemoryUse.OFF
    assert settings.tls is not None
    assert settings.tls.client_ca_file is None


def test_all_problems_are_told_at_once_by_their_flags() -> None:
    with pytest.raises(SettingsError) as refused:
        build_settings(
            {
                "repository": Path("/no/such/folder"),
                "formats": "jpeg,svg",
                "max_pixels": 0,
                "default_deadline_s": -1.0,
                "tls_key": Path("b.pem"),
                "listen": ("0.0.0.0:50051",),
            }
        )
    text = "\n".join(refused.value.problems)
    for part in ("--repository", "--formats", "max_pixels", "--default-deadline-s", "--tls-certificate", "0.0.0.0"):
        assert part in text


@pytest.mark.parametrize("address", ["0.0.0.0:50051", "[::]:50051", "10.0.0.5:50051", "gateway.internal:50051"])
def test_listening_on_a_network_without_tls_is_refused_unless_named(address: str) -> None:
    with pytest.raises(SettingsError):
        build_settings({**REPOSITORY, "listen": (address,)})
    assert build_settings({**REPOSITORY, "listen": (address,), "allow_plaintext": (address,)}).listen == (address,)


def test_a_plaintext_hop_to_a_remote_triton_is_refused_unless_named() -> None:
    with pytest.raises(SettingsError):
        build_settings({"triton": ("triton.internal:8001",)})
    assert build_settings({"triton": ("triton.internal:8001",), "allow_plaintext": ("triton.internal:8001",)}).triton


def test_help_shows_every_flag_with_its_variable_and_default() -> None:
    result = CliRunner().invoke(main, ["serve", "--help"], terminal_width=200)
    assert result.exit_code == 0
    for option in OPTIONS:
        assert option.flag in result.output
        assert option.variable in result.output
    assert "127.0.0.1:50051" in result.output


def test_a_problem_ends_the_program_with_a_clear_text() -> None:
    result = CliRunner(env={"MATTING_MAX_PIXELS": "-5"}).invoke(main, ["serve", "--triton", "127.0.0.1:1"])
    assert result.exit_code == 1
    assert "max_pixels must be at least 1" in result.output
