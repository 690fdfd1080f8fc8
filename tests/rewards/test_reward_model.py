"""Scores are the same however they are computed, and after a save and a load."""

import json
import math
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model, set_peft_model_state_dict
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification, AutoTokenizer

from rewards.ml.artefacts import ArtefactError, digest, publish
from rewards.ml.reward_model import (
    ADAPTER_FILE,
    HEAD_KEY,
    REWARD_FILE,
    EncodedPrompt,
    LoraSettings,
    Normalisation,
    RewardModel,
    load_head,
    score,
)
from rewards.ml.text import Message
from tests.tiny_models import make_base, make_tokenizer

QUESTION: list[Message] = [{"role": "user", "content": "why does the sea rise?"}]
RESPONSES = ["ice melts.", "warm water needs more room.", "no idea"]


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> str:
    return make_base(tmp_path_factory.mktemp("base"))


def disturbed(model: RewardModel) -> RewardModel:
    """LoRA starts as nothing; give it weights that matter, as after training."""
    generator = torch.Generator().manual_seed(1)
    model.set_weights(
        {
            name: tensor + 0.1 * torch.randn(tensor.shape, generator=generator)
            for name, tensor in model.weights().items()
        }
    )
    return model


@pytest.fixture
def model(base: str) -> RewardModel:
    return disturbed(RewardModel.build(base, LoraSettings(4, 8), seed=0))


def long_prompts() -> list[EncodedPrompt]:
    """Prompts long enough to be shared, with ragged responses: one, three and four."""
    generator = torch.Generator().manual_seed(2)

    def ids(n: int) -> list[int]:
        return torch.randint(3, 30, (n,), generator=generator).tolist()

    return [
        EncodedPrompt(ids(60), [[*ids(5), 1], [*ids(9), 1], [1]]),
        EncodedPrompt(ids(40), [[*ids(7), 1]]),
        EncodedPrompt(ids(50), [[*ids(n), 1] for n in (3, 8, 2, 6)]),
    ]


@pytest.mark.parametrize("kind", ["llama", "qwen2", "gpt2", "mistral"])
def test_a_shared_prompt_gives_the_scores_and_gradients_of_separate_rows(
    tmp_path: Path, kind: str
) -> None:
    model = disturbed(RewardModel.build(make_base(tmp_path, kind), LoraSettings(4, 8), seed=0))
    assert model.shares_prompt
    prompts = long_prompts()
    n = sum(len(prompt.responses_ids) for prompt in prompts)
    factors = torch.linspace(-1, 2, n)
    trained = [p for p in model.model.parameters() if p.requires_grad]

    def computed(get: Callable[[], torch.Tensor]) -> tuple[torch.Tensor, list[torch.Tensor]]:
        model.model.zero_grad()
        scores = get()
        (scores * factors).sum().backward()
        return scores.detach(), [p.grad.clone() for p in trained if p.grad is not None]

    # the plain way: one unpadded row a response, through the model's own head
    def apart() -> torch.Tensor:
        rows = [[*p.prompt_ids, *ids] for p in prompts for ids in p.responses_ids]
        return torch.cat([model.model(input_ids=torch.tensor([r])).logits[0] for r in rows])

    lengths: list[int] = []
    backbone = model.model.get_base_model().base_model
    hook = backbone.register_forward_pre_hook(
        lambda module, args, kwargs: lengths.append(kwargs["input_ids"].numel()), with_kwargs=True
    )
    together, gradients = computed(lambda: model.raw_scores(prompts))
    hook.remove()
    expected, expected_gradients = computed(apart)

    assert lengths == [3 * (60 + 6 + 10 + 1)]  # one padded batch, each prompt encoded once
    assert together.dtype == torch.float32
    assert (together - expected).abs().max() < 1e-5
    assert len(gradients) == len(expected_gradients) == len(trained)
    for found, wanted in zip(gradients, expected_gradients, strict=True):
        assert (found - wanted).abs().max() < 1e-5 * max(1.0, wanted.abs().max().item())


@pytest.mark.parametrize(("kind", "shape"), [("bloom", {}), ("mistral", {"sliding_window": 20})])
def test_where_a_prompt_cannot_be_shared_scores_are_still_right(
    tmp_path: Path, kind: str, shape: dict[str, int]
) -> None:
    base = make_base(tmp_path, kind, **shape)
    model = disturbed(RewardModel.build(base, LoraSettings(4, 8), seed=0))
    assert not model.shares_prompt
    prompts = long_prompts()
    rows = [[*p.prompt_ids, *ids] for p in prompts for ids in p.responses_ids]
    with torch.no_grad():
        expected = torch.cat([model.model(input_ids=torch.tensor([r])).logits[0] for r in rows])
        assert (model.raw_scores(prompts) - expected).abs().max() < 1e-5


def test_scores_do_not_depend_on_company_or_order(model: RewardModel) -> None:
    scores = model.score(QUESTION, RESPONSES)
    assert scores.shape == (3,)
    for place, response in enumerate(RESPONSES):
        alone = model.score(QUESTION, [response])
        assert torch.allclose(alone, scores[place], atol=1e-5)
    prompts = [*long_prompts(), model.encode(QUESTION, RESPONSES)]
    assert torch.allclose(model.score_prompts(prompts)[3], scores, atol=1e-5)
    assert torch.allclose(model.score_prompts(prompts[::-1])[0], scores, atol=1e-5)


def test_what_the_head_reads_gives_the_raw_scores(model: RewardModel) -> None:
    prompts = long_prompts()
    read = model.embed_prompts(prompts)
    assert [len(rows) for rows in read] == [len(prompt.responses_ids) for prompt in prompts]
    with torch.no_grad():
        scores = model.raw_scores(prompts)
    weight = model.weights()[HEAD_KEY]
    torch.testing.assert_close(torch.cat(read) @ weight[0], scores, rtol=1e-4, atol=1e-4)


def test_token_ids_score_as_they_are(model: RewardModel) -> None:
    encoded = model.encode(QUESTION, RESPONSES)
    by_ids = model.score_ids(encoded.prompt_ids, encoded.responses_ids)
    assert torch.equal(by_ids, model.score(QUESTION, RESPONSES))
    unfinished = [ids[:-1] for ids in encoded.responses_ids]
    assert (model.score_ids(encoded.prompt_ids, unfinished) - by_ids).abs().min() > 1e-3


def test_scores_are_normalised(model: RewardModel) -> None:
    raw = model.score(QUESTION, RESPONSES)
    model.normalisation = Normalisation(mean=2.0, std=4.0, temperature=1.0)
    assert torch.allclose(model.score(QUESTION, RESPONSES), (raw - 2.0) / 4.0)


def test_a_new_model_is_decided_by_its_seed_and_starts_as_its_base(base: str) -> None:
    torch.manual_seed(5)
    state = torch.get_rng_state()
    first = RewardModel.build(base, LoraSettings(4, 8), seed=3)
    assert torch.equal(torch.get_rng_state(), state)
    second = RewardModel.build(base, LoraSettings(4, 8), seed=3)
    other = RewardModel.build(base, LoraSettings(4, 8), seed=4)
    scores = first.score(QUESTION, RESPONSES)
    assert torch.equal(scores, second.score(QUESTION, RESPONSES))
    assert not torch.allclose(scores, other.score(QUESTION, RESPONSES))
    lora_b = [tensor for name, tensor in first.weights().items() if "lora_B" in name]
    assert lora_b and not any(tensor.any() for tensor in lora_b)


def test_the_head_starts_small_and_is_trained_with_all_linear_layers(tmp_path: Path) -> None:
    base = make_base(tmp_path, hidden_size=256)
    model = RewardModel.build(base, LoraSettings(4, 8), seed=0)
    head = model.weights()[HEAD_KEY]
    assert head.shape == (1, 256)
    # N(0, 1 / sqrt(H + 1)); 256 draws know their deviation to about 4 %
    assert head.std().item() == pytest.approx(1 / math.sqrt(257), rel=0.15)
    trained = {name for name, p in model.model.named_parameters() if p.requires_grad}
    assert {name.rsplit(".", 4)[-4] for name in trained if "lora_A" in name} == {
        *("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
    }
    assert all("lora_" in name or "score.modules_to_save" in name for name in trained)
    assert not any("lora_" in name and "score" in name for name in trained)


def test_dropout_is_off(tmp_path: Path) -> None:
    base = make_base(tmp_path, "gpt2", attn_pdrop=0.5, resid_pdrop=0.5, embd_pdrop=0.5)
    model = RewardModel.build(base, LoraSettings(4, 8), seed=0)
    assert torch.equal(model.raw_scores(long_prompts()), model.raw_scores(long_prompts()))


def test_scores_of_a_bf16_base_are_fp32(base: str) -> None:
    exact = RewardModel.build(base, LoraSettings(4, 8), seed=0)
    coarse = RewardModel.build(base, LoraSettings(4, 8), seed=0, dtype=torch.bfloat16)
    scores = coarse.raw_scores(long_prompts())
    assert scores.dtype == torch.float32
    assert not torch.equal(scores, scores.bfloat16().float())
    assert {tensor.dtype for tensor in coarse.weights().values()} == {torch.float32}
    assert torch.allclose(scores, exact.raw_scores(long_prompts()), atol=0.2)


def test_long_texts_are_cut_to_the_model_and_the_cut_is_told(base: str) -> None:
    model = RewardModel.build(base, LoraSettings(4, 8), seed=0, max_tokens=40)
    encoded = model.encode([{"role": "user", "content": "a" * 100}], ["b" * 100, "c"])
    assert encoded.shortened
    assert len(encoded.prompt_ids) == 30
    assert [len(ids) for ids in encoded.responses_ids] == [10, 2]
    assert encoded.responses_ids[0][-1] == model.tokenizer.eos_token_id
    assert not model.encode(QUESTION, ["short"]).shortened
    # the base's own limit holds where it is lower
    assert RewardModel.build(base, LoraSettings(4, 8), seed=0, max_tokens=9999).max_tokens == 128


def test_a_base_that_pads_with_its_end_gets_another_padding_token(
    tmp_path: Path, base: str
) -> None:
    folder = tmp_path / "base"
    shutil.copytree(base, folder)
    make_tokenizer(pad_token="<end>").save_pretrained(folder)
    model = RewardModel.build(str(folder), LoraSettings(4, 8), seed=0)
    assert model.tokenizer.pad_token == "<unk>"
    assert model.model.config.pad_token_id == model.tokenizer.pad_token_id


# -- saving and loading ----------------------------------------------------------------------------


@pytest.fixture
def saved(model: RewardModel, tmp_path: Path) -> Path:
    model.normalisation = Normalisation(mean=0.3, std=1.7, temperature=0.9)
    publish(model.save, tmp_path / "reward", {"seed": 0})
    return tmp_path / "reward"


def test_a_loaded_model_scores_exactly_as_before(
    model: RewardModel, saved: Path, base: str
) -> None:
    before = model.score(QUESTION, RESPONSES)
    loaded = RewardModel.load(saved, base)
    assert torch.equal(loaded.score(QUESTION, RESPONSES), before)
    assert loaded.normalisation == model.normalisation
    assert loaded.max_tokens == model.max_tokens
    assert score(saved, base, QUESTION, RESPONSES) == before.tolist()


def test_plain_transformers_and_peft_load_it(model: RewardModel, saved: Path, base: str) -> None:
    plain = AutoModelForSequenceClassification.from_pretrained(base, num_labels=1)
    plain = PeftModel.from_pretrained(plain, str(saved)).eval()
    tokenizer = AutoTokenizer.from_pretrained(base)
    prompt = tokenizer(QUESTION[0]["content"] + "\n")["input_ids"]
    scores = model.score(QUESTION, RESPONSES)
    for place, text in enumerate(RESPONSES):
        ids = [*prompt, *tokenizer(text)["input_ids"], tokenizer.eos_token_id]
        with torch.no_grad():
            raw = plain(input_ids=torch.tensor([ids])).logits.item()
        assert (raw - 0.3) / 1.7 == pytest.approx(scores[place].item(), abs=1e-5)


@pytest.mark.parametrize("kind", ["llama", "qwen2", "gpt2"])
def test_adapter_and_head_fit_onto_a_causal_model(tmp_path: Path, kind: str) -> None:
    base = make_base(tmp_path / "base", kind)
    model = disturbed(RewardModel.build(base, LoraSettings(4, 8), seed=0))
    model.normalisation = Normalisation(mean=0.3, std=1.7, temperature=0.9)
    publish(model.save, tmp_path / "reward", {})

    config = LoraConfig.from_pretrained(str(tmp_path / "reward"))
    config.task_type, config.modules_to_save = "CAUSAL_LM", None
    causal = get_peft_model(AutoModelForCausalLM.from_pretrained(base), config).eval()
    tensors = load_file(tmp_path / "reward" / ADAPTER_FILE)
    head = load_head(tmp_path / "reward")
    assert torch.equal(tensors.pop(HEAD_KEY), head.weight)
    assert not set_peft_model_state_dict(causal, tensors).unexpected_keys
    encoded = model.encode(QUESTION, RESPONSES[:1])
    ids = torch.tensor([[*encoded.prompt_ids, *encoded.responses_ids[0]]])
    with torch.no_grad():
        hidden = causal.get_base_model().base_model(input_ids=ids).last_hidden_state[0, -1]
    found = ((head.weight @ hidden).item() - head.mean) / head.std
    assert found == pytest.approx(model.score(QUESTION, RESPONSES)[0].item(), abs=1e-5)


def test_the_same_model_is_saved_as_the_same_bytes_without_paths(
    model: RewardModel, saved: Path, tmp_path: Path, base: str
) -> None:
    publish(model.save, tmp_path / "again", {})
    publish(RewardModel.load(saved, base).save, tmp_path / "reloaded", {})
    assert digest(tmp_path / "again") == digest(tmp_path / "reloaded") == digest(saved)
    assert sorted(path.name for path in saved.iterdir()) == [
        "adapter_config.json",
        ADAPTER_FILE,
        "manifest.json",
        REWARD_FILE,
    ]
    config = json.loads((saved / "adapter_config.json").read_text())
    assert config["target_modules"] == sorted(config["target_modules"])
    for path in saved.glob("*.json"):
        assert str(Path(base).parent) not in path.read_text()


def test_the_base_is_known_by_its_content_and_not_its_place(
    saved: Path, base: str, tmp_path: Path
) -> None:
    moved = tmp_path / "moved"
    shutil.copytree(base, moved)
    (moved / "README.md").write_text("notes")
    RewardModel.load(saved, str(moved))
    other = make_base(tmp_path / "other", hidden_size=64)
    with pytest.raises(ValueError, match="another base"):
        RewardModel.load(saved, other)


def rewrite(folder: Path, change: Callable[[dict[str, torch.Tensor]], object]) -> None:
    """Change the tensors of a model that was copied without its manifest."""
    (folder / "manifest.json").unlink()
    tensors = load_file(folder / ADAPTER_FILE)
    change(tensors)
    save_file(tensors, folder / ADAPTER_FILE)


def test_a_changed_file_is_not_loaded(saved: Path, base: str) -> None:
    facts = json.loads((saved / REWARD_FILE).read_text())
    (saved / REWARD_FILE).write_text(json.dumps(facts | {"mean": 5.0}))
    with pytest.raises(ArtefactError, match=r"reward\.json differs"):
        RewardModel.load(saved, base)


def test_missing_lora_tensors_are_refused(saved: Path, base: str) -> None:
    def drop(tensors: dict[str, torch.Tensor]) -> None:
        for name in [name for name in tensors if "lora_B" in name]:
            del tensors[name]

    rewrite(saved, drop)
    with pytest.raises(ArtefactError, match=r"lora_B.*found None"):
        RewardModel.load(saved, base)


def test_a_missing_head_is_refused(saved: Path, base: str) -> None:
    rewrite(saved, lambda tensors: tensors.pop(HEAD_KEY))
    with pytest.raises(ArtefactError, match=HEAD_KEY):
        RewardModel.load(saved, base)
    with pytest.raises(ArtefactError, match=HEAD_KEY):
        load_head(saved)


def test_a_missing_configuration_is_refused(saved: Path, base: str) -> None:
    (saved / "manifest.json").unlink()
    (saved / "adapter_config.json").unlink()
    with pytest.raises(ArtefactError, match=r"adapter_config\.json is missing"):
        RewardModel.load(saved, base)


def test_tensors_of_another_shape_are_refused(saved: Path, base: str) -> None:
    rewrite(saved, lambda tensors: tensors.update({HEAD_KEY: torch.zeros(1, 7)}))
    with pytest.raises(ArtefactError, match="score"):
        RewardModel.load(saved, base)


def test_tensors_that_are_not_finite_are_refused(saved: Path, base: str) -> None:
    rewrite(saved, lambda tensors: tensors[HEAD_KEY].fill_(float("nan")))
    with pytest.raises(ArtefactError, match="NaN"):
        RewardModel.load(saved, base)


@pytest.mark.parametrize("change", [{"std": 0.0}, {"std": math.nan}, {"mean": math.inf}])
def test_a_normalisation_that_is_no_number_is_refused(
    saved: Path, base: str, change: dict[str, float]
) -> None:
    (saved / "manifest.json").unlink()
    facts = json.loads((saved / REWARD_FILE).read_text())
    (saved / REWARD_FILE).write_text(json.dumps(facts | change))
    with pytest.raises(ArtefactError, match=r"reward\.json"):
        RewardModel.load(saved, base)
    with pytest.raises(ArtefactError, match=r"reward\.json"):
        load_head(saved)


@pytest.mark.parametrize("content", ["{}", "not JSON"])
def test_broken_facts_are_refused(saved: Path, base: str, content: str) -> None:
    (saved / "manifest.json").unlink()
    (saved / REWARD_FILE).write_text(content)
    with pytest.raises(ArtefactError, match=r"reward\.json"):
        RewardModel.load(saved, base)
