"""One base with four adapters computes what four separate models would."""

from pathlib import Path

import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from torch import Tensor
from transformers import AutoModelForCausalLM

from rewards.ml.reward_model import LoraSettings, RewardModel
from tests.training import tiny
from training.ml.adapters import AdapterBank, TokenBatch, collate, lora_config, read_lora_config
from training.ml.generate import sample
from training.ml.invariants import InvariantError

ARCHITECTURES = ("llama", "qwen2", "gpt2")
CPU = torch.device("cpu")


def make_bank(architecture: str = "llama") -> AdapterBank:
    return AdapterBank(tiny.model(architecture), lora_config(4, 8), pad_token_id=tiny.PAD, seed=1)


def disturb(bank: AdapterBank, name: str, seed: int = 0) -> None:
    """Give an adapter values that change what it computes."""
    generator = torch.Generator().manual_seed(seed)
    tensors = bank.tensors(name)
    bank.set_tensors(
        name, {k: torch.randn(t.shape, generator=generator) * 0.2 for k, t in tensors.items()}
    )


def batch(n: int = 5) -> TokenBatch:
    responses = [[*ids, tiny.EOS] for ids in tiny.ids(n, 2, seed=1)]
    return collate(tiny.ids(n, 3), responses, tiny.PAD, CPU)


@torch.no_grad()
def distribution(bank: AdapterBank, role: str, tokens: TokenBatch) -> Tensor:
    with bank.using(role):
        return bank.distribution(tokens, 1.0)


@pytest.fixture
def reward_folder(tmp_path: Path) -> Path:
    """A reward model on the tiny base, with settings unlike the policy's, not normalised."""
    return save_reward(tmp_path, "llama")


def save_reward(tmp_path: Path, architecture: str) -> Path:
    base, folder = tiny.save_base(tmp_path / "base", architecture), tmp_path / "reward"
    reward = RewardModel.build(base, LoraSettings(rank=2, alpha=6), seed=3)
    generator = torch.Generator().manual_seed(5)
    reward.set_weights(
        {k: torch.randn(t.shape, generator=generator) * 0.3 for k, t in reward.weights().items()}
    )
    reward.normalisation = type(reward.normalisation)(mean=0.7, std=2.5)
    folder.mkdir()
    reward.save(folder)
    return folder


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_an_untrained_policy_is_the_reference(architecture: str) -> None:
    bank, tokens = make_bank(architecture), batch()
    reference = distribution(bank, "reference", tokens)
    assert torch.equal(distribution(bank, "policy", tokens), reference)
    disturb(bank, "policy")
    assert not torch.allclose(distribution(bank, "policy", tokens), reference, atol=0.01)
    assert torch.equal(distribution(bank, "reference", tokens), reference)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_the_distribution_is_the_models_own_whatever_the_padding(architecture: str) -> None:
    """Against a plain forward pass of each row alone, without padding."""
    bank, tokens = make_bank(architecture), batch()
    found = distribution(bank, "reference", tokens)
    model = tiny.model(architecture)
    for row in range(len(tokens.ids)):
        ids = tokens.ids[row][tokens.attention[row]].unsqueeze(0)
        length = int(tokens.response_mask[row].sum())
        with torch.no_grad():
            logits = model(ids).logits[0, -length - 1 : -1]
        logits[:, tiny.PAD] = -torch.inf
        assert torch.allclose(found[row, :length], logits.log_softmax(-1), atol=1e-5)


def test_temperature_sharpens_the_distribution() -> None:
    bank, tokens = make_bank(), batch()
    with torch.no_grad(), bank.using("reference"):
        cold, warm = bank.distribution(tokens, 0.5), bank.distribution(tokens, 1.0)
    assert torch.allclose(cold, (2 * warm).log_softmax(-1), atol=1e-5)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_scores_are_those_of_the_reward_model(architecture: str, tmp_path: Path) -> None:
    folder = save_reward(tmp_path, architecture)
    bank = make_bank(architecture)
    bank.load_reward(folder)
    prompts = tiny.ids(4, 3)
    responses = [[*ids, tiny.EOS] for ids in tiny.ids(4, 2, seed=1)]
    with torch.no_grad(), bank.using("reward"):
        found = bank.scores(collate(prompts, responses, tiny.PAD, CPU))
    reward = RewardModel.load(folder, str(tmp_path / "base"))
    expected = [reward.score_ids(p, [r]) for p, r in zip(prompts, responses, strict=True)]
    assert torch.allclose(found, torch.cat(expected), atol=1e-5)
    assert found.std() > 0.01


def test_values_start_as_the_scores_of_what_was_said_so_far(reward_folder: Path) -> None:
    """The value before a token is the normalised reward of the text up to there."""
    bank = make_bank()
    bank.load_reward(reward_folder)
    bank.add_value(lora_config(4, 8), seed=0)
    prompt, response = tiny.ids(1, 3)[0], [*tiny.ids(1, 4, seed=1)[0], tiny.EOS]
    with torch.no_grad(), bank.using("value"):
        values = bank.values(collate([prompt], [response], tiny.PAD, CPU))[0]
    for t in range(1, len(response)):
        with torch.no_grad(), bank.using("reward"):
            score = bank.scores(collate([prompt], [response[:t]], tiny.PAD, CPU))
        assert values[t].item() == pytest.approx(score.item(), abs=1e-5)


def test_training_the_value_leaves_the_reward_alone(reward_folder: Path) -> None:
    bank, tokens = make_bank(), batch()
    bank.load_reward(reward_folder)
    bank.add_value(lora_config(4, 8), seed=0)

    def scores() -> Tensor:
        with torch.no_grad(), bank.using("reward"):
            return bank.scores(tokens)

    before = scores()
    optimizer = torch.optim.SGD(bank.parameters("value").values(), lr=0.1)
    with bank.training("value"):
        (bank.values(tokens) - 1).square().mean().backward()
    optimizer.step()
    assert torch.equal(scores(), before)


def test_without_a_reward_model_values_start_at_0() -> None:
    bank = make_bank()
    bank.add_value(lora_config(4, 8), seed=0)
    with torch.no_grad(), bank.using("value"):
        assert bank.values(batch()).eq(0).all()


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_gradients_are_those_of_a_model_with_this_adapter_alone(architecture: str) -> None:
    """Also after other adapters were used, which PEFT's own switching would spoil."""
    bank, tokens = make_bank(architecture), batch()
    bank.add("reward", lora_config(2, 4), seed=4)
    bank.add_value(lora_config(4, 8), seed=0)
    disturb(bank, "policy")
    with bank.using("reward"):
        pass
    with bank.training("value"):
        bank.values(tokens).sum().backward()
    with bank.training("policy"):
        bank.distribution(tokens, 1.0)[:, :, 2].sum().backward()

    alone = get_peft_model(tiny.model(architecture), lora_config(4, 8), adapter_name="policy")
    alone.load_state_dict(
        {k.replace(".weight", ".policy.weight"): t for k, t in bank.tensors("policy").items()},
        strict=False,
    )
    logits = alone(
        input_ids=tokens.ids,
        attention_mask=tokens.attention.long(),
        position_ids=(tokens.attention.long().cumsum(-1) - 1).clamp(min=0),
    ).logits[:, -tokens.response_mask.shape[1] - 1 : -1]
    allowed = torch.arange(logits.shape[-1]) != tiny.PAD
    logits.masked_fill(~allowed, -torch.inf).log_softmax(-1)[:, :, 2].sum().backward()
    expected = {k: p.grad for k, p in alone.named_parameters() if p.requires_grad}
    found = {k: p.grad for k, p in bank.parameters("policy").items()}
    assert found.keys() == expected.keys()
    for name, gradient in expected.items():
        assert torch.allclose(found[name], gradient, atol=1e-5), name


def test_nothing_wants_a_gradient_outside_of_training() -> None:
    bank = make_bank()
    bank.add_value(lora_config(4, 8), seed=0)
    with bank.training("value"):
        bank.values(batch()).sum().backward()
    with bank.using("policy"):
        assert not bank.distribution(batch(), 1.0).requires_grad
    everything = [*bank.causal.parameters(), *bank.value_head.parameters()]
    assert not any(parameter.requires_grad for parameter in everything)


def test_contexts_do_not_nest() -> None:
    bank = make_bank()
    with bank.using("policy"):
        with (
            pytest.raises(InvariantError, match="policy was active where reference"),
            bank.using("reference"),
        ):
            pass
        with (
            pytest.raises(InvariantError, match="policy was active where reference"),
            bank.sampling("policy"),
        ):
            pass
    assert bank.active == "reference"


def test_an_error_inside_a_context_leaves_the_reference_active() -> None:
    bank = make_bank()
    bank.add_value(lora_config(4, 8), seed=0)
    with pytest.raises(KeyError), bank.using("policy"):
        raise KeyError
    with pytest.raises(KeyError), bank.training("value"):
        raise KeyError
    assert bank.active == "reference"
    everything = [*bank.causal.parameters(), *bank.value_head.parameters()]
    assert not any(parameter.requires_grad for parameter in everything)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_sampling_merges_the_adapter_and_restores_the_very_weights(architecture: str) -> None:
    bank, tokens = make_bank(architecture), batch()
    disturb(bank, "policy")
    expected = distribution(bank, "policy", tokens)
    before = {k: t.clone() for k, t in bank.causal.state_dict().items()}
    with bank.sampling("policy"), torch.no_grad():
        assert torch.allclose(bank.distribution(tokens, 1.0), expected, atol=1e-5)
    with pytest.raises(KeyError), bank.sampling("policy"):
        raise KeyError
    after = bank.causal.state_dict()
    assert all(torch.equal(after[name], tensor) for name, tensor in before.items())


def test_in_low_precision_sampling_keeps_the_adapter_apart() -> None:
    """Rounding W + BA to bf16 would lose a small BA."""
    model = tiny.model().to(torch.bfloat16)
    bank = AdapterBank(model, lora_config(4, 8), pad_token_id=tiny.PAD, seed=1)
    disturb(bank, "policy")
    expected = distribution(bank, "policy", batch())
    with bank.sampling("policy"), torch.no_grad():
        assert torch.equal(bank.distribution(batch(), 1.0), expected)


def test_sampled_logprobs_are_those_of_the_policy() -> None:
    bank = make_bank()
    disturb(bank, "policy")
    prompts = tiny.ids(6, 3)
    with bank.sampling("policy") as model:
        sampled = sample(
            model,
            prompts,
            eos_token_id=tiny.EOS,
            pad_token_id=tiny.PAD,
            max_new_tokens=8,
            generator=torch.Generator().manual_seed(0),
        )
    tokens = collate(prompts, [one.ids for one in sampled], tiny.PAD, CPU)
    logprobs = distribution(bank, "policy", tokens)
    for row, one in enumerate(sampled):
        found = [logprobs[row, t, token].item() for t, token in enumerate(one.ids)]
        assert found == pytest.approx(one.logprobs, abs=1e-5)


def test_a_saved_policy_loads_with_plain_peft_and_gives_equal_logits(tmp_path: Path) -> None:
    base = tiny.save_base(tmp_path / "base")
    model = AutoModelForCausalLM.from_pretrained(base)
    bank = AdapterBank(model, lora_config(4, 8), pad_token_id=tiny.PAD, seed=1)
    disturb(bank, "policy")
    bank.save("policy", tmp_path / "policy", base)
    tokens = batch()
    with torch.no_grad(), bank.using("policy") as policy:
        expected = policy(tokens.ids, attention_mask=tokens.attention.long()).logits

    plain = PeftModel.from_pretrained(
        AutoModelForCausalLM.from_pretrained(base), str(tmp_path / "policy")
    )
    with torch.no_grad():
        found = plain(input_ids=tokens.ids, attention_mask=tokens.attention.long()).logits
    assert torch.equal(found, expected)
    assert str(tmp_path) not in (tmp_path / "policy" / "adapter_config.json").read_text()


def test_a_saved_policy_comes_back_as_policy_and_parent(tmp_path: Path) -> None:
    bank, tokens = make_bank(), batch()
    disturb(bank, "policy")
    bank.save("policy", tmp_path, "tiny")
    config = read_lora_config(tmp_path)
    other = AdapterBank(tiny.model(), config, pad_token_id=tiny.PAD, seed=9)
    other.load("policy", tmp_path)
    other.load("parent", tmp_path)
    expected = distribution(bank, "policy", tokens)
    assert torch.equal(distribution(other, "policy", tokens), expected)
    assert torch.equal(distribution(other, "parent", tokens), expected)


def test_tensors_of_another_shape_of_adapter_are_refused(tmp_path: Path) -> None:
    bank = make_bank()
    tensors = bank.tensors("policy")
    name = min(tensors)
    with pytest.raises(ValueError, match=name):
        bank.set_tensors("policy", {k: t for k, t in tensors.items() if k != name})
    with pytest.raises(ValueError, match="stranger"):
        bank.set_tensors("policy", tensors | {"stranger": torch.zeros(1)})


def test_a_kind_of_lora_with_more_than_two_matrices_is_refused(tmp_path: Path) -> None:
    LoraConfig(r=4, use_dora=True, target_modules=["q_proj"]).save_pretrained(str(tmp_path))
    with pytest.raises(ValueError, match="plain LoRA"):
        read_lora_config(tmp_path)


def test_an_adapter_of_the_same_seed_is_the_same_and_leaves_the_global_generator() -> None:
    models = [tiny.model() for _ in range(3)]
    torch.manual_seed(7)
    expected = torch.rand(1)
    torch.manual_seed(7)
    first, second, third = (
        AdapterBank(model, lora_config(4, 8), pad_token_id=tiny.PAD, seed=seed)
        for model, seed in zip(models, (1, 1, 2), strict=True)
    )
    assert torch.equal(torch.rand(1), expected)
    tensors = [bank.tensors("policy") for bank in (first, second, third)]
    assert all(torch.equal(tensors[1][k], t) for k, t in tensors[0].items())
    assert not all(torch.equal(tensors[2][k], t) for k, t in tensors[0].items())


def test_an_empty_prompt_or_response_is_refused() -> None:
    for prompts, responses in (([[]], [[1]]), ([[1]], [[]])):
        with pytest.raises(ValueError, match="no tokens"):
            collate(prompts, responses, tiny.PAD, CPU)
