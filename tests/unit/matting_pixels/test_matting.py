# SPDX-License-Identifier: Apache-2.0
"""The edge that is solved for: nearer to the truth, the same everywhere, bounded, and given up when nobody waits."""

import functools
import subprocess
import sys
import tracemalloc

import cv2
import numpy as np
import pytest
from matting_pixels.closed_form import MattingSystem, matting_system
from matting_pixels.conjugate_gradients import solve
from matting_pixels.fit import resize
from matting_pixels.matting import MAX_COARSE_UNKNOWN_PX, MAX_UNKNOWN_PX, refine_matting, unknown_band
from matting_pixels.refine import refine_guided
from testkit.hair import Scene, absolute_difference, gradient_error, hairy_scene
from testkit.photos import sample_photo

WIDTH, HEIGHT = 800, 600


@pytest.fixture(scope="module")
def scene() -> Scene:
    return hairy_scene(sample_photo(WIDTH, HEIGHT), (205, 175, 120), seed=1)


@pytest.fixture(scope="module")
def doubtful(scene: Scene) -> np.ndarray:
    """The alpha as a model gives it that sees the hair and not each hair."""
    return cv2.GaussianBlur(resize(scene.alpha, 320, 320), (0, 0), 2.0)


def test_the_solved_edge_is_nearer_to_the_truth_than_the_guided_one(scene: Scene, doubtful: np.ndarray) -> None:
    solved, guided = refine_matting(scene.photo, doubtful), refine_guided(scene.photo, doubtful)
    assert solved.solved
    assert absolute_difference(solved.alpha, scene.alpha) < 0.5 * absolute_difference(guided, scene.alpha)
    assert gradient_error(solved.alpha, scene.alpha) < 0.5 * gradient_error(guided, scene.alpha)


def test_what_the_model_is_sure_of_stays(scene: Scene, doubtful: np.ndarray) -> None:
    alpha = refine_matting(scene.photo, doubtful).alpha
    band = cv2.resize(unknown_band(doubtful).view(np.uint8), (WIDTH, HEIGHT), interpolation=cv2.INTER_NEAREST)
    # The finer solution reaches a pixel of the coarser one further, of which each is up to seven of the photo, and the
    # guided filter three pixels of the finer one.
    far = cv2.dilate(band, np.ones((43, 43), np.uint8)) == 0
    sure = cv2.resize(doubtful, (WIDTH, HEIGHT), interpolation=cv2.INTER_NEAREST)
    assert far.mean() > 0.3
    assert (alpha[far] == np.where(sure[far] >= 128, 255, 0)).all()


@pytest.fixture(scope="module")
def scenery() -> np.ndarray:
    """A grey wall with a camera's noise, 800 x 800, on which the tests below put a subject of their own."""
    rng = np.random.default_rng(5)
    return (128 + rng.normal(0, 3, (800, 800, 3))).clip(0, 255).astype(np.uint8)


def test_a_thin_part_that_the_model_is_sure_of_stays(scenery: np.ndarray) -> None:
    photo, truth = scenery.copy(), np.zeros((800, 800), np.uint8)
    truth[100:300, 250:550], truth[300:780, 394:406] = 255, 255
    photo[truth > 0] = photo[truth > 0] // 4 + (120, 20, 20)
    photo[truth > 0] = np.where(np.indices((800, 800))[0][truth > 0][:, None] < 300, photo[truth > 0], (90, 110, 100))
    refined = refine_matting(photo, resize(truth, 320, 320))
    assert refined.solved
    assert refined.alpha[320:760, 398:402].mean() > 240


def test_a_part_far_from_all_that_is_sure_is_as_the_model_says(scenery: np.ndarray) -> None:
    photo, alpha = scenery.copy(), np.zeros((320, 320), np.uint8)
    photo[40:240, 200:600], alpha[16:96, 80:240] = (150, 40, 30), 255
    photo[680:740, 300:500], alpha[272:296, 120:200] = (140, 150, 160), 128
    refined = refine_matting(photo, alpha)
    assert refined.solved
    assert 100 < refined.alpha[695:725, 330:470].mean() < 150


def test_no_hole_is_cut_where_the_model_nearly_is_sure(scenery: np.ndarray) -> None:
    photo, alpha = scenery.copy(), np.zeros((320, 320), np.uint8)
    photo[100:700, 200:600], alpha[40:280, 80:240] = (150, 40, 30), 255
    photo[300:500, 380:410], alpha[120:200, 152:164] = (128, 128, 128), 240
    refined = refine_matting(photo, alpha)
    assert refined.solved
    assert refined.alpha[320:480, 385:405].mean() > 220


def test_background_of_the_subjects_colour_is_not_taken_in(scenery: np.ndarray) -> None:
    photo, alpha = scenery.copy(), np.zeros((320, 320), np.uint8)
    photo[100:700, 200:400], alpha[40:280, 80:160] = (150, 40, 30), 255
    photo[350:450, 400:700], alpha[140:180, 160:260] = (150, 40, 30), 60
    refined = refine_matting(photo, alpha)
    assert refined.solved
    assert refined.alpha[370:430, 440:640].mean() < 90


def test_where_little_is_sure_the_guided_filter_does_it_and_that_is_said(scenery: np.ndarray) -> None:
    photo, alpha = scenery.copy(), np.zeros((320, 320), np.uint8)
    photo[100:700, 200:600], alpha[40:280, 80:240] = (150, 40, 30), 150
    alpha[150:170, 150:170] = 255
    refined = refine_matting(photo, alpha)
    assert not refined.solved
    assert np.array_equal(refined.alpha, refine_guided(photo, alpha))


@pytest.mark.slow
def test_the_same_photo_gives_the_same_alpha(scene: Scene, doubtful: np.ndarray) -> None:
    assert np.array_equal(
        refine_matting(scene.photo, doubtful).alpha, refine_matting(scene.photo.copy(), doubtful.copy()).alpha
    )


@pytest.mark.slow
def test_few_steps_come_near_the_exact_solution(scene: Scene) -> None:
    photo = np.ascontiguousarray(scene.photo[100:200, 300:400])
    truth = scene.alpha[100:200, 300:400].astype(np.float32) / 255
    unknown = np.zeros((100, 100), bool)
    unknown[20:80, 20:80] = True
    system = matting_system(photo, truth, unknown)
    found = solve(system, np.full(3600, 0.5), check=lambda: None)
    exact = np.linalg.solve(system.matrix.toarray(), system.right_side)
    assert found.converged
    assert found.step_count <= 100
    assert np.abs(found.values - exact).mean() < 0.02


def test_the_system_costs_nothing_where_alpha_follows_colour() -> None:
    rng = np.random.default_rng(0)
    photo = rng.integers(0, 256, (12, 14, 3)).astype(np.uint8)
    linear = (photo @ np.array([0.2, 0.5, 0.3]) / 255).astype(np.float32)
    unknown = np.zeros((12, 14), bool)
    unknown[3:9, 3:10] = True
    system = matting_system(photo, linear, unknown)
    residual = system.matrix @ linear[unknown] - system.right_side
    assert np.abs(residual).max() < 1e-4
    assert np.abs((system.matrix - system.matrix.T).toarray()).max() < 1e-6


@pytest.mark.parametrize("value", [0, 255, 128])
def test_without_an_edge_the_guided_filter_does_it_and_that_is_said(scene: Scene, value: int) -> None:
    flat = np.full((64, 64), value, np.uint8)
    refined = refine_matting(scene.photo, flat)
    assert not refined.solved
    assert np.array_equal(refined.alpha, refine_guided(scene.photo, flat))


def test_what_does_not_converge_is_left_to_the_guided_filter(
    scene: Scene, doubtful: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("matting_pixels.matting.solve", functools.partial(solve, max_steps=2))
    refined = refine_matting(scene.photo, doubtful)
    assert not refined.solved
    assert np.array_equal(refined.alpha, refine_guided(scene.photo, doubtful))


def test_a_caller_that_is_gone_ends_the_work_between_two_steps(scene: Scene, doubtful: np.ndarray) -> None:
    asked = 0

    def check() -> None:
        nonlocal asked
        asked += 1
        if asked == 5:
            raise InterruptedError

    with pytest.raises(InterruptedError):
        refine_matting(scene.photo, doubtful, check=check)
    assert asked == 5


@pytest.mark.parametrize("size", [(1, 1), (2, 900), (3, 3), (3, 700), (700, 3), (33, 2000)])
def test_any_size_is_taken(size: tuple[int, int]) -> None:
    photo = np.random.default_rng(0).integers(0, 256, (size[1], size[0], 3)).astype(np.uint8)
    alpha = np.zeros((16, 16), np.uint8)
    alpha[4:12, 4:12] = 255
    assert refine_matting(photo, alpha).alpha.shape == (size[1], size[0])


def test_a_drawing_without_a_soft_edge_is_solved() -> None:
    photo, alpha = np.zeros((600, 600, 3), np.uint8), np.zeros((320, 320), np.uint8)
    photo[150:450, 150:450], alpha[80:240, 80:240] = 255, 255
    refined = refine_matting(photo, alpha)
    assert refined.solved
    assert np.abs(refined.alpha.astype(int) - photo[..., 0]).mean() < 1


def test_a_photo_smaller_than_the_stripes_of_its_alpha_is_taken() -> None:
    alpha = np.full((320, 320), 255, np.uint8)
    alpha[:, ::5] = 0
    photo = np.random.default_rng(0).integers(0, 256, (3, 4, 3)).astype(np.uint8)
    assert np.array_equal(refine_matting(photo, alpha).alpha, refine_guided(photo, alpha))


def hostile_alphas() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(3)
    checkers = (np.indices((320, 320)).sum(axis=0) // 8 % 2 * 255).astype(np.uint8)
    stripes = np.zeros((320, 320), np.uint8)
    stripes[:, ::12] = 255
    doubt = np.zeros((320, 320), np.uint8)
    doubt[:150], doubt[150:] = 255, 0
    doubt[80:230] = 128
    return {
        "noise": rng.integers(0, 256, (320, 320)).astype(np.uint8),
        "checkers": checkers,
        "stripes": stripes,
        "doubt": doubt,
        "large grid": cv2.resize(checkers, (1024, 1024), interpolation=cv2.INTER_NEAREST),
    }


@pytest.mark.slow
@pytest.mark.parametrize("name", hostile_alphas())
@pytest.mark.parametrize("photo_kind", ["noise", "black"])
def test_memory_is_bounded_whatever_the_alpha(name: str, photo_kind: str) -> None:
    alpha = hostile_alphas()[name]
    photo = np.zeros((900, 1200, 3), np.uint8)
    if photo_kind == "noise":
        photo[:] = np.random.default_rng(0).integers(0, 256, photo.shape)
    tracemalloc.start()
    try:
        refine_matting(photo, alpha)
        peak_bytes = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    # The result, and coefficients and guide of the grid are counted elsewhere.
    assert peak_bytes - photo[..., 0].size - 20 * alpha.size < 16 << 20


def test_no_more_is_solved_for_than_is_reserved(
    scene: Scene, doubtful: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    counts = []

    def counted(photo: np.ndarray, alpha: np.ndarray, unknown: np.ndarray) -> MattingSystem:
        counts.append(int(np.count_nonzero(unknown)))
        return matting_system(photo, alpha, unknown)

    monkeypatch.setattr("matting_pixels.matting.matting_system", counted)
    assert refine_matting(resize(scene.photo, 1600, 1200), doubtful).solved
    assert len(counts) == 2
    assert counts[0] <= MAX_COARSE_UNKNOWN_PX
    assert counts[1] <= MAX_UNKNOWN_PX


@pytest.mark.slow
def test_the_work_does_not_grow_with_the_photo(scene: Scene, doubtful: np.ndarray) -> None:
    sizes = []
    for width, height in ((400, 300), (1600, 1200)):
        photo = resize(scene.photo, width, height)
        share = float(unknown_band(doubtful).mean())
        sizes.append(share * min(width * height, MAX_UNKNOWN_PX / share))
        assert refine_matting(photo, doubtful).solved
    assert max(sizes) <= MAX_UNKNOWN_PX


@pytest.mark.slow
def test_nothing_is_imported_or_opened_once_it_is_imported() -> None:
    program = """
import sys
import numpy as np
from matting_pixels.matting import refine_matting
seen = []
sys.addaudithook(lambda event, arguments: seen.append((event, arguments)) if event in ("open", "import") else None)
alpha = np.zeros((32, 32), np.uint8)
alpha[8:24, 8:24] = 255
photo = np.random.default_rng(0).integers(0, 256, (90, 120, 3)).astype(np.uint8)
assert refine_matting(photo, alpha).solved
print([entry for entry in seen], file=sys.stderr)
sys.exit(bool(seen))
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
