# SPDX-License-Identifier: Apache-2.0
"""What was solved for is believed near what is sure and where it takes haze away, not where it adds or loses a part."""

import numpy as np
import pytest
from matting_pixels.confidence import confidence

SUBJECT = np.zeros((320, 320), bool)
SUBJECT[120:200, 120:200] = True
MODEL = np.where(SUBJECT, 255, 0).astype(np.uint8)


def test_a_solution_like_the_models_alpha_is_believed_near_the_subject() -> None:
    assert (confidence(MODEL, MODEL, SUBJECT)[110:210, 110:210] == 1).all()


@pytest.mark.parametrize("size", [(160, 160), (320, 320), (500, 400)])
def test_it_is_a_weight_for_each_cell_whatever_the_solutions_size(size: tuple[int, int]) -> None:
    weights = confidence(MODEL, np.full(size, 255, np.uint8), SUBJECT)
    assert weights.shape == MODEL.shape
    assert weights.dtype == np.float32
    assert weights.min() == 0
    assert weights.max() <= 1


def test_an_edge_that_moves_by_a_cell_is_believed() -> None:
    moved = np.zeros_like(MODEL)
    moved[121:199, 121:199] = 255
    assert (confidence(MODEL, moved, SUBJECT)[110:210, 110:210] > 0.9).all()


def test_what_the_solution_adds_is_not_believed() -> None:
    added = MODEL.copy()
    added[150:170, 200:220] = 128
    assert (confidence(MODEL, added, SUBJECT)[153:167, 203:217] == 0).all()


def test_a_detail_that_the_solution_loses_is_not_believed() -> None:
    lost = MODEL.copy()
    lost[155:165, 120:200] = 0
    assert (confidence(MODEL, lost, SUBJECT)[157:163, 125:195] == 0).all()


def test_haze_that_is_taken_away_all_around_is_believed() -> None:
    hazy = np.where(SUBJECT, 255, 128).astype(np.uint8)
    assert (confidence(hazy, MODEL, SUBJECT)[102:218, 102:218] > 0.6).all()


def test_belief_ends_with_the_distance_from_what_is_sure() -> None:
    weights = confidence(MODEL, MODEL, SUBJECT)[160]
    assert weights[200 + 18] == 1
    assert weights[200 + 58] == 0
    assert (np.diff(weights[200:260]) <= 0).all()
