"""Packing keeps every token exactly once, whatever the lengths."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from tunery.data.collate import collate
from tunery.data.packing import pack
from tunery.kernels.segments import Segments

lengths = st.lists(st.integers(1, 60), max_size=80)


@given(lengths, st.integers(60, 200), st.integers(1, 50))
def test_every_row_is_in_exactly_one_group_that_fits(lengths, capacity, window):
    groups = pack(lengths, capacity, window=window)
    assert sorted(row for group in groups for row in group) == list(range(len(lengths)))
    assert all(sum(lengths[row] for row in group) <= capacity for group in groups)


@given(lengths, st.integers(60, 200))
def test_no_two_groups_would_fit_into_one(lengths, capacity):
    sizes = sorted(sum(lengths[row] for row in group) for group in pack(lengths, capacity))
    assert len(sizes) < 2 or sizes[0] + sizes[1] > capacity


@given(lengths, st.integers(60, 200))
def test_the_same_lengths_pack_the_same_way(lengths, capacity):
    assert pack(lengths, capacity) == pack(np.array(lengths, dtype=np.int32), capacity)


row = st.integers(1, 20).flatmap(
    lambda n: st.tuples(
        st.lists(st.integers(0, 9), min_size=n, max_size=n),
        st.lists(st.booleans(), min_size=n, max_size=n),
    )
)


@given(st.lists(row, min_size=1, max_size=12), st.booleans())
@settings(deadline=None)
def test_a_batch_predicts_every_trained_token_but_a_first_one_once(rows, trim):
    batch = collate([(np.array(ids), np.array(mask)) for ids, mask in rows], trim=trim)
    expected = [
        (ids[t - 1], ids[t], t - 1) for ids, mask in rows for t in range(1, len(ids)) if mask[t]
    ]
    index = batch.trained_index_K
    found = zip(
        batch.input_ids[0, index].tolist(),
        batch.target_ids_K.tolist(),
        batch.position_ids[0, index].tolist(),
        strict=True,
    )
    assert list(found) == expected
    assert batch.num_tokens == sum(len(ids) for ids, _ in rows)
    if not trim:
        assert batch.input_ids[0].tolist() == [token for ids, _ in rows for token in ids]


@given(st.lists(st.integers(1, 40), min_size=1, max_size=60))
@settings(deadline=None)
def test_buckets_hold_every_token_once(lengths):
    segments = Segments(lengths)
    buckets = segments.buckets("cpu")
    tokens = [token for bucket in buckets for token in bucket.tokens.tolist()]
    assert sorted(tokens) == list(range(sum(lengths)))
    assert sum(bucket.size for bucket in buckets) == len(lengths)
