# SPDX-License-Identifier: Apache-2.0
"""The catalogue: pinned whole, fetched over HTTPS and from nowhere else, known by hash, told at the terminal."""

import hashlib
import http.server
import re
import ssl
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from click.testing import CliRunner
from matting_models.cli import models
from matting_models.commands import add as adding
from matting_models.commands.add import Added, AddRequest, add
from matting_models.errors import DownloadError, HashMismatchError, RecipeError
from matting_models.recipes.presets import PRESETS
from matting_models.recipes.recipe import Normalise
from matting_models.repository.config_reader import read_config
from matting_models.repository.origin import read_origin
from matting_models.repository.repository import Repository
from matting_models.sources import download as downloading
from matting_models.sources.catalogue import CATALOGUE, CatalogueModel, Places, original_of
from matting_models.sources.download import download
from testkit import tiny_networks as tiny
from testkit.certificates import Authority

AddNet = Callable[..., Added]
CONTENT = b"the weights of a model" * 50


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


@pytest.mark.parametrize("model", CATALOGUE.values(), ids=lambda model: model.name)
def test_each_model_is_pinned_by_size_and_hash_and_comes_from_one_place(model: CatalogueModel) -> None:
    assert re.fullmatch("[0-9a-f]{64}", model.sha256)
    assert re.fullmatch("[0-9a-f]{32}|", model.md5)
    assert 1_000_000 < model.size_bytes < downloading.LARGEST_MODEL_BYTES
    assert (model.wheel is None) is model.url.startswith("https://")
    assert model.preset in PRESETS
    assert model.about


def test_the_dozen_that_people_use_are_there_each_by_a_hash_of_its_own() -> None:
    wanted = {"u2net", "u2netp", "silueta", "isnet-general-use", "birefnet-general-lite", "bria-rmbg", "ben2"}
    assert wanted <= set(CATALOGUE)
    assert len(CATALOGUE) >= 12
    assert len({model.sha256 for model in CATALOGUE.values()}) == len(CATALOGUE)
    assert CATALOGUE["u2netp"].sha256 == "309c8469258dda742793dce0ebea8e6dd393174f89934733ecc8b14c76f4ddd8"
    assert CATALOGUE["u2netp"].size_bytes == 4_574_861


def test_the_command_tells_what_can_be_had_with_licence_size_and_hash() -> None:
    told = CliRunner().invoke(models, ["catalogue"])
    assert told.exit_code == 0
    for model in CATALOGUE.values():
        assert model.name in told.output
        assert model.sha256 in told.output
        assert PRESETS[model.preset].license in told.output
    assert "NOT for commercial use" in told.output
    imagenet = "- 0.485, 0.456, 0.406 / 0.229, 0.224, 0.225; answers through"
    assert f"320x320 pixels (stretch) / its own maximum {imagenet} min-max" in told.output
    assert f"1024x1024 pixels (stretch) / 255 {imagenet} sigmoid" in told.output


@dataclass(frozen=True)
class Site:
    """An HTTPS server on loopback that counts what it was asked."""

    address: str
    trust: ssl.SSLContext
    asked: list[str]


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    asked: list[str] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            if self.path == "/elsewhere":
                self.send_response(302)
                self.send_header("Location", "http://127.0.0.1:9/model.onnx")
                self.end_headers()
            elif self.path == "/missing":
                self.send_error(404)
            else:
                self.send_response(200)
                if self.path != "/endless":
                    self.send_header("Content-Length", str(len(CONTENT)))
                self.end_headers()
                self.wfile.write(CONTENT)

        def log_message(self, *_: object) -> None:
            """Nothing is logged."""

    authority = Authority()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*authority.issue("localhost").write(tmp_path, "server"))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.socket = context.wrap_socket(server.socket, server_side=True)
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        trust = ssl.create_default_context(cadata=authority.certificate.decode())
        yield Site(f"https://localhost:{server.server_address[1]}", trust, asked)
        server.shutdown()
        thread.join()


def fetch(site: Site, path: str, target: Path, **options: object) -> None:
    chosen = {"sha256": sha256(CONTENT), "tls": site.trust, **options}
    download(site.address + path, target, print, **chosen)  # type: ignore[arg-type]  # options of the test


def test_a_file_is_fetched_over_https_and_checked(site: Site, tmp_path: Path) -> None:
    fetch(site, "/model.onnx", tmp_path / "model.onnx")
    assert (tmp_path / "model.onnx").read_bytes() == CONTENT


@pytest.mark.parametrize(
    ("path", "options", "kind", "expected"),
    [
        ("/model.onnx", {"sha256": "0" * 64}, HashMismatchError, "expected 0000"),
        ("/model.onnx", {"md5": "0" * 32}, HashMismatchError, "another file than its publisher's"),
        ("/model.onnx", {"max_bytes": len(CONTENT) - 1}, DownloadError, "larger than"),
        ("/endless", {"max_bytes": len(CONTENT) - 1}, DownloadError, "larger than"),
        ("/elsewhere", {}, DownloadError, "HTTPS only, redirections included"),
        ("/missing", {}, DownloadError, "could not be downloaded: Not Found"),
        ("/model.onnx", {"tls": None}, DownloadError, "CERTIFICATE_VERIFY_FAILED"),
    ],
)
def test_what_is_not_the_file_meant_leaves_nothing(
    path: str, options: dict[str, object], kind: type[Exception], expected: str, site: Site, tmp_path: Path
) -> None:
    with pytest.raises(kind, match=expected):
        fetch(site, path, tmp_path / "out" / "model.onnx", **options)
    assert not list((tmp_path / "out").glob("*"))


@pytest.mark.parametrize(
    "url", ["http://localhost/model.onnx", "file:///etc/passwd", "ftp://localhost/m", "https:///m"]
)
def test_no_other_way_than_https_is_gone(url: str, tmp_path: Path) -> None:
    with pytest.raises(DownloadError, match="https:// address"):
        download(url, tmp_path / "m", print, sha256="0" * 64)


@pytest.mark.slow
def test_an_address_is_added_by_its_hash_and_the_second_time_from_the_cache(
    tmp_path: Path, repository: Repository, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = tiny.isnet().save(tmp_path / "source.onnx").read_bytes()
    fetched: list[str] = []

    def fake(url: str, target: Path, _say: object, **options: str) -> None:
        assert options["sha256"] == sha256(content)
        fetched.append(url)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(content)

    monkeypatch.setattr(adding, "download", fake)
    url = "https://models.example/files/portrait.onnx?version=3"
    for name in ("portrait", "again"):
        request = AddRequest(url, name="" if name == "portrait" else name, preset="isnet", sha256=sha256(content))
        added = add(request, repository, Places(tmp_path / "cache"), print)
        assert added.name == name
    assert fetched == [url]


@pytest.mark.parametrize("given", ["", "abc", "g" * 64])
def test_an_address_without_a_whole_hash_is_refused(given: str, repository: Repository, tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="--sha256"):
        add(AddRequest("https://models.example/m.onnx", sha256=given), repository, Places(tmp_path), print)


@pytest.fixture
def known(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> CatalogueModel:
    """A catalogue with one model of which nothing but the hash tells the licence: IS-Net's shape, RMBG's terms."""
    content = tiny.isnet(output_count=1).save(tmp_path / "known.onnx").read_bytes()
    model = CatalogueModel(
        "known", "rmbg-1.4", "known.onnx", sha256(content), len(content), url="https://127.0.0.1:9/known.onnx"
    )
    monkeypatch.setitem(CATALOGUE, "known", model)
    return model


def test_a_file_of_a_known_hash_needs_no_preset(known: CatalogueModel, repository: Repository, tmp_path: Path) -> None:
    told: list[str] = []
    request = AddRequest(str(tmp_path / known.file_name), name="entry")
    add(request, repository, Places(tmp_path / "cache"), told.append)
    assert any(line.startswith("this is known") for line in told)
    assert read_config(repository.config_path("entry")).noncommercial
    assert read_origin(repository.version_folder("entry", 1)).recipe.normalise is Normalise.MIN_MAX


def test_a_preset_that_the_hash_contradicts_is_refused(
    known: CatalogueModel, repository: Repository, tmp_path: Path
) -> None:
    request = AddRequest(str(tmp_path / known.file_name), name="entry", preset="isnet")
    with pytest.raises(RecipeError, match=r"by its hash this is known, of the family rmbg-1\.4"):
        add(request, repository, Places(tmp_path), print)


def test_a_model_that_cannot_be_reached_says_how_to_bring_it(known: CatalogueModel, tmp_path: Path) -> None:
    with pytest.raises(DownloadError, match="add it as a file"):
        original_of(known, Places(tmp_path / "empty"), print)
