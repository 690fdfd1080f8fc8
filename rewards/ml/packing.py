"""One prompt and its K responses in one row, the prompt encoded once for all of them.

A row is [prompt | response 1 | … | response K]. A token sees the tokens before it that belong to
the prompt or to its own response, and the positions of every response go on where the prompt ends,
so each response gets the hidden states that it would get alone behind the prompt. P + K·R tokens
are encoded instead of K·(P + R).

Shapes: B rows of a batch, T tokens of its longest row, N responses of all its rows.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

PADDING_SEGMENT = -1
PROMPT_SEGMENT = 0


@dataclass(frozen=True)
class PackedRow:
    """`segment_ids` is 0 in the prompt and k in the k-th response, counted from 1.

    `ends` are the places of the last token of each response, where its score is read.
    """

    ids: list[int]
    position_ids: list[int]
    segment_ids: list[int]
    ends: list[int]


@dataclass(frozen=True)
class PackedBatch:
    """Rows padded on the right to one length.

    `ids`, `position_ids` and `segment_ids` have shape (B, T); padding has segment -1.
    `rows` and `ends`, shape (N,), say in which row and where each response ends.
    """

    ids: Tensor
    position_ids: Tensor
    segment_ids: Tensor
    rows: Tensor
    ends: Tensor


def pack(prompt_ids: Sequence[int], responses_ids: Sequence[Sequence[int]]) -> PackedRow:
    """Join a prompt and its responses into one row.

    Raises ValueError when a response has no token, since there is no place to read its score.
    """
    ids, ends = list(prompt_ids), []
    position_ids = list(range(len(prompt_ids)))
    segment_ids = [PROMPT_SEGMENT] * len(prompt_ids)
    for segment, response in enumerate(responses_ids, 1):
        if not response:
            raise ValueError(f"response {segment} has no tokens")
        ids += response
        position_ids += range(len(prompt_ids), len(prompt_ids) + len(response))
        segment_ids += [segment] * len(response)
        ends.append(len(ids) - 1)
    return PackedRow(ids, position_ids, segment_ids, ends)


def shorten(
    prompt_ids: Sequence[int], responses_ids: Sequence[Sequence[int]], max_tokens: int
) -> tuple[list[int], list[list[int]]]:
    """Cut prompt and responses so that the prompt and any one response fit into `max_tokens`.

    A prompt keeps its last tokens, at most three quarters of the room; a response keeps its first
    tokens and its very last, which is EOS when it ended. What is cut of a response does not depend
    on the others, so neither does its score.
    """
    prompt = list(prompt_ids[-(3 * max_tokens // 4) :])
    room = max_tokens - len(prompt)
    return prompt, [
        list(ids) if len(ids) <= room else [*ids[: room - 1], ids[-1]] for ids in responses_ids
    ]


def collate(rows: Sequence[PackedRow], pad_id: int, device: torch.device) -> PackedBatch:
    """Pad rows on the right and stack them."""
    length = max(len(row.ids) for row in rows)

    def stack(lists: Sequence[list[int]], filler: int) -> Tensor:
        padded = [values + [filler] * (length - len(values)) for values in lists]
        return torch.tensor(padded, device=device)

    ends = [(place, end) for place, row in enumerate(rows) for end in row.ends]
    return PackedBatch(
        ids=stack([row.ids for row in rows], pad_id),
        position_ids=stack([row.position_ids for row in rows], 0),
        segment_ids=stack([row.segment_ids for row in rows], PADDING_SEGMENT),
        rows=torch.tensor([place for place, _ in ends], device=device),
        ends=torch.tensor([end for _, end in ends], device=device),
    )


def packed_attention_mask(segment_ids: Tensor, dtype: torch.dtype) -> Tensor:
    """Additive mask of shape (B, 1, T, T): 0 where a token (row) sees another (column).

    Elsewhere it is the lowest number of `dtype`. Padding is seen by padding alone; it must see
    something, since a softmax over nothing is NaN.
    """
    query, key = segment_ids[:, :, None], segment_ids[:, None, :]
    same = query == key
    prompt = (key == PROMPT_SEGMENT) & (query != PADDING_SEGMENT)
    seen = (same | prompt).tril()  # (B, T, T)
    mask = torch.zeros(seen.shape, dtype=dtype, device=seen.device)
    return mask.masked_fill_(~seen, torch.finfo(dtype).min)[:, None]


def forward_cost(rows: Sequence[PackedRow], width: int) -> int:
    """What encoding the rows costs, padded, in units of 4 * `width` operations a layer.

    A token costs 24 * width² operations in the linear layers and 4 * width for each token of its
    row in attention, also for those that it does not see. So a short prompt is cheaper to encode
    again for each of its long responses than to share.
    """
    length = max(len(row.ids) for row in rows)
    return len(rows) * length * (6 * width + length)


def length_batches(lengths: Sequence[int], max_rows: int, max_tokens: int) -> list[list[int]]:
    """Group rows of similar length; returns their places, the longest rows first.

    A group has at most `max_rows` rows and, padded, at most `max_tokens` tokens; a row longer than
    that is a group of its own.
    """
    groups: list[list[int]] = []
    for place in sorted(range(len(lengths)), key=lambda place: -lengths[place]):
        group = groups[-1] if groups else []
        # the first row of a group is its longest
        fits = group and (len(group) + 1) * lengths[group[0]] <= max_tokens
        if fits and len(group) < max_rows:
            group.append(place)
        else:
            groups.append([place])
    return groups
