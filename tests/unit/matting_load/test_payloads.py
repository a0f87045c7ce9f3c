# SPDX-License-Identifier: Apache-2.0
"""What is sent, and batch sizes read back."""

import io
from pathlib import Path

import pytest
from matting_load.plan import Photos, PhotoSize
from matting_load.reports.server_metrics import batch_sizes_between, parse_batch_sizes, read_batches
from matting_load.sending.payloads import make_jpeg, photo_payloads, tensor_bytes
from PIL import Image

PAGE = """# TYPE matting_batch_size histogram
matting_batch_size_bucket{le="1.0",model="u2net"} %d
matting_batch_size_bucket{le="2.0",model="u2net"} %d
matting_batch_size_bucket{model="u2net",le="4.0"} %d
matting_batch_size_bucket{le="+Inf",model="u2net"} %d
matting_batch_size_count{model="u2net"} 9
matting_batch_size_sum{model="u2net"} 30.0
"""


def test_a_generated_photo_is_a_jpeg_of_its_size_and_seed() -> None:
    content = make_jpeg(320, 200, 1)
    assert Image.open(io.BytesIO(content)).size == (320, 200)
    assert make_jpeg(320, 200, 1) == content
    assert make_jpeg(320, 200, 2) != content
    # A photo has about one or two bits a pixel at this quality; a gradient would have a tenth.
    assert 0.5 < len(content) * 8 / (320 * 200) < 6


def test_sizes_have_their_shares() -> None:
    payloads = photo_payloads(Photos((PhotoSize(32, 32, 3.0), PhotoSize(64, 48))), 1)
    assert [(each.name, each.share) for each in payloads] == [("32x32", 3.0), ("64x48", 1.0)]


def test_a_folder_is_read(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="holds no photo"):
        photo_payloads(Photos(folder=str(tmp_path)), 1)
    (tmp_path / "a.jpg").write_bytes(b"photo")
    (tmp_path / "notes.txt").write_bytes(b"no photo")
    (payload,) = photo_payloads(Photos(folder=str(tmp_path)), 1)
    assert (payload.name, payload.content) == ("a.jpg", b"photo")


@pytest.mark.parametrize(("datatype", "size"), [("UINT8", 12), ("FP32", 48), ("INT64", 96), ("FP16", 24)])
def test_a_tensor_has_its_length(datatype: str, size: int) -> None:
    assert len(tensor_bytes(datatype, (1, 3, 4), 1)) == size


def test_an_unknown_datatype_is_refused() -> None:
    with pytest.raises(ValueError, match="none of"):
        tensor_bytes("BYTES", (1,), 1)


def test_batches_are_counted_by_size_between_two_looks() -> None:
    before, after = parse_batch_sizes(PAGE % (1, 2, 3, 3)), parse_batch_sizes(PAGE % (11, 16, 23, 24))
    assert batch_sizes_between(before, after) == {"1": 10, "2": 4, "3-4": 6, ">4": 1}
    assert batch_sizes_between({}, {}) == {}


def test_batch_sizes_of_models_add_up() -> None:
    assert parse_batch_sizes(PAGE % (1, 2, 3, 3) + PAGE % (1, 2, 3, 4)) == {1: 2, 2: 4, 4: 6, float("inf"): 7}


def test_metrics_come_by_http_only() -> None:
    with pytest.raises(ValueError, match="http://"):
        read_batches("file:///etc/passwd")
