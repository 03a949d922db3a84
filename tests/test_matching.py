from __future__ import annotations

from itertools import permutations

import numpy as np
import pytest

from casa_ddpm.matching import match, match_reaches


def test_nearest_within_the_radius():
    index, true = match([0, 10, 50], [0, 0, 0], [10.5, 0.2, 30], [0, 0, 0], radius=1)
    assert index.tolist() == [0, 1] and true.tolist() == [1, 0]


def test_each_is_used_once():
    index, true = match([0, 0.1], [0, 0], [0.05], [0], radius=1)
    assert len(index) == len(true) == 1


def test_two_matches_are_better_than_one_close_one():
    # Nearest first would pair 0 with 0.4 and leave the others alone.
    index, true = match([0, 0.9], [0, 0], [0.4, -0.5], [0, 0], radius=0.6)
    assert list(zip(index, true, strict=True)) == [(0, 1), (1, 0)]


def test_against_every_permutation():
    rng = np.random.default_rng(0)
    for _ in range(20):
        found, true = rng.uniform(0, 4, (2, 2, 5))
        squares = np.minimum(((found[:, :, None] - true[:, None]) ** 2).sum(axis=0), 1)
        best = min(squares[range(5), list(order)].sum() for order in permutations(range(5)))
        index, index_true = match(*found, *true, radius=1)
        cost = squares[index, index_true].sum() + 5 - len(index)
        assert cost == pytest.approx(best)
        assert len(set(index)) == len(index) and len(set(index_true)) == len(index)


def test_recovers_a_shuffled_list():
    rng = np.random.default_rng(1)
    x, y = rng.uniform(0, 1000, (2, 800))
    order = rng.permutation(800)
    index, true = match(x[order], y[order], x, y, radius=0.5)
    assert index.tolist() == list(range(800)) and true.tolist() == order.tolist()


def test_nothing_to_match():
    for found, true in (([], [1.0]), ([1.0], []), ([1.0], [5.0])):
        index, index_true = match(found, found, true, true, radius=1)
        assert index.dtype.kind == index_true.dtype.kind == "i"
        assert index.shape == index_true.shape == (0,)


def test_input_is_checked():
    with pytest.raises(ValueError, match="radius must be positive, got 0"):
        match([0], [0], [0], [0], radius=0)
    with pytest.raises(ValueError, match=r"x_true and y_true must be lists of one length"):
        match([0], [0], [0, 1], [0], radius=1)
    with pytest.raises(ValueError, match="x and y must be finite"):
        match([np.nan], [0], [0], [0], radius=1)


def test_each_true_source_has_its_reach():
    """The narrow ones choose first; what is beyond a reach has no partner."""
    x, y = [0.0, 1.0, 5.0], [0.0, 0.0, 0.0]
    partner = match_reaches(x, y, [0.9, 0.1], [0.0, 0.0], [3.0, 0.5])
    assert partner.tolist() == [1, 0, -1]
    assert match_reaches([], [], [0.0], [0.0], [1.0]).shape == (0,)
    assert match_reaches(x, y, [], [], []).tolist() == [-1, -1, -1]
