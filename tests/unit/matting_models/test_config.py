# SPDX-License-Identifier: Apache-2.0
"""`config.pbtxt`: what is written is read back, and what others wrote is read or refused with its line."""

import contextlib
import string
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from matting_models.errors import ConfigBrokenError, EntryNotFoundError
from matting_models.recipes.recipe import Fit
from matting_models.repository.config import Accelerator, EntryConfig, render
from matting_models.repository.config_reader import is_ours, read_config

words = st.text(string.ascii_letters + string.digits + " _-.\"'\\é", min_size=1, max_size=12)
sides = st.one_of(st.just((-1, -1)), st.tuples(st.integers(16, 4096), st.integers(16, 4096)))


@st.composite
def entries(draw: st.DrawFn) -> EntryConfig:
    chosen = draw(sides)
    on_gpu = draw(st.booleans())
    name = draw(st.sampled_from(["tensorrt", "openvino"]))
    accelerator = draw(
        st.none() | st.builds(Accelerator, st.just(name), st.just(on_gpu), st.dictionaries(words, words))
    )
    warmups = draw(st.sampled_from([(), (1,), (1, 8)]))
    return EntryConfig(
        name=draw(words),
        sides_px=chosen,
        max_batch_size=draw(st.integers(0, 64)),
        fit=draw(st.sampled_from(Fit)),
        multiple_px=draw(st.integers(1, 64)),
        license=draw(words),
        noncommercial=draw(st.booleans()),
        engine=draw(words),
        precision=draw(words),
        accelerator=accelerator,
        on_gpu=on_gpu,
        instance_count=draw(st.integers(1, 8)),
        kept_version_count=draw(st.integers(1, 5)),
        warmup_batch_sizes=warmups,
        warmup_sides_px=(512, 640) if -1 in chosen and warmups else chosen,
        stand_in=draw(st.just("") | words),
        top_left=draw(st.booleans()),
        extra_parameters={"matting_size": "640x512"} if -1 in chosen else {},
    )


@pytest.mark.slow
@given(entries())
def test_what_is_written_is_read_back(tmp_path_factory: pytest.TempPathFactory, entry: EntryConfig) -> None:
    path = tmp_path_factory.mktemp("entry") / "config.pbtxt"
    path.write_text(render(entry), encoding="utf-8")
    assert read_config(path) == entry
    assert is_ours(path, entry)


@pytest.mark.slow
@given(st.text(max_size=80))
def test_any_text_is_read_or_refused(tmp_path_factory: pytest.TempPathFactory, text: str) -> None:
    path = tmp_path_factory.mktemp("entry") / "config.pbtxt"
    path.write_text(text, encoding="utf-8")
    with contextlib.suppress(ConfigBrokenError):
        read_config(path)


def test_the_ways_protobuf_text_may_be_written(tmp_path: Path) -> None:
    path = tmp_path / "config.pbtxt"
    path.write_text("""
    # a comment
    name: 'it''s' "joined";  max_batch_size: 0x08,
    input < name: "image" data_type: TYPE_UINT8 dims: 32, dims: 48, dims: 3 >
    output: [ { name: "alpha" data_type: 2 dims: [32, 48] } ]
    of_a_newer_triton { flag: true }
    """)
    config = read_config(path)
    assert (config.name, config.max_batch_size, config.sides_px) == ("itsjoined", 8, (32, 48))
    assert not is_ours(path, config)


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("name: ", 1),
        ("name\n: }", 2),
        ("input {\n name: 'a'\n", 2),
        ("name: 'a'\n\n]", 3),
        ('name: "open', 1),
        ("input: [1 2]", 1),
        ("name 5", 1),
    ],
)
def test_what_is_broken_is_named_by_its_line(text: str, line: int, tmp_path: Path) -> None:
    path = tmp_path / "config.pbtxt"
    path.write_text(text)
    with pytest.raises(ConfigBrokenError, match=f"line {line}"):
        read_config(path)


def test_messages_nested_without_end_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "config.pbtxt"
    path.write_text("a {" * 10_000)
    with pytest.raises(ConfigBrokenError, match="nested"):
        read_config(path)


def entry() -> EntryConfig:
    return EntryConfig(
        name="e", sides_px=(32, 32), max_batch_size=4, fit=Fit.STRETCH, multiple_px=1, license="MIT",
        noncommercial=False, engine="openvino", precision="auto", accelerator=None,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("was", "becomes", "expected"),
    [
        ('"image"', '"pixels"', "one, image"),
        ("[32, 32, 3]", "[3, 32, 32]", "height, width, 3"),
        ("[32, 32, 3]", "[32, 3]", "height, width, 3"),
        ("TYPE_UINT8 dims: [32, 32]", "TYPE_FP32 dims: [32, 32]", "TYPE_UINT8"),
        ('"stretch"', '"crop"', "matting_fit"),
        ("max_batch_size: 4", "max_batch_size: many", "line 3.*integer"),
        ("[32, 32, 3]", "[32, wide, 3]", "integer"),
        ('fit_multiple" value { string_value: "1"', 'fit_multiple" value { string_value: "x"', "whole number"),
        ("max_batch_size: 4", "max_batch_size { }", "line 3"),
        ("instance_group [", "instance_group: 5 x [", "line 10"),
    ],
)
def test_a_config_of_something_else_is_refused(was: str, becomes: str, expected: str, tmp_path: Path) -> None:
    path = tmp_path / "config.pbtxt"
    text = render(entry())
    assert was in text
    path.write_text(text.replace(was, becomes))
    with pytest.raises(ConfigBrokenError, match=expected):
        read_config(path)


def test_a_missing_config_and_one_that_is_no_text(tmp_path: Path) -> None:
    path = tmp_path / "config.pbtxt"
    with pytest.raises(EntryNotFoundError):
        read_config(path)
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ConfigBrokenError):
        read_config(path)


def test_settings_written_by_hand_are_noticed(tmp_path: Path) -> None:
    path = tmp_path / "config.pbtxt"
    path.write_text(render(entry()) + "response_cache { enable: false }\n")
    assert not is_ours(path, read_config(path))
