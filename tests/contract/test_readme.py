# SPDX-License-Identifier: Apache-2.0
"""README says what is: its tables hold every option, reason and series, and its Python runs."""

import asyncio
import re
from pathlib import Path

import pytest
from matting_gateway.settings import OPTIONS
from matting_gateway.telemetry.metrics import Metrics
from matting_triton.local import LocalTriton
from PIL import Image
from prometheus_client import CollectorRegistry
from testkit.gateway import running_gateway
from testkit.photos import sample_photo
from testkit.reasons import TABLE

README = (Path(__file__).parents[2] / "README.md").read_text()


def test_every_option_is_in_the_table_with_its_variable_and_default() -> None:
    rows = {}
    for line in README.splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if len(cells) == 4 and cells[0].startswith("`--"):
            rows[cells[0].strip("`")] = cells
    assert set(rows) == {option.flag for option in OPTIONS}
    for option in OPTIONS:
        assert rows[option.flag][1] == f"`{option.variable}`"
        assert rows[option.flag][3].startswith(option.help)
        default = option.default()
        if isinstance(default, bool):
            assert rows[option.flag][2] == ("on" if default else "off")
        elif isinstance(default, int | float):
            assert float(rows[option.flag][2]) == default


def test_every_reason_is_in_the_table_with_its_code() -> None:
    for reason, code in TABLE.items():
        assert re.search(rf"^\|.*`{reason}`.*\| {code} \|", README, re.MULTILINE), reason


def test_every_series_is_in_the_table() -> None:
    registry = CollectorRegistry()
    Metrics(registry)
    for family in registry.collect():
        name = family.name + ("_total" if family.type == "counter" else "")
        assert f"`{name}`" in README, name


def blocks() -> dict[str, str]:
    return dict(re.findall(r"<!-- runs: (\w+) -->\n```python\n(.*?)```", README, re.DOTALL))


@pytest.mark.triton
@pytest.mark.parametrize("name", sorted(blocks()))
async def test_its_python_runs(
    name: str, triton_server: LocalTriton, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Image.fromarray(sample_photo(320, 240)).save("cat.jpg")
    async with running_gateway(triton_server.grpc_address, default_model="nothing") as running:
        code = blocks()[name].replace("127.0.0.1:50051", running.address).replace('"u2net"', '"nothing"')
        await asyncio.to_thread(exec, code, {})
    if name == "client":
        assert (tmp_path / "cat-cutout.png").stat().st_size > 0
