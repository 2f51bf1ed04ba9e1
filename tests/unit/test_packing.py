"""Packing and collation on small cases written out by hand."""

import numpy as np
import pytest
import torch
from tests.token_rows import of

from tunery.data.collate import collate
from tunery.data.packing import pack


def test_the_fullest_group_with_room_takes_the_next_row():
    assert pack([6, 5, 4, 3, 2], 10) == [[0, 2], [1, 3, 4]]


def test_rows_of_different_windows_never_share_a_group():
    assert pack([1, 1, 1, 1], 10, window=2) == [[0, 1], [2, 3]]


def test_no_rows_make_no_groups():
    assert pack(np.array([], dtype=np.int64), 8) == []


@pytest.mark.parametrize("lengths", [[3, 0], [3, 9]])
def test_an_empty_or_oversized_row_is_refused(lengths):
    with pytest.raises(ValueError, match="row 1"):
        pack(lengths, 8)


def rows():
    return [
        (np.array([5, 6, 7, 8], dtype=np.int32), np.array([False, True, True, False])),
        (np.array([9, 10, 11], dtype=np.int32), np.array([True, False, True])),
    ]


def test_each_trained_token_is_predicted_from_the_token_before_it():
    batch = collate(of(rows()), [40, 41], trim=False)
    assert batch.input_ids.tolist() == [[5, 6, 7, 8, 9, 10, 11]]
    assert batch.position_ids.tolist() == [[0, 1, 2, 3, 0, 1, 2]]
    assert batch.segments.tolist() == [0, 4, 7]
    assert batch.trained_index_K.tolist() == [0, 1, 5]
    assert batch.target_ids_K.tolist() == [6, 7, 11]
    assert batch.rows == (40, 41)
    assert batch.num_trained == 3


def test_trimming_drops_what_follows_the_last_prediction():
    batch = collate(of(rows()))
    assert batch.input_ids.tolist() == [[5, 6, 9, 10]]
    assert batch.trained_index_K.tolist() == [0, 1, 3]
    assert batch.target_ids_K.tolist() == [6, 7, 11]
    assert batch.lengths == (2, 2)
    assert batch.num_tokens == 7


def test_a_row_without_trained_tokens_keeps_one_token_and_gives_no_loss():
    batch = collate(of([(np.array([1, 2]), np.array([True, False]))]))
    assert batch.input_ids.tolist() == [[1]]
    assert batch.num_trained == 0


def test_one_by_one_gives_back_the_rows():
    singles = collate(of(rows()), trim=False).one_by_one()
    assert [single.input_ids.tolist() for single in singles] == [[[5, 6, 7, 8]], [[9, 10, 11]]]
    assert [single.trained_index_K.tolist() for single in singles] == [[0, 1], [1]]
    assert [single.position_ids[0, 0].item() for single in singles] == [0, 0]


@pytest.mark.parametrize(
    "bad",
    [
        [],
        [(np.array([], dtype=np.int64), np.array([], dtype=bool))],
        [(np.array([1, 2]), np.array([True]))],
    ],
)
def test_rows_that_are_not_rows_are_refused(bad):
    with pytest.raises(ValueError):
        collate(of(bad))


def test_ids_are_int64_whatever_the_cache_stored():
    batch = collate(of(rows()))
    assert batch.input_ids.dtype == batch.target_ids_K.dtype == torch.int64


def sharing_rows():
    head = np.arange(20)
    tails = ([30, 31], [40], [30, 31, 32], [])
    rows = [np.concatenate([head, np.array(tail, dtype=np.int64)]) for tail in tails]
    return [(row, np.arange(len(row)) >= 18) for row in rows]


def test_a_common_beginning_is_laid_down_once():
    batch = collate(of(sharing_rows()), trim=False)
    assert batch.input_ids[0].tolist() == [*range(20), 30, 31, 30, 31, 32, 40]
    assert batch.position_ids[0].tolist() == [*range(20), 20, 21, 20, 21, 22, 20]
    assert batch.lengths == (20, 2, 3, 1)
    assert batch.parents == (-1, 0, 0, 0)
    assert batch.num_tokens == 20 * 4 + 6


def test_each_row_predicts_its_own_next_token_after_a_common_beginning():
    batch = collate(of(sharing_rows()), trim=False)
    found = batch.target_ids_K.split(list(batch.trained_counts))
    assert [row.tolist() for row in found] == [
        [18, 19, 30, 31],
        [18, 19, 40],
        [18, 19, 30, 31, 32],
        [18, 19],
    ]


def test_a_shared_batch_splits_into_the_rows_it_was_made_of():
    rows = sharing_rows()
    for single, (ids, mask) in zip(collate(of(rows), trim=False).one_by_one(), rows, strict=True):
        expected = collate(of([(ids, mask)]), trim=False)
        assert single.input_ids.tolist() == expected.input_ids.tolist()
        assert single.position_ids.tolist() == expected.position_ids.tolist()
        assert single.trained_index_K.tolist() == expected.trained_index_K.tolist()
        assert single.target_ids_K.tolist() == expected.target_ids_K.tolist()


def test_a_beginning_that_saves_little_is_not_shared():
    rows = [
        (np.array([1, 2, 3, 4, 5]), np.ones(5, bool)),
        (np.array([1, 2, 3, 9]), np.ones(4, bool)),
    ]
    assert collate(of(rows), trim=False).parents == (-1, -1)


def test_sharing_can_be_turned_off():
    assert collate(of(sharing_rows()), share_prefixes=False).parents == (-1, -1, -1, -1)


def test_a_shared_batch_taken_apart_is_the_packed_one():
    apart = collate(of(sharing_rows())).apart()
    expected = collate(of(sharing_rows()), share_prefixes=False)
    for name in ("input_ids", "position_ids", "loss_mask", "segments", "trained_index_K"):
        assert getattr(apart, name).tolist() == getattr(expected, name).tolist()
    assert (apart.lengths, apart.parents) == (expected.lengths, expected.parents)
    assert [p.tolist() for p in apart.places] == [p.tolist() for p in expected.places]
