# SPDX-License-Identifier: Apache-2.0
import contextlib
import hashlib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from matting_gateway.admission.tenant_file import Tenant, TenantProblem, parse_tenants, tenants_from_file
from matting_gateway.reloading.watched_files import WatchedFileError
from testkit.manual_clock import ManualClock


def digest(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()


WHOLE = f"""
# Who may call.
[[tenant]]
name = "shop"
token_sha256 = ["{digest("one")}", "{digest("two")}"]
certificate_names = ["shop.internal"]
models = ["u2net", "fast"]
requests_per_second = 50
megapixels_per_second = 200.5
bytes_in_flight = 268435456
share = 2.0
operator = true

[[tenant]]   # the least there can be
name = "b"
certificate_names = ["b.internal", "b2.internal"]
"""


def test_everything_that_can_be_said_of_a_tenant_is_read() -> None:
    directory = parse_tenants(WHOLE)
    assert directory.problems == ()
    assert directory.by_token("one") == Tenant(
        "shop", frozenset({"u2net", "fast"}), 50.0, 200.5, 268435456, 2.0, operator=True
    )
    assert directory.by_certificate_names(["b2.internal"]) == Tenant("b")


def test_each_of_several_tokens_is_the_tenants() -> None:
    directory = parse_tenants(WHOLE)
    assert directory.by_token("one") is directory.by_token("two")


@pytest.mark.parametrize("token", ["", "three", "One", "one ", digest("one"), "x" * 5000])
def test_no_other_token_is_anybodys(token: str) -> None:
    assert parse_tenants(WHOLE).by_token(token) is None


def test_the_first_name_that_is_a_tenants_counts() -> None:
    directory = parse_tenants(WHOLE)
    found = directory.by_certificate_names(["stranger", "b.internal", "shop.internal"])
    assert found is not None
    assert found.name == "b"
    assert directory.by_certificate_names(["stranger"]) is None


def test_no_model_list_means_every_model() -> None:
    assert Tenant("a").may_use("anything")
    assert not Tenant("a", models=frozenset()).may_use("anything")


@pytest.mark.parametrize(
    ("wrong", "problem"),
    [
        ('name = "bad name"', "needs a name of 1 to 64"),
        ("name = 7", "needs a name of 1 to 64"),
        ('certificate_names = ["x"]', "needs a name of 1 to 64"),
        ('name = "x"', "has neither token_sha256 nor certificate_names"),
        ('name = "x"\ntoken_sha256 = ["hunter2"]', "must be SHA-256 digests"),
        ('name = "x"\ntoken_sha256 = "abc"', "token_sha256 must be a list of strings"),
        ('name = "x"\ncertificate_names = [""]', "certificate_names must be a list of strings"),
        ('name = "x"\nmodels = [1]', "models must be a list of strings"),
        ('name = "x"\nrequests_per_second = 0', "requests_per_second must be a number over 0"),
        ('name = "x"\nrequests_per_second = true', "requests_per_second must be a number over 0"),
        ('name = "x"\nmegapixels_per_second = -1', "megapixels_per_second must be a number over 0"),
        ('name = "x"\nmegapixels_per_second = inf', "megapixels_per_second must be a number over 0"),
        ('name = "x"\nbytes_in_flight = "many"', "bytes_in_flight must be a number over 0"),
        ('name = "x"\nshare = nan', "share must be a number over 0"),
        ('name = "x"\noperator = 1', "operator must be true or false"),
        ('name = "x"\nrequests_per_secnd = 1', "unknown key requests_per_secnd"),
        ('name = "x\nshare = 1', "is not TOML"),
        ("= = =", "is not TOML"),
        ('name = "shop"\ncertificate_names = ["y"]', "shares its name"),
        (f'name = "x"\ntoken_sha256 = ["{digest("two")}"]', "shares its name, a token"),
        ('name = "x"\ncertificate_names = ["b.internal"]', "shares its name, a token or a certificate"),
    ],
)
def test_a_wrong_tenant_is_left_out_with_its_line_and_the_rest_goes_on(wrong: str, problem: str) -> None:
    directory = parse_tenants(f'{WHOLE}\n[[tenant]]\n{wrong}\n[[tenant]]\nname = "c"\ncertificate_names = ["c"]\n')
    (found,) = directory.problems
    assert problem in found.problem
    assert found.line == WHOLE.count("\n") + 2
    assert directory.names == ("shop", "b", "c")


def test_a_problem_never_quotes_a_token() -> None:
    directory = parse_tenants('[[tenant]]\nname = "x"\ntoken_sha256 = ["hunter2"]\n[[tenant]]\ntoken = "hunter2\n')
    assert len(directory.problems) == 2
    assert "hunter2" not in repr(directory.problems)
    assert "hunter2" not in repr(directory)


def test_a_setting_before_the_first_tenant_is_refused() -> None:
    with pytest.raises(ValueError, match="Line 2 stands before the first"):
        parse_tenants('# fine\nname = "x"\n')


def test_an_empty_file_names_nobody() -> None:
    assert parse_tenants("# nobody yet\n").names == ()


@pytest.mark.slow
@given(st.text())
def test_any_text_is_read_or_refused(text: str) -> None:
    with contextlib.suppress(ValueError):
        parse_tenants(text)


@pytest.mark.slow
@given(st.text())
def test_any_text_after_a_tenant_leaves_that_tenant_alone(text: str) -> None:
    """Unless it goes on inside the tenant's own table, as text before the next header does."""
    assert "shop" in parse_tenants(f"{WHOLE}\n[[tenant]]\n{text}").names


def test_the_file_reloads_and_tells_of_its_problems(tmp_path: Path) -> None:
    path, clock, problems = tmp_path / "tenants.toml", ManualClock(), list[str]()
    path.write_text(WHOLE)
    file = tenants_from_file(path, clock=clock, on_problem=problems.append)
    assert file.value().names == ("shop", "b")
    path.write_text(WHOLE + '[[tenant]]\nname = "c"\n')
    clock.advance(2)
    assert file.value().names == ("shop", "b")
    (problem,) = problems
    assert problem.startswith(f"tenants.toml, line {WHOLE.count(chr(10)) + 1}: the tenant has neither token_sha256 nor")


def test_a_file_that_is_no_text_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "tenants.toml"
    path.write_bytes(b"\xff\xfe")
    with pytest.raises(WatchedFileError, match="not UTF-8"):
        tenants_from_file(path, clock=ManualClock()).value()


def test_a_line_number_is_part_of_the_problem() -> None:
    assert parse_tenants("[[tenant]]\n").problems == (TenantProblem(1, "needs a name of 1 to 64 of A-Z a-z 0-9 . _ -"),)
