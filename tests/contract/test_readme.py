# SPDX-License-Identifier: Apache-2.0
"""README and docs say what is: tables hold every option, reason and series, links lead somewhere, Python runs."""

import asyncio
import inspect
import re
from pathlib import Path

import pytest
from matting_gateway.admission.tenant_file import _KEYS, parse_tenants
from matting_gateway.configuration.settings import OPTIONS
from matting_gateway.telemetry.metrics import Metrics
from matting_gateway.triton.settings import PoolSettings
from matting_triton.local import LocalTriton
from PIL import Image
from prometheus_client import CollectorRegistry
from testkit.gateway import running_gateway
from testkit.photos import sample_photo
from testkit.reasons import TABLE

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()
PAGES = [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").rglob("*.md"))]


def page(name: str) -> str:
    return (ROOT / "docs" / f"{name}.md").read_text()


def targets(path: Path) -> list[Path]:
    """Return the files that a page links to."""
    links = re.findall(r"\]\(([^)#\s]+)", path.read_text())
    return [path.parent / link for link in links if "://" not in link]


def test_it_is_for_a_reader_with_a_minute() -> None:
    assert len(README.splitlines()) < 200
    assert len(README.split()) < 1500


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
def test_its_links_lead_to_what_is_there(path: Path) -> None:
    assert [target for target in targets(path) if not target.exists()] == []


def test_every_page_is_linked_from_another() -> None:
    linked = {target.resolve() for path in PAGES for target in targets(path)}
    assert [path.name for path in PAGES if path not in linked and path.name != "README.md"] == []


def test_every_option_is_in_the_table_with_its_variable_and_default() -> None:
    rows = {}
    for line in page("configuration").splitlines():
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
        assert re.search(rf"^\|.*`{reason}`.*\| {code} \|", page("errors"), re.MULTILINE), reason


def test_every_series_is_in_the_table() -> None:
    registry = CollectorRegistry()
    Metrics(registry)
    for family in registry.collect():
        name = family.name + ("_total" if family.type == "counter" else "")
        assert f"`{name}`" in page("metrics"), name


def test_the_file_of_tenants_is_as_the_gateway_reads_it() -> None:
    (text,) = re.findall(r"```toml\n(.*?)```", page("tenants"), re.DOTALL)
    read = parse_tenants(text)
    assert (read.names, read.problems) == (("shop", "operations"), ())
    assert all(f"\n{key} = " in text for key in _KEYS)


def test_the_shared_memory_that_the_page_on_sizing_reckons_with_is_the_most_that_is_taken() -> None:
    most_mib = inspect.signature(PoolSettings).parameters["shared_memory_bytes"].default >> 20
    assert f"at most {most_mib} MiB for each Triton" in page("production")


def blocks() -> dict[str, str]:
    return dict(re.findall(r"<!-- runs: (\w+) -->\n```python\n(.*?)```", README, re.DOTALL))


@pytest.mark.slow
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
