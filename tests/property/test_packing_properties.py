"""Packing keeps every token exactly once, whatever the lengths."""

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.token_rows import of

from tunery.data.collate import collate
from tunery.data.packing import pack
from tunery.data.prefixes import share
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


@given(st.lists(row, min_size=1, max_size=12), st.booleans(), st.booleans())
@settings(deadline=None)
def test_a_batch_predicts_every_trained_token_but_a_first_one_once(rows, trim, share_prefixes):
    batch = collate(
        of([(np.array(ids), np.array(mask)) for ids, mask in rows]),
        trim=trim,
        share_prefixes=share_prefixes,
    )
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
        for places, (ids, _) in zip(batch.places, rows, strict=True):
            assert batch.input_ids[0, places].tolist() == ids
            assert batch.position_ids[0, places].tolist() == list(range(len(ids)))


few = st.lists(st.integers(0, 1), min_size=1, max_size=9)


@given(st.lists(few, min_size=1, max_size=14), st.integers(1, 6))
def test_every_row_is_the_path_to_its_last_segment(rows, min_saved):
    arrays = [np.array(ids) for ids in rows]
    tree = share(arrays, min_saved=min_saved)
    joined = np.concatenate(tree.tokens)
    for number, ids in enumerate(rows):
        assert joined[tree.places(number)].tolist() == ids
        assert np.concatenate([tree.tokens[s] for s in tree.path(number)]).tolist() == ids
    assert all(parent < child for child, parent in enumerate(tree.parents))
    assert tree.num_tokens == len(joined) <= sum(len(ids) for ids in rows)
    if min_saved == 1:
        assert tree.num_tokens == len(
            {tuple(ids[: n + 1]) for ids in rows for n in range(len(ids))}
        )


@given(
    st.lists(st.tuples(st.integers(1, 40), st.integers(-1, 8)), min_size=1, max_size=40),
    st.integers(1, 3),
)
@settings(deadline=None)
def test_gathering_into_buckets_and_back_gives_every_row_back(segments, key_heads):
    lengths = [length for length, _ in segments]
    parents = [min(parent, number - 1) for number, (_, parent) in enumerate(segments)]
    made = Segments(lengths, parents)
    heads = 2 * key_heads
    layout = made.layout(heads, key_heads)
    queries = torch.arange(sum(lengths) * heads)
    gathered = torch.cat([queries[rows] for rows in layout.query_rows])
    assert torch.equal(gathered[layout.query_back], queries)
    keys = torch.arange(sum(lengths) * key_heads)
    gathered = torch.cat([keys[rows] for rows in layout.key_rows])
    assert torch.equal(gathered[layout.key_back], keys)
    assert sum(bucket.size for bucket in made.buckets()) == len(lengths)
    placed = torch.cat(
        [
            rows.index_fill(0, pad, -1) if (pad := layout.padding[i]) is not None else rows
            for i, rows in enumerate(layout.query_rows)
        ]
    )
    assert sorted(placed[placed >= 0].tolist()) == queries.tolist()
