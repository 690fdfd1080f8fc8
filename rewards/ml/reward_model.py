"""A reward model: a causal language model's backbone with LoRA and a scalar head.

A saved reward model is a folder of three files:

    adapter_model.safetensors   LoRA matrices and the head, key `base_model.model.score.weight`
    adapter_config.json         PEFT's, task type SEQ_CLS
    reward.json                 {"mean", "std", "temperature", "max_tokens", "base_digest"}

Plain transformers and PEFT load it and give raw scores:

    base = AutoModelForSequenceClassification.from_pretrained(base, num_labels=1)
    PeftModel.from_pretrained(base, folder)

All keys but the head's are those of a causal language model of the same base, so the LoRA matrices
also fit onto one; `load_head` gives what they then lack: the head and the normalisation.

A raw score is the head's output at a response's last token. A score is (raw - mean) / std, and
sigmoid((score of a - score of b) / temperature) is the probability that an annotator prefers a.

Shapes: N responses of a batch, K responses of a prompt, H hidden width.
"""

import hashlib
import inspect
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

import torch
from peft import (
    LoraConfig,
    PeftModel,
    TaskType,
    get_peft_model,
    get_peft_model_state_dict,
    set_peft_model_state_dict,
)
from torch import Tensor
from torch.nn import functional as F
from transformers import AutoModelForSequenceClassification, AutoTokenizer
from transformers.utils import logging as transformers_logging

from rewards.ml.artefacts import MANIFEST, ArtefactError, load_tensors, verify
from rewards.ml.packing import (
    PackedRow,
    collate,
    forward_cost,
    length_batches,
    pack,
    packed_attention_mask,
    shorten,
)
from rewards.ml.text import Message, choose_distinct_pad, encode_prompt, encode_response

ADAPTER_FILE = "adapter_model.safetensors"
ADAPTER_CONFIG_FILE = "adapter_config.json"
REWARD_FILE = "reward.json"
HEAD_KEY = "base_model.model.score.weight"
# Padded tokens encoded at once while scoring: enough to fill a processor, little memory.
SCORING_TOKENS = 16384


@dataclass(frozen=True)
class LoraSettings:
    """Rank and scale (alpha / rank) of LoRA on all linear layers; there is no dropout."""

    rank: int = 16
    alpha: int = 32


@dataclass(frozen=True)
class EncodedPrompt:
    """Token ids of a prompt and of its K responses, short enough for the model.

    `shortened` tells whether something was cut.
    """

    prompt_ids: list[int]
    responses_ids: list[list[int]]
    shortened: bool = False


@dataclass(frozen=True)
class Normalisation:
    """What turns raw scores into scores, and scores into probabilities."""

    mean: float = 0.0
    std: float = 1.0
    temperature: float = 1.0


class RewardHead(NamedTuple):
    """The head's `weight`, shape (1, H), in fp32, and the normalisation of its output."""

    weight: Tensor
    mean: float
    std: float
    temperature: float


class RewardModel:
    """Scores responses. Dropout is off always; the LoRA matrices and the head are trainable."""

    def __init__(
        self,
        model: PeftModel,
        tokenizer: Any,
        *,
        base_digest: str,
        max_tokens: int,
        normalisation: Normalisation,
    ) -> None:
        self.model = model.eval()  # dropout off, also where attention applies it as a function
        self.tokenizer = tokenizer
        self.base_digest = base_digest
        self.max_tokens = max_tokens
        self.normalisation = normalisation
        classifier = model.get_base_model()
        self._backbone = classifier.base_model
        # PEFT trains and saves its own copy of the head
        self._head = classifier.score.modules_to_save["default"]
        self.shares_prompt = self._can_share_prompt()

    @classmethod
    def build(
        cls,
        base: str,
        lora: LoraSettings,
        seed: int,
        *,
        max_tokens: int = 1024,
        device: str = "cpu",
        dtype: torch.dtype = torch.float32,
    ) -> "RewardModel":
        """An untrained reward model on `base`, the folder or hub id of a causal language model.

        `max_tokens` bounds a prompt with one response; the model's own limit holds where lower.
        Raises ValueError when the tokenizer has no token for padding but its EOS.
        """
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(seed)
            classifier, tokenizer = _load_classifier(base, dtype)
            # Huang et al. 2024 (arXiv:2403.17031): N(0, 1 / sqrt(H + 1)), no bias
            std = 1 / math.sqrt(classifier.score.in_features + 1)
            torch.nn.init.normal_(classifier.score.weight, std=std)
            config = LoraConfig(
                task_type=TaskType.SEQ_CLS,  # trains and saves the head
                r=lora.rank,
                lora_alpha=lora.alpha,
                lora_dropout=0.0,
                target_modules="all-linear",
            )
            model = get_peft_model(classifier, config).to(device)
        text_config = classifier.config.get_text_config()
        limit = getattr(text_config, "max_position_embeddings", max_tokens)
        return cls(
            model,
            tokenizer,
            base_digest=base_digest(base, classifier.config),
            max_tokens=min(max_tokens, limit),
            normalisation=Normalisation(),
        )

    @classmethod
    def load(
        cls,
        folder: Path,
        base: str,
        *,
        device: str = "cpu",
        dtype: torch.dtype = torch.float32,
    ) -> "RewardModel":
        """A saved reward model on its base; a published folder is compared with its manifest.

        Raises ArtefactError when the files are not as written or the tensors are not exactly those
        of the configuration, ValueError when `base` is not the one that it was trained on.
        """
        if (folder / MANIFEST).exists():
            verify(folder)
        facts = _read_facts(folder)
        if not (folder / ADAPTER_CONFIG_FILE).is_file():  # PEFT would look for it on the hub
            raise ArtefactError(f"{folder / ADAPTER_CONFIG_FILE} is missing")
        config = LoraConfig.from_pretrained(str(folder))
        config.base_model_name_or_path = None  # the name it had; the digest decides
        with torch.random.fork_rng(devices=[]):
            classifier, tokenizer = _load_classifier(base, dtype)
            found = base_digest(base, classifier.config)
            if found != facts["base_digest"]:
                raise ValueError(f"{folder} was trained on another base than {base}")
            model = get_peft_model(classifier, config).to(device)
        reward_model = cls(
            model,
            tokenizer,
            base_digest=found,
            max_tokens=facts["max_tokens"],
            normalisation=Normalisation(facts["mean"], facts["std"], facts["temperature"]),
        )
        reward_model.set_weights(load_tensors(folder / ADAPTER_FILE))
        return reward_model

    def save(self, folder: Path) -> None:
        """Write the three files into an existing folder; the same model gives the same bytes."""
        # "auto" would ask the hub whether the base's vocabulary has changed
        self.model.save_pretrained(str(folder), save_embedding_layers=False)
        (folder / "README.md").unlink()  # an unfilled form for a model card
        config = json.loads((folder / ADAPTER_CONFIG_FILE).read_text(encoding="utf-8"))
        # PEFT writes sets in an order that changes from run to run, adds its default modules to
        # save once more to those of a loaded model, and names the base by its path
        for names in ("target_modules", "modules_to_save"):
            config[names] = sorted(set(config[names]))
        base = Path(config["base_model_name_or_path"])
        if base.is_dir():
            config["base_model_name_or_path"] = base.resolve().name
        _write_json(folder / ADAPTER_CONFIG_FILE, config)
        facts = {"max_tokens": self.max_tokens, "base_digest": self.base_digest}
        _write_json(folder / REWARD_FILE, asdict(self.normalisation) | facts)

    def weights(self) -> dict[str, Tensor]:
        """The trained tensors by their names in the adapter file; they share the memory."""
        state: dict[str, Tensor] = get_peft_model_state_dict(
            self.model, save_embedding_layers=False
        )
        return state

    def set_weights(self, tensors: Mapping[str, Tensor]) -> None:
        """Replace the trained tensors. Raises ArtefactError unless names and shapes fit exactly."""
        expected = {name: tensor.shape for name, tensor in self.weights().items()}
        given = {name: tensor.shape for name, tensor in tensors.items()}
        for name in sorted(expected.keys() | given.keys()):
            if expected.get(name) != given.get(name):
                raise ArtefactError(
                    f"{name}: expected shape {expected.get(name)}, found {given.get(name)}"
                )
        set_peft_model_state_dict(self.model, dict(tensors))

    def encode(self, messages: Sequence[Message], responses: Sequence[str]) -> EncodedPrompt:
        """Token ids of a prompt and its responses, cut to `max_tokens`."""
        prompt_ids = encode_prompt(self.tokenizer, messages)
        return self._fit_in(
            prompt_ids, [encode_response(self.tokenizer, text) for text in responses]
        )

    def raw_scores(self, prompts: Sequence[EncodedPrompt]) -> Tensor:
        """Raw scores of all responses, prompt after prompt, shape (N,), fp32, differentiable."""
        return self._apply_head(self._read(prompts))

    @torch.no_grad()
    def embed_prompts(self, prompts: Sequence[EncodedPrompt]) -> list[Tensor]:
        """What the head reads of each prompt's responses, shape (K, H) a prompt, fp32."""
        found: list[Tensor] = [torch.empty(0)] * len(prompts)
        for group in length_batches([*map(packed_length, prompts)], len(prompts), SCORING_TOKENS):
            sizes = [len(prompts[place].responses_ids) for place in group]
            read = self._read([prompts[place] for place in group])
            for place, part in zip(group, torch.split(read, sizes), strict=True):
                found[place] = part
        return found

    @torch.no_grad()
    def score_prompts(self, prompts: Sequence[EncodedPrompt]) -> list[Tensor]:
        """Scores of each prompt's responses, K values a prompt, any number of prompts."""
        scores: list[Tensor] = [torch.empty(0)] * len(prompts)
        for group in length_batches([*map(packed_length, prompts)], len(prompts), SCORING_TOKENS):
            sizes = [len(prompts[place].responses_ids) for place in group]
            raw = self.raw_scores([prompts[place] for place in group])
            normalised = (raw - self.normalisation.mean) / self.normalisation.std
            for place, part in zip(group, torch.split(normalised, sizes), strict=True):
                scores[place] = part
        return scores

    def score_ids(
        self, prompt_ids: Sequence[int], responses_ids: Sequence[Sequence[int]]
    ) -> Tensor:
        """Scores of responses given as token ids, shape (K,), read at each one's last token."""
        return self.score_prompts([self._fit_in(prompt_ids, responses_ids)])[0]

    def score(self, messages: Sequence[Message], responses: Sequence[str]) -> Tensor:
        """Scores of the responses to one prompt, shape (K,): the higher, the better."""
        return self.score_prompts([self.encode(messages, responses)])[0]

    def _fit_in(
        self, prompt_ids: Sequence[int], responses_ids: Sequence[Sequence[int]]
    ) -> EncodedPrompt:
        prompt, responses = shorten(prompt_ids, responses_ids, self.max_tokens)
        before, after = [prompt_ids, *responses_ids], [prompt, *responses]
        return EncodedPrompt(prompt, responses, [*map(len, before)] != [*map(len, after)])

    def _read(self, prompts: Sequence[EncodedPrompt]) -> Tensor:
        """The last hidden state at each response's end, prompt after prompt, shape (N, H)."""
        apart = [pack(p.prompt_ids, [ids]) for p in prompts for ids in p.responses_ids]
        together = [pack(p.prompt_ids, p.responses_ids) for p in prompts]
        width = self._head.in_features
        cheaper = forward_cost(together, width) < forward_cost(apart, width)
        if self.shares_prompt and cheaper:
            return self._read_rows(together, packed=True)
        return self._read_rows(apart, packed=False)

    def _apply_head(self, read: Tensor) -> Tensor:
        """Raw scores (N,). The sequence classifier's own forward scores one place a row."""
        return F.linear(read, self._head.weight.float()).squeeze(-1)

    def _read_rows(self, rows: Sequence[PackedRow], *, packed: bool) -> Tensor:
        """The last hidden state at the ends of the rows' responses, shape (N, H), fp32."""
        batch = collate(rows, self.tokenizer.pad_token_id, self._head.weight.device)
        # without a mask, attention is causal: no token sees the padding, which is on the right
        places: dict[str, Tensor] = {}
        if packed:
            places["position_ids"] = batch.position_ids
            places["attention_mask"] = packed_attention_mask(
                batch.segment_ids, self._backbone.dtype
            )
        hidden = self._backbone(input_ids=batch.ids, use_cache=False, **places).last_hidden_state
        ends: Tensor = hidden[batch.rows, batch.ends]
        return ends.float()

    def _can_share_prompt(self) -> bool:
        """Whether one packed row gives this architecture the scores of separate rows.

        Tried out on random tokens, since a recurrent model or one that takes positions from the
        mask would be wrong without an error. With a mask of ours no layer applies its window of
        attention, so the window must hold a whole sequence.
        """
        config = self._backbone.config.get_text_config()
        window = getattr(config, "sliding_window", None)
        if window is not None and window < self.max_tokens:
            return False
        if "position_ids" not in inspect.signature(self._backbone.forward).parameters:
            return False
        generator = torch.Generator().manual_seed(0)
        ids = torch.randint(config.vocab_size, (4, 8), generator=generator).tolist()
        together = [pack(ids[0], ids[1:])]
        apart = [pack(ids[0], [response]) for response in ids[1:]]
        tolerance = 1e-4 if self._backbone.dtype == torch.float32 else 5e-2
        with torch.no_grad():
            difference = self._apply_head(
                self._read_rows(together, packed=True) - self._read_rows(apart, packed=False)
            )
        return bool(difference.abs().max() < tolerance)


def packed_length(prompt: EncodedPrompt) -> int:
    """Tokens of a prompt and all its responses."""
    return len(prompt.prompt_ids) + sum(map(len, prompt.responses_ids))


def load_head(folder: Path) -> RewardHead:
    """Head and normalisation of a saved reward model, for a causal language model of its base.

    Raises ArtefactError when the files are not those of a reward model.
    """
    tensors = load_tensors(folder / ADAPTER_FILE)
    if HEAD_KEY not in tensors:
        raise ArtefactError(f"{folder / ADAPTER_FILE} has no {HEAD_KEY}")
    facts = _read_facts(folder)
    return RewardHead(tensors[HEAD_KEY].float(), facts["mean"], facts["std"], facts["temperature"])


def score(
    folder: Path, base: str, messages: Sequence[Message], responses: Sequence[str]
) -> list[float]:
    """Scores of the responses to one prompt, by a saved reward model and its base.

    score(Path("reward"), "models/base", [{"role": "user", "content": "…"}], ["…", "…"])
    """
    scores: list[float] = RewardModel.load(folder, base).score(messages, responses).tolist()
    return scores


def base_digest(base: str, config: Any) -> str:
    """What names a base: a hash of its files in a local folder, id and commit on the hub.

    Files other than weights, configurations and the tokenizer's do not count, nor does the path.
    """
    folder = Path(base)
    if not folder.is_dir():
        return f"{base}@{config._commit_hash}"
    table = {}
    for path in sorted(folder.iterdir()):
        if path.suffix in {".safetensors", ".json", ".jinja", ".model"} and path.name != MANIFEST:
            with path.open("rb") as file:
                table[path.name] = hashlib.file_digest(file, "sha256").hexdigest()
    return hashlib.sha256(json.dumps(table).encode()).hexdigest()


def _load_classifier(base: str, dtype: torch.dtype) -> tuple[Any, Any]:
    """The base as a sequence classifier with a fresh `score` head, and its tokenizer."""
    tokenizer = AutoTokenizer.from_pretrained(base, trust_remote_code=False)
    choose_distinct_pad(tokenizer)
    verbosity = transformers_logging.get_verbosity()
    transformers_logging.set_verbosity_error()  # it would warn of the new head; checked below
    try:
        model, info = AutoModelForSequenceClassification.from_pretrained(
            base,
            num_labels=1,
            dtype=dtype,
            use_safetensors=True,
            trust_remote_code=False,
            output_loading_info=True,
        )
    finally:
        transformers_logging.set_verbosity(verbosity)
    missing = set(info["missing_keys"]) - {"score.weight"}
    if missing or not hasattr(model, "score"):
        raise ValueError(f"{base} does not fit a sequence classifier: missing {sorted(missing)}")
    model.config.pad_token_id = tokenizer.pad_token_id
    model.score.float()
    return model, tokenizer


def _read_facts(folder: Path) -> dict[str, Any]:
    path = folder / REWARD_FILE
    try:
        facts: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ArtefactError(f"{path} cannot be read: {error}") from error
    missing = {"mean", "std", "temperature", "max_tokens", "base_digest"} - facts.keys()
    if missing:
        raise ArtefactError(f"{path} lacks {sorted(missing)}")
    # Python's json reads NaN and Infinity
    if not (math.isfinite(facts["mean"]) and 0 < facts["std"] < math.inf):
        raise ArtefactError(f"{path}: mean {facts['mean']} or std {facts['std']} is no number")
    return facts


def _write_json(path: Path, content: Mapping[str, Any]) -> None:
    text = json.dumps(content, indent=2, sort_keys=True, ensure_ascii=False, allow_nan=False)
    path.write_text(text + "\n", encoding="utf-8")
