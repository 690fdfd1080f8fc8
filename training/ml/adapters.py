"""One frozen base that carries every model PPO needs, as LoRA adapters.

    policy     trained; starts as nothing, or as last week's policy
    value      trained, with a head of its own; starts as the reward model
    reward     frozen, with its head
    parent     frozen; last week's policy, where there is one
    reference  the base with all adapters off: the supervised model

`AdapterBank` is the only place that switches adapters. Each is used inside a context that belongs
to it, forward and backward together; outside of any context all adapters are off and nothing
requires a gradient, so a forgotten context computes the reference rather than something stale.

Shape letters: B rows of a batch, P prompt positions, R response positions, T = P + R,
V vocabulary, H hidden width.
"""

import copy
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
from peft import LoraConfig, PeftModel, get_peft_model_state_dict, set_peft_model_state_dict
from peft.tuners.lora import LoraLayer
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn import Parameter
from transformers import PreTrainedModel

from rewards.ml.artefacts import load_tensors
from rewards.ml.reward_model import ADAPTER_FILE, HEAD_KEY, load_head
from training.ml.generate import next_token_logprobs
from training.ml.invariants import check_active, check_gradients

Adapter = Literal["policy", "value", "reward", "parent"]
Trained = Literal["policy", "value"]
Role = Literal["policy", "value", "reward", "parent", "reference"]


@dataclass(frozen=True)
class TokenBatch:
    """Prompts, padded on the left, followed by responses, padded on the right.

    `ids` (B, T); `attention` (B, T) is True at tokens; `response_mask` (B, R) is True at the
    tokens of the response. The responses fill the last R columns of `ids`.
    """

    ids: Tensor
    attention: Tensor
    response_mask: Tensor

    @property
    def response_ids(self) -> Tensor:
        """Tokens of the responses, (B, R)."""
        return self.ids[:, -self.response_mask.shape[1] :]


def collate(
    prompts: Sequence[Sequence[int]],
    responses: Sequence[Sequence[int]],
    pad_token_id: int,
    device: torch.device,
) -> TokenBatch:
    """One batch of B prompts and their responses, given as token ids.

    Raises ValueError for an empty prompt or response: neither can be predicted or scored.
    """
    if not (all(prompts) and all(responses)):
        raise ValueError("a prompt or a response has no tokens")
    width = max(map(len, prompts))
    length = max(map(len, responses))
    ids = torch.full((len(prompts), width + length), pad_token_id)
    attention = torch.zeros_like(ids, dtype=torch.bool)
    for row, (prompt, response) in enumerate(zip(prompts, responses, strict=True)):
        columns = slice(width - len(prompt), width + len(response))
        ids[row, columns] = torch.tensor([*prompt, *response])
        attention[row, columns] = True
    ids, attention = ids.to(device), attention.to(device)
    return TokenBatch(ids, attention, attention[:, width:])


class AdapterBank:
    """A frozen causal model with its adapters and heads; see the top of this module."""

    def __init__(
        self, causal: PreTrainedModel, policy: LoraConfig, *, pad_token_id: int, seed: int
    ):
        """Freeze `causal` and give it an untrained policy adapter, which changes nothing yet."""
        self.causal = causal.eval().requires_grad_(False)
        self.pad_token_id = pad_token_id
        self.reward_head: nn.Linear | None = None
        with seeded(seed):
            self.value_head = nn.Linear(causal.config.get_text_config().hidden_size, 1)
            self.value_head.to(causal.device, torch.float32).requires_grad_(False)
            self._peft = PeftModel(causal, policy, adapter_name="policy")
        self._prepare()

    # -- adapters ------------------------------------------------------------------------------

    @property
    def adapters(self) -> frozenset[str]:
        """Names of the adapters that are there."""
        return frozenset(self._peft.peft_config)

    def add(self, name: Adapter, config: LoraConfig, *, seed: int = 0) -> None:
        """Add an adapter that changes nothing yet."""
        with seeded(seed):
            self._peft.add_adapter(name, config)
        self._prepare()

    def _prepare(self) -> None:
        """After adapters were added: no dropout anywhere, all adapters off."""
        self._peft.eval()
        self._layers = [m for m in self._peft.modules() if isinstance(m, LoraLayer)]
        self._switch("reference")

    def tensors(self, name: Adapter) -> dict[str, Tensor]:
        """The adapter's own tensors under the names that a PEFT folder gives them."""
        state = get_peft_model_state_dict(
            self._peft, adapter_name=name, save_embedding_layers=False
        )
        return {key: tensor.detach().contiguous() for key, tensor in state.items()}

    def set_tensors(self, name: Adapter, tensors: dict[str, Tensor]) -> None:
        """Overwrite an adapter. Raises ValueError unless `tensors` has exactly its names."""
        difference = tensors.keys() ^ self.tensors(name).keys()
        if difference:
            raise ValueError(f"adapter {name}: missing or unknown tensor {min(difference)}")
        set_peft_model_state_dict(self._peft, tensors, adapter_name=name)

    def load(self, name: Adapter, folder: Path) -> None:
        """Add an adapter from a PEFT folder, or fill the policy, whose settings must be its."""
        if name not in self.adapters:
            self.add(name, read_lora_config(folder))
        self.set_tensors(name, load_tensors(folder / ADAPTER_FILE))

    def save(self, name: Adapter, folder: Path, base: str) -> None:
        """Write an adapter as a plain PEFT folder for `base`, a folder or a hub id."""
        folder.mkdir(parents=True, exist_ok=True)
        save_file(self.tensors(name), folder / ADAPTER_FILE, metadata={"format": "pt"})
        config = copy.deepcopy(self._peft.peft_config[name])
        config.inference_mode = True
        # A folder's path says something of this machine and nothing to another.
        config.base_model_name_or_path = Path(base).name if Path(base).is_dir() else base
        config.target_modules = sorted(config.target_modules)  # sets have no order of their own
        config.save_pretrained(str(folder))

    def load_reward(self, folder: Path) -> None:
        """Add the reward adapter and its head, scaled so that it gives normalised rewards."""
        found = load_head(folder)
        self.reward_head = copy.deepcopy(self.value_head)
        self.reward_head.weight.copy_(found.weight / found.std)
        self.reward_head.bias.fill_(-found.mean / found.std)
        self.add("reward", read_lora_config(folder))
        tensors = load_tensors(folder / ADAPTER_FILE)
        self.set_tensors("reward", {k: t for k, t in tensors.items() if k != HEAD_KEY})

    def add_value(self, untrained: LoraConfig, *, seed: int) -> None:
        """Add the value adapter: a copy of the reward model, or nothing where there is none.

        Source: Huang et al. 2024: the value network starts from the reward model.
        """
        if self.reward_head is None:
            self.add("value", untrained, seed=seed)
            nn.init.zeros_(self.value_head.weight)
            nn.init.zeros_(self.value_head.bias)
            return
        self.add("value", copy.deepcopy(self._peft.peft_config["reward"]))
        self.set_tensors("value", {k: v.clone() for k, v in self.tensors("reward").items()})
        self.value_head.load_state_dict(self.reward_head.state_dict())

    def parameters(self, name: Adapter) -> dict[str, Parameter]:
        """Parameters of one adapter; those of the value adapter include its head."""
        keys = (f".lora_A.{name}.", f".lora_B.{name}.")
        found = {
            key: parameter
            for key, parameter in self._peft.named_parameters()
            if any(part in key for part in keys)
        }
        if name == "value":
            found |= {f"value_head.{k}": p for k, p in self.value_head.named_parameters()}
        return found

    # -- activation ----------------------------------------------------------------------------

    @property
    def active(self) -> str:
        """What the layers would compute now: the name of one adapter, or "reference"."""
        found = {
            "reference" if layer.disable_adapters else "+".join(layer.active_adapters)
            for layer in self._layers
        }
        return found.pop() if len(found) == 1 else f"a mixture of {sorted(found)}"

    def _switch(self, role: Role) -> None:
        """Make `role` active; no parameter requires a gradient afterwards."""
        for layer in self._layers:
            if role != "reference":
                layer.enable_adapters(True)
                layer.set_adapter(role, inference_mode=True)
            else:
                layer.enable_adapters(False)

    @contextmanager
    def using(self, role: Role) -> Iterator[PreTrainedModel]:
        """The base with one adapter on, for work without gradients. Contexts do not nest."""
        check_active("reference", self.active)
        self._switch(role)
        try:
            yield self.causal
            check_active(role, self.active)
        finally:
            self._switch("reference")

    @contextmanager
    def training(self, name: Trained) -> Iterator[PreTrainedModel]:
        """One adapter on and its gradients gathered, from zero: run forward and backward inside.

        Raises InvariantError at the end unless the adapter got gradients and nothing else did.
        """
        trained = self.parameters(name)
        everything = dict(self._peft.named_parameters())
        everything |= {f"value_head.{k}": p for k, p in self.value_head.named_parameters()}
        for parameter in everything.values():
            parameter.grad = None
        with self.using(name) as model:
            for parameter in trained.values():
                parameter.requires_grad_(True)
            try:
                yield model
            finally:
                for parameter in trained.values():
                    parameter.requires_grad_(False)
        gradients = {key: parameter.grad for key, parameter in everything.items()}
        check_gradients(
            name,
            {key: gradients[key] for key in trained},
            {key: gradients[key] for key in gradients.keys() - trained.keys()},
        )

    @contextmanager
    def sampling(self, role: Literal["policy", "parent", "reference"]) -> Iterator[PreTrainedModel]:
        """The base ready to sample from: in fp32 with the adapter merged into its weights.

        Merging saves the small products of LoRA for each token, and costs a second copy of the
        weights while it lasts; leaving restores the very weights rather than subtracting, which
        would let the reference drift. In lower precision rounding would swallow small updates, so
        the adapter stays apart there.
        """
        if role == "reference" or self.causal.dtype != torch.float32:
            with self.using(role) as model:
                yield model
            return
        check_active("reference", self.active)
        originals = []
        for layer in self._layers:
            if role in layer.lora_A:
                weight = layer.get_base_layer().weight
                originals.append((weight, weight.data))
                weight.data = weight.data + layer.get_delta_weight(role)
        try:
            yield self.causal
        finally:
            for weight, original in originals:
                weight.data = original

    # -- what the adapters compute; each needs its context -------------------------------------

    def distribution(self, batch: TokenBatch, temperature: float) -> Tensor:
        """Log probabilities (B, R, V) of every token at each response position, in fp32.

        Of whatever is active: policy, parent or reference. It is the distribution that
        `generate.sample` draws from at `temperature`.
        """
        length = batch.response_mask.shape[1]
        logits = self.causal(
            **self._inputs(batch), logits_to_keep=length + 1, use_cache=False
        ).logits
        logprobs: Tensor = next_token_logprobs(
            logits[:, :-1], temperature=temperature, pad_token_id=self.pad_token_id
        )
        return logprobs

    def values(self, batch: TokenBatch) -> Tensor:
        """Predicted return (B, R) before each response token; wants the value adapter."""
        check_active("value", self.active)
        hidden = self._hidden(batch)[:, -batch.response_mask.shape[1] - 1 : -1]
        values: Tensor = self.value_head(hidden.float()).squeeze(-1)
        return values

    def scores(self, batch: TokenBatch) -> Tensor:
        """Normalised reward (B,), read at the last token of each response."""
        check_active("reward", self.active)
        if self.reward_head is None:
            raise ValueError("the bank has no reward model")
        hidden = self._hidden(batch)[:, -batch.response_mask.shape[1] :]
        last = batch.response_mask.sum(-1) - 1
        rows = torch.arange(len(last), device=last.device)
        scores: Tensor = self.reward_head(hidden[rows, last].float()).squeeze(-1)
        return scores

    def _hidden(self, batch: TokenBatch) -> Tensor:
        """Hidden states (B, T, H) of the decoder, after its last norm."""
        output = self.causal.base_model(**self._inputs(batch), use_cache=False)
        hidden: Tensor = output.last_hidden_state
        return hidden

    def _inputs(self, batch: TokenBatch) -> dict[str, Tensor]:
        attention = batch.attention.long()
        return {
            "input_ids": batch.ids,
            "attention_mask": attention,
            "position_ids": (attention.cumsum(-1) - 1).clamp(min=0),
        }


def lora_config(r: int, alpha: int) -> LoraConfig:
    """Settings of an untrained adapter on every linear layer of a causal model but its head."""
    return LoraConfig(
        r=r, lora_alpha=alpha, lora_dropout=0.0, target_modules="all-linear", task_type="CAUSAL_LM"
    )


def read_lora_config(folder: Path) -> LoraConfig:
    """Settings of the adapter in a PEFT folder, of a policy or a reward model, without dropout.

    Raises ValueError for kinds of LoRA that hold more than the two matrices of a layer.
    """
    config = LoraConfig.from_pretrained(str(folder))
    if config.use_dora or config.bias != "none":
        raise ValueError(f"{folder.name}: only plain LoRA without biases is supported")
    config.modules_to_save = None  # the head of a reward model is kept beside the adapters
    config.task_type = "CAUSAL_LM"
    config.lora_dropout = 0.0
    return config


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Draw from torch's global generator as if seeded, and leave it as it was."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        yield
