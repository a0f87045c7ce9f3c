# SPDX-License-Identifier: Apache-2.0
"""Which file becomes which."""

from pathlib import Path

import pytest
from matting_client.files import FileJob, plan_files, write_atomically


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    for name in ("a.jpg", "b.PNG", "sub/a.jpg", "sub/a.png", "notes.txt"):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"photo")
    return folder


def test_one_file_goes_to_the_file_named(photos: Path, tmp_path: Path) -> None:
    jobs = plan_files([str(photos / "a.jpg")], str(tmp_path / "cat.webp"), "cutout", "webp")
    assert jobs == [FileJob(photos / "a.jpg", tmp_path / "cat.webp")]


@pytest.mark.parametrize("out", ["out/", "photos"])
def test_one_file_goes_into_a_folder(photos: Path, tmp_path: Path, out: str) -> None:
    (job,) = plan_files([str(photos / "a.jpg")], f"{tmp_path}/{out}", "cutout", "png")
    assert job.target == tmp_path / out / "a-cutout.png"


def test_a_folder_keeps_its_tree_and_names_never_collide(photos: Path, tmp_path: Path) -> None:
    jobs = plan_files([str(photos)], str(tmp_path / "out"), "alpha", "jpeg")
    targets = sorted(str(job.target.relative_to(tmp_path / "out")) for job in jobs)
    assert targets == ["a-alpha.jpg", "b-alpha.jpg", "sub/a.jpg-alpha.jpg", "sub/a.png-alpha.jpg"]


def test_a_file_of_any_name_is_taken_when_named(photos: Path, tmp_path: Path) -> None:
    jobs = plan_files([str(photos / "notes.txt"), str(photos / "a.jpg")], str(tmp_path / "out"), "cutout", "png")
    assert [job.source.name for job in jobs] == ["notes.txt", "a.jpg"]


def test_equal_names_of_two_folders_are_refused(photos: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    (other / "a.jpg").write_bytes(b"photo")
    with pytest.raises(ValueError, match="both become"):
        plan_files([str(photos / "a.jpg"), str(other / "a.jpg")], str(tmp_path / "out"), "cutout", "png")


def test_a_photo_is_never_overwritten(photos: Path) -> None:
    photo = str(photos / "b.PNG")
    with pytest.raises(ValueError, match="one of the photos"):
        plan_files([photo], photo, "cutout", "png")


def test_several_photos_do_not_fit_into_a_file(photos: Path) -> None:
    with pytest.raises(ValueError, match="need a folder"):
        plan_files([str(photos / "a.jpg"), str(photos / "b.PNG")], str(photos / "notes.txt"), "cutout", "png")


def test_what_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="does not exist"):
        plan_files([str(tmp_path / "gone.jpg")], "out.png", "cutout", "png")
    with pytest.raises(ValueError, match="holds no photo"):
        plan_files([str(tmp_path)], "out", "cutout", "png")


def test_a_result_that_cannot_be_written_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "taken.png").mkdir()
    with pytest.raises(OSError, match=r"taken\.png"):
        write_atomically(tmp_path / "taken.png", b"result")
    assert [path.name for path in tmp_path.iterdir()] == ["taken.png"]


def test_a_result_replaces_an_older_one(tmp_path: Path) -> None:
    write_atomically(tmp_path / "new/a.png", b"old")
    write_atomically(tmp_path / "new/a.png", b"new")
    assert (tmp_path / "new/a.png").read_bytes() == b"new"
    assert len(list((tmp_path / "new").iterdir())) == 1
