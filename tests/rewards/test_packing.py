"""A packed row holds the prompt once and lets no response see another."""

import pytest
import torch

from rewards.ml.packing import (
    collate,
    forward_cost,
    length_batches,
    pack,
    packed_attention_mask,
    shorten,
)


def test_a_row_encodes_the_prompt_once() -> None:
    prompt, responses = list(range(100, 120)), [[1, 2, 9], [3, 9], [9]]
    row = pack(prompt, responses)
    assert row.ids == [*prompt, 1, 2, 9, 3, 9, 9]
    assert [row.ids[end] for end in row.ends] == [9, 9, 9]
    assert row.position_ids[20:] == [20, 21, 22, 20, 21, 20]
    assert len(row.ids) == len(row.position_ids) == len(row.segment_ids) == 20 + 6


def test_a_response_without_tokens_is_refused() -> None:
    with pytest.raises(ValueError, match="response 2 has no tokens"):
        pack([1], [[2], []])


def test_who_sees_whom() -> None:
    rows = [pack([7, 7], [[1, 9], [9]]), pack([7], [[9]])]
    batch = collate(rows, pad_id=0, device=torch.device("cpu"))
    assert batch.ids.tolist() == [[7, 7, 1, 9, 9], [7, 9, 0, 0, 0]]
    assert batch.rows.tolist() == [0, 0, 1]
    assert batch.ends.tolist() == [3, 4, 1]
    mask = packed_attention_mask(batch.segment_ids, torch.float32)
    assert mask.shape == (2, 1, 5, 5)
    assert set(mask.unique().tolist()) == {0.0, torch.finfo(torch.float32).min}
    assert (mask[:, 0] == 0).int().tolist() == [
        [  # prompt prompt | 1 9 | 9
            [1, 0, 0, 0, 0],
            [1, 1, 0, 0, 0],
            [1, 1, 1, 0, 0],
            [1, 1, 1, 1, 0],
            [1, 1, 0, 0, 1],
        ],
        [  # prompt | 9 | padding
            [1, 0, 0, 0, 0],
            [1, 1, 0, 0, 0],
            [0, 0, 1, 0, 0],
            [0, 0, 1, 1, 0],
            [0, 0, 1, 1, 1],
        ],
    ]


def test_what_fits_is_not_cut() -> None:
    prompt, responses = [1] * 6, [[2] * 4, [3]]
    assert shorten(prompt, responses, max_tokens=10) == (prompt, responses)


def test_a_long_prompt_keeps_its_end_and_a_long_response_its_eos() -> None:
    prompt, responses = shorten(list(range(20)), [[*range(50, 60), 99], [50, 99]], max_tokens=12)
    assert prompt == list(range(11, 20))  # three quarters of the room
    assert responses == [[50, 51, 99], [50, 99]]
    # the cut of one response does not depend on its companions
    assert shorten(list(range(20)), [[50, 99]], max_tokens=12)[1] == [[50, 99]]


def test_batches_hold_every_row_once_and_keep_to_their_limits() -> None:
    lengths = [3, 50, 4, 30, 29, 5, 200, 4]
    batches = length_batches(lengths, max_rows=3, max_tokens=100)
    assert sorted(place for batch in batches for place in batch) == list(range(8))
    assert batches[0] == [6]  # too long for any limit, still computed
    for batch in batches[1:]:
        assert len(batch) <= 3
        assert len(batch) * max(lengths[place] for place in batch) <= 100


def test_sharing_pays_for_long_prompts_and_not_for_long_responses() -> None:
    def gain(prompt: int, response: int, k: int = 4) -> float:
        together = [pack([1] * prompt, [[2] * response] * k)]
        apart = [pack([1] * prompt, [[2] * response])] * k
        return forward_cost(apart, width=64) / forward_cost(together, width=64)

    assert gain(256, 64) > 1.5
    assert gain(20, 500) < 1
