# SPDX-License-Identifier: Apache-2.0
"""`matting-gateway tenants token` makes what callers show and what the file of tenants has of it."""

from click.testing import CliRunner
from matting_gateway.admission.tenant_file import parse_tenants
from matting_gateway.cli import main


def test_the_token_that_it_makes_is_known_by_the_line_that_it_makes() -> None:
    first, second = (CliRunner().invoke(main, ["tenants", "token"]) for _ in range(2))
    assert (first.exit_code, second.exit_code) == (0, 0)
    caller, file = first.output.splitlines()
    token, line = caller.split()[-1], file.partition(":")[2].strip()
    found = parse_tenants(f'[[tenant]]\nname = "shop"\n{line}\n').by_token(token)
    assert found is not None
    assert found.name == "shop"
    assert token not in second.output
