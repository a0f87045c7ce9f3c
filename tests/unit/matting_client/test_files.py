# SPDX-License-Identifier: Apache-2.0
"""Which file becomes which."""

import os
from pathlib import Path

import pytest
from matting_client.formats import FileFormat
from matting_client.program.paths.files import (
    Existing,
    FileJob,
    choose_format,
    is_one_file,
    plan_files,
    settle_existing,
)
from matting_client.program.paths.finding import find_photos
from matting_client.program.paths.transfer import write_result


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    for name in ("a.jpg", "b.PNG", "sub/a.jpg", "sub/a.png", "notes.txt"):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"photo")
    return folder


def plan(
    inputs: list[str], out: str, kind: str, file_format: FileFormat | None = None, *, recursive: bool = False
) -> list[FileJob]:
    found = find_photos(inputs, out, recursive=recursive)
    one_file = is_one_file(found, out)
    return plan_files(found, out, kind, choose_format(out, file_format, one_file=one_file), one_file=one_file)


def names(jobs: list[FileJob], folder: Path) -> list[str]:
    return sorted(str(job.target.relative_to(folder)) for job in jobs if job.target is not None)


def test_one_file_goes_to_the_file_named(photos: Path, tmp_path: Path) -> None:
    jobs = plan([str(photos / "a.jpg")], str(tmp_path / "cat.webp"), "cutout", "webp")
    assert jobs == [FileJob(photos / "a.jpg", tmp_path / "cat.webp")]


@pytest.mark.parametrize("out", ["out/", "photos"])
def test_one_file_goes_into_a_folder(photos: Path, tmp_path: Path, out: str) -> None:
    (job,) = plan([str(photos / "a.jpg")], f"{tmp_path}/{out}", "cutout", "png")
    assert job.target == tmp_path / out / "a-cutout.png"


def test_a_folder_keeps_its_tree_and_names_never_collide(photos: Path, tmp_path: Path) -> None:
    jobs = plan([str(photos)], str(tmp_path / "out"), "alpha", "jpeg", recursive=True)
    assert names(jobs, tmp_path / "out") == ["a-alpha.jpg", "b-alpha.jpg", "sub/a.jpg-alpha.jpg", "sub/a.png-alpha.jpg"]


def test_a_file_of_any_name_is_taken_when_named(photos: Path, tmp_path: Path) -> None:
    jobs = plan([str(photos / "notes.txt"), str(photos / "a.jpg")], str(tmp_path / "out"), "cutout", "png")
    assert [job.source.name for job in jobs if job.source is not None] == ["notes.txt", "a.jpg"]


def test_equal_names_of_two_folders_are_refused(photos: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    (other / "a.jpg").write_bytes(b"photo")
    with pytest.raises(ValueError, match="both become"):
        plan([str(photos / "a.jpg"), str(other / "a.jpg")], str(tmp_path / "out"), "cutout", "png")


def test_a_photo_is_never_overwritten(photos: Path) -> None:
    photo = str(photos / "b.PNG")
    with pytest.raises(ValueError, match="one of the photos"):
        plan([photo], photo, "cutout", "png")


def test_several_photos_do_not_fit_into_a_file(photos: Path) -> None:
    with pytest.raises(ValueError, match="need a folder"):
        plan([str(photos / "a.jpg"), str(photos / "b.PNG")], str(photos / "notes.txt"), "cutout", "png")


def test_what_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="does not exist"):
        plan([str(tmp_path / "gone.jpg")], "out.png", "cutout", "png")
    with pytest.raises(ValueError, match="holds no photo"):
        plan([str(tmp_path)], "out", "cutout", "png")


def test_a_result_that_cannot_be_written_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "taken.png").mkdir()
    with pytest.raises(OSError, match=r"taken\.png"):
        write_result(tmp_path / "taken.png", b"result", overwrite=True)
    assert [path.name for path in tmp_path.iterdir()] == ["taken.png"]


def test_a_result_replaces_an_older_one(tmp_path: Path) -> None:
    write_result(tmp_path / "new/a.png", b"old", overwrite=False)
    write_result(tmp_path / "new/a.png", b"new", overwrite=True)
    assert (tmp_path / "new/a.png").read_bytes() == b"new"
    assert len(list((tmp_path / "new").iterdir())) == 1


def test_a_folder_means_the_photos_in_it_and_not_those_below(photos: Path, tmp_path: Path) -> None:
    assert names(plan([str(photos)], str(tmp_path / "out"), "cutout"), tmp_path / "out") == [
        "a-cutout.png",
        "b-cutout.png",
    ]
    (tmp_path / "outer").mkdir()
    photos.rename(tmp_path / "outer" / "photos")
    with pytest.raises(ValueError, match="--recursive looks into the folders below"):
        plan([str(tmp_path / "outer")], str(tmp_path / "out"), "cutout")


def test_results_and_hidden_files_are_not_taken_for_photos(photos: Path) -> None:
    (photos / ".trash").mkdir()
    for name in (".trash/old.jpg", "._a.jpg"):
        (photos / name).write_bytes(b"photo")
    first = plan([str(photos)], str(photos / "out"), "cutout", recursive=True)
    for job in first:
        assert job.target is not None
        write_result(job.target, b"result", overwrite=False)
    assert plan([str(photos)], str(photos / "out"), "cutout", recursive=True) == first


def test_a_folder_that_is_its_own_out_can_be_done_again(photos: Path) -> None:
    first = plan([str(photos)], f"{photos}/", "cutout")
    for job in first:
        assert job.target is not None
        write_result(job.target, b"result", overwrite=False)
    again = plan([str(photos)], f"{photos}/", "cutout")
    assert again == first
    assert settle_existing(again, "skip") == ([], first)


def test_a_pattern_keeps_the_tree_below_what_is_plain_of_it(photos: Path, tmp_path: Path) -> None:
    assert names(plan([f"{photos}/**/*.[jp][pn]g"], str(tmp_path / "out"), "cutout"), tmp_path / "out") == [
        "a-cutout.png",
        "sub/a.jpg-cutout.png",
        "sub/a.png-cutout.png",
    ]
    assert plan([f"{photos}/a.*"], str(tmp_path / "one.webp"), "cutout") == [
        FileJob(photos / "a.jpg", tmp_path / "one.webp")
    ]
    with pytest.raises(ValueError, match="matches no photo"):
        plan([f"{photos}/*.tif"], str(tmp_path / "out"), "cutout")


def test_a_file_whose_name_looks_like_a_pattern_is_that_file(tmp_path: Path) -> None:
    photo = tmp_path / "cat[1].jpg"
    photo.write_bytes(b"photo")
    assert plan([str(photo)], str(tmp_path / "x.png"), "cutout") == [FileJob(photo, tmp_path / "x.png")]


@pytest.mark.parametrize(
    ("out", "given", "decided"),
    [
        ("cat.PNG", None, "png"),
        ("cat.jpeg", None, "jpeg"),
        ("cat.jpg", "jpeg", "jpeg"),
        ("cat", "webp", "webp"),
        ("cat.part", "avif", "avif"),
        ("/dev/null", None, "png"),
        ("-", None, "png"),
        ("-", "webp", "webp"),
    ],
)
def test_the_suffix_of_out_decides_the_format(out: str, given: FileFormat | None, decided: str) -> None:
    assert choose_format(out, given, one_file=True) == decided


@pytest.mark.parametrize(
    ("out", "given", "told"),
    [
        ("cat.bmp", None, r"\.png, \.webp, .*and not \.bmp"),
        ("cat", None, "no suffix"),
        ("cat.bmp", "png", "not named as the png"),
        ("cat.jpg", "png", "not named as the png"),
    ],
)
def test_a_suffix_that_cannot_decide_is_refused(out: str, given: FileFormat | None, told: str) -> None:
    with pytest.raises(ValueError, match=told):
        choose_format(out, given, one_file=True)


@pytest.mark.parametrize("out", ["out.png", "new/out.png", "-", "notes.v2"])
def test_several_photos_do_not_go_to_the_name_of_a_file(
    photos: Path, out: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(photos.parent)
    with pytest.raises(ValueError, match="several photos need a folder"):
        plan(["photos/a.jpg", "photos/b.PNG"], out, "cutout")
    with pytest.raises(ValueError, match="need a folder"):
        plan(["photos"], out, "cutout")
    assert [path.name for path in photos.parent.iterdir()] == ["photos"]


@pytest.mark.parametrize(("existing", "done"), [("overwrite", ["a.jpg", "b.PNG"]), ("skip", ["b.PNG"])])
def test_what_is_there_is_left_or_replaced_as_was_said(
    photos: Path, tmp_path: Path, existing: Existing, done: list[str]
) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out/a-cutout.png").write_bytes(b"older")
    (tmp_path / "out/b-cutout.png").touch()  # empty: as `mktemp` leaves it
    jobs = plan([str(photos)], str(tmp_path / "out"), "cutout")
    todo, kept = settle_existing(jobs, existing)
    assert [job.source.name for job in todo if job.source is not None] == done
    assert len(todo) + len(kept) == 2
    with pytest.raises(ValueError, match=r"a-cutout\.png is there already: --overwrite .* --skip-existing"):
        settle_existing(jobs, "refuse")


def test_a_link_to_a_photo_is_that_photo(photos: Path, tmp_path: Path) -> None:
    (tmp_path / "soft.png").symlink_to(photos / "a.jpg")
    (tmp_path / "hard.png").hardlink_to(photos / "a.jpg")
    for name in ("soft.png", "hard.png"):
        with pytest.raises(ValueError, match="one of the photos"):
            plan([str(photos / "a.jpg")], str(tmp_path / name), "cutout")


def test_a_result_needs_a_folder_that_can_be(photos: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"notes\.txt is no folder"):
        plan([str(photos / "a.jpg")], str(photos / "notes.txt/x/y.png"), "cutout")
    (tmp_path / "out/a-cutout.png").mkdir(parents=True)
    with pytest.raises(ValueError, match="is a folder"):
        plan([str(photos / "a.jpg")], str(tmp_path / "out"), "cutout")


def test_a_folder_that_may_not_be_written_is_told_of_before_anything_is_sent(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "access", lambda path, _: path != tmp_path)  # root may write everywhere
    with pytest.raises(ValueError, match="cannot be written: nothing may be made in"):
        plan([str(photos / "a.jpg")], str(tmp_path / "out" / "a.png"), "cutout")


def test_standard_input_is_one_photo() -> None:
    assert plan(["-"], "-", "cutout") == [FileJob(None, None)]
    assert plan(["-"], "out/", "cutout") == [FileJob(None, Path("out/stdin-cutout.png"))]
    with pytest.raises(ValueError, match="named twice"):
        plan(["-", "-"], "out/", "cutout")


@pytest.mark.parametrize(("photo", "out"), [("", "out/"), ("a.jpg", "")])
def test_an_empty_name_is_not_the_folder_that_one_is_in(
    photos: Path, photo: str, out: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(photos)
    with pytest.raises(ValueError, match="is empty, as that of an unset variable"):
        plan([photo], out, "cutout")
