"""Sample responses from a causal language model, token by token, with a key-value cache.

A plain loop: prompts of one batch are padded on the left, a prompt that occurs several times is
read once, and rows that have ended leave the batch.

Shape letters: B rows of a batch, U different prompts among them, T prompt positions, V vocabulary.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from transformers import DynamicCache, PreTrainedModel


@dataclass(frozen=True)
class Sampled:
    """One sampled response.

    `ids` ends in EOS when `ended`, else it was cut at the token limit. `logprobs` are the log
    probabilities of these very tokens, in nats, at the temperature they were sampled with.
    """

    ids: tuple[int, ...]
    logprobs: tuple[float, ...]
    ended: bool


def next_token_logprobs(logits: Tensor, *, temperature: float, pad_token_id: int) -> Tensor:
    """Log probabilities (…, V), in fp32, of the distribution that responses are sampled from.

    It is the full distribution at `temperature`, without PAD, which is never sampled. Whoever
    recomputes the log probability of a sampled token must use this function, or ratios are wrong.
    """
    logits = logits.float() / temperature
    is_pad = torch.arange(logits.shape[-1], device=logits.device) == pad_token_id
    return torch.log_softmax(logits.masked_fill(is_pad, -torch.inf), dim=-1)


@torch.no_grad()
def sample(
    model: PreTrainedModel,
    prompts_ids: Sequence[Sequence[int]],
    *,
    eos_token_id: int,
    pad_token_id: int,
    max_new_tokens: int,
    generator: torch.Generator,
    temperature: float = 1.0,
    batch_size: int = 64,
) -> list[Sampled]:
    """Sample one response for each prompt; repeat a prompt to get several for it.

    The result keeps the order of `prompts_ids` and repeats exactly for the same generator state.
    `generator` must live on the model's device. Raises ValueError for an empty prompt, since
    nothing could be predicted from it, and for a temperature that is not above 0.
    """
    if temperature <= 0:
        raise ValueError(f"temperature must be above 0, not {temperature}")
    if not all(prompts_ids):
        raise ValueError("a prompt without tokens cannot be continued")
    was_training = model.training
    model.eval()
    # Prompts of like length share a batch, which leaves little padding; equal ones are neighbours.
    order = sorted(range(len(prompts_ids)), key=lambda i: (len(prompts_ids[i]), *prompts_ids[i]))
    results: dict[int, Sampled] = {}
    for start in range(0, len(order), batch_size):
        rows = order[start : start + batch_size]
        batch = _sample_batch(
            model,
            [tuple(prompts_ids[i]) for i in rows],
            eos_token_id,
            pad_token_id,
            max_new_tokens,
            generator,
            temperature,
        )
        results.update(zip(rows, batch, strict=True))
    model.train(was_training)
    return [results[i] for i in range(len(prompts_ids))]


def _sample_batch(
    model: PreTrainedModel,
    prompts: list[tuple[int, ...]],
    eos_token_id: int,
    pad_token_id: int,
    max_new_tokens: int,
    generator: torch.Generator,
    temperature: float,
) -> list[Sampled]:
    """Sample one response for each of B prompts."""
    device = model.device
    unique = list(dict.fromkeys(prompts))
    ids, mask = _left_pad(unique, pad_token_id, device)  # both (U, T); mask is True at tokens
    cache = DynamicCache(config=model.config)
    logits = model(
        input_ids=ids,
        attention_mask=mask.long(),
        position_ids=(mask.long().cumsum(-1) - 1).clamp(min=0),
        past_key_values=cache,
        use_cache=True,
        logits_to_keep=1,
    ).logits[:, -1]  # (U, V)

    place = {prompt: i for i, prompt in enumerate(unique)}
    expand = torch.tensor([place[prompt] for prompt in prompts], device=device)
    cache.batch_select_indices(expand)
    logits, mask = logits[expand], mask[expand]

    tokens: list[list[int]] = [[] for _ in prompts]
    logprobs: list[list[float]] = [[] for _ in prompts]
    alive = list(range(len(prompts)))  # row r of the running batch is prompt alive[r]
    for step in range(max_new_tokens):
        distribution = next_token_logprobs(
            logits, temperature=temperature, pad_token_id=pad_token_id
        )
        chosen = torch.multinomial(distribution.exp(), 1, generator=generator)  # (B, 1)
        chosen_logprobs = distribution.gather(1, chosen).squeeze(1).tolist()
        for row, token, logprob in zip(
            alive, chosen.squeeze(1).tolist(), chosen_logprobs, strict=True
        ):
            tokens[row].append(token)
            logprobs[row].append(logprob)
        goes_on = (chosen.squeeze(1) != eos_token_id).nonzero().squeeze(1)
        if len(goes_on) == 0 or step + 1 == max_new_tokens:
            break
        if len(goes_on) < len(alive):
            cache.batch_select_indices(goes_on)
            chosen, mask = chosen[goes_on], mask[goes_on]
            alive = [alive[row] for row in goes_on.tolist()]
        mask = torch.cat([mask, mask.new_ones(len(alive), 1)], dim=1)
        logits = model(
            input_ids=chosen,
            attention_mask=mask.long(),
            position_ids=mask.long().sum(-1, keepdim=True) - 1,
            past_key_values=cache,
            use_cache=True,
        ).logits[:, -1]
    return [
        Sampled(tuple(ids), tuple(values), ids[-1] == eos_token_id)
        for ids, values in zip(tokens, logprobs, strict=True)
    ]


def _left_pad(
    prompts: Sequence[Sequence[int]], pad_token_id: int, device: torch.device
) -> tuple[Tensor, Tensor]:
    """Prompts as ids (U, T), padded on the left, and a mask (U, T) that is True at tokens."""
    width = max(len(prompt) for prompt in prompts)
    ids = torch.full((len(prompts), width), pad_token_id)
    mask = torch.zeros((len(prompts), width), dtype=torch.bool)
    for row, prompt in enumerate(prompts):
        ids[row, width - len(prompt) :] = torch.tensor(prompt)
        mask[row, width - len(prompt) :] = True
    return ids.to(device), mask.to(device)
