"""Loading a base model: the same numbers come back, and nothing foreign is run."""

from pathlib import Path

import pytest
import torch

from tests import tiny_models
from tests.training import tiny
from tests.training.tiny_base import make_base
from training.ml.base import load_base
from training.ml.embedded import build_model, build_tokenizer

TEXT = "why is the sky blue because light scatters in air question answer"


def test_a_saved_embedded_model_comes_back_the_same(tmp_path: Path) -> None:
    tokenizer = build_tokenizer([TEXT] * 8, vocab_size=300)
    model = build_model(tokenizer, hidden_size=16, layers=1, heads=2, intermediate_size=32).eval()
    model.save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)

    loaded, loaded_tokenizer = load_base(str(tmp_path))
    messages = [{"role": "user", "content": TEXT}]
    ids = tokenizer.apply_chat_template(
        messages, add_generation_prompt=True, return_tensors="pt", return_dict=False
    )
    again = loaded_tokenizer.apply_chat_template(
        messages, add_generation_prompt=True, return_tensors="pt", return_dict=False
    )
    assert torch.equal(ids, again)
    with torch.no_grad():
        assert torch.equal(model(ids).logits, loaded(ids).logits)
    assert not loaded.training
    assert loaded.dtype == torch.float32
    assert loaded_tokenizer.eos_token == tokenizer.eos_token
    assert loaded_tokenizer.decode(ids[0]) == tokenizer.decode(ids[0])


@pytest.mark.parametrize("architecture", ["llama", "qwen2", "gpt2"])
def test_bases_of_several_architectures_come_back_the_same(
    tmp_path: Path, architecture: str
) -> None:
    base = tiny.save_base(tmp_path, architecture)
    loaded, _ = load_base(base)
    ids = torch.tensor(tiny.ids(1, 6))
    with torch.no_grad():
        assert torch.equal(tiny.model(architecture)(ids).logits, loaded(ids).logits)


def test_the_dtype_asked_for_is_used(tmp_path: Path) -> None:
    model, _ = load_base(tiny.save_base(tmp_path), torch.bfloat16)
    assert {parameter.dtype for parameter in model.parameters()} == {torch.bfloat16}


def test_pickled_weights_are_refused(tmp_path: Path) -> None:
    base = Path(tiny.save_base(tmp_path))
    torch.save(tiny.model().state_dict(), base / "pytorch_model.bin")
    (base / "model.safetensors").unlink()
    with pytest.raises(OSError, match="safetensors"):
        load_base(str(base))


def test_code_beside_a_model_is_not_run(tmp_path: Path) -> None:
    base = Path(tiny.save_base(tmp_path / "base"))
    trace = tmp_path / "trace"
    (base / "modeling_odd.py").write_text(f"open({str(trace)!r}, 'w').close()\n")
    config = base / "config.json"
    text = config.read_text().replace(
        "{",
        '{"auto_map": {"AutoConfig": "modeling_odd.C", "AutoModelForCausalLM": "modeling_odd.M"},',
        1,
    )
    config.write_text(text)
    load_base(str(base))  # the library has its own Llama, and takes that
    assert not trace.exists()
    config.write_text(text.replace('"llama"', '"odd"'))
    with pytest.raises(ValueError, match="trust_remote_code"):
        load_base(str(base))
    assert not trace.exists()


def test_a_model_that_is_not_there_is_not_found(tmp_path: Path) -> None:
    with pytest.raises(OSError):
        load_base(str(tmp_path / "absent"))
    base = Path(tiny.save_base(tmp_path))
    (base / "model.safetensors").unlink()
    with pytest.raises(OSError, match="safetensors"):
        load_base(str(base))
    (base / "config.json").unlink()
    with pytest.raises(ValueError, match=r"config\.json"):
        load_base(str(base))


def test_a_padding_token_of_its_own_is_kept(tmp_path: Path) -> None:
    _, tokenizer = load_base(str(make_base(tmp_path / "base")))
    assert tokenizer.pad_token == "<|pad|>"
    assert tokenizer.pad_token_id != tokenizer.eos_token_id


@pytest.mark.parametrize("pad", [None, "<end>"])
def test_padding_with_the_end_is_replaced_the_same_way_each_time(
    tmp_path: Path, pad: str | None
) -> None:
    base = save_letters(tmp_path, pad_token=pad)
    assert [load_base(base)[1].pad_token for _ in range(2)] == ["<unk>", "<unk>"]


def test_a_base_with_nothing_to_pad_with_but_its_end_is_refused(tmp_path: Path) -> None:
    base = save_letters(tmp_path, pad_token="<end>", unk_token="<end>")
    with pytest.raises(ValueError, match="must differ"):
        load_base(base)


def save_letters(folder: Path, **special: str | None) -> str:
    """A base whose tokenizer has these special tokens and no other named for padding."""
    base = tiny_models.make_base(folder)
    tiny_models.make_tokenizer(**special).save_pretrained(folder)
    return base
