"""Text to token ids, in one place, so that training, sampling and scoring see the same tokens."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, TypedDict

if TYPE_CHECKING:  # readers of a snapshot need Message alone, and do without transformers
    from transformers import PreTrainedTokenizerBase


class Message(TypedDict):
    """One turn of a conversation; `role` is "system", "user" or "assistant"."""

    role: str
    content: str


def encode_prompt(tokenizer: "PreTrainedTokenizerBase", messages: Sequence[Message]) -> list[int]:
    """Token ids of a conversation, up to the place where the response begins.

    A tokenizer with a chat template uses it. One without gets the contents, each followed by a
    newline, and its own opening token where it has one; an EOS that some tokenizers append is cut
    off, since the conversation goes on. The spelling of a special token inside a message does not
    become one, so no text can end its turn and speak in another role.
    """
    if tokenizer.chat_template is None:
        text = "".join(message["content"] + "\n" for message in messages)
        # not verbose: callers see to what is too long for the model
        ids = list(tokenizer(text, split_special_tokens=True, verbose=False)["input_ids"])
        return ids[:-1] if len(ids) > 1 and ids[-1] == tokenizer.eos_token_id else ids
    return list(
        tokenizer.apply_chat_template(
            [
                {**message, "content": _disarmed(tokenizer, message["content"])}
                for message in messages
            ],
            add_generation_prompt=True,
            tokenize=True,
            return_dict=False,
        )
    )


def encode_response(tokenizer: "PreTrainedTokenizerBase", text: str) -> list[int]:
    """Token ids of a response: ordinary tokens only, then EOS.

    `split_special_tokens` keeps the spelling of a special token inside `text` from becoming one.
    Raises ValueError when the tokenizer has no EOS.
    """
    if tokenizer.eos_token_id is None:
        raise ValueError("the tokenizer has no end-of-sequence token")
    ids = tokenizer(text, add_special_tokens=False, split_special_tokens=True, verbose=False)[
        "input_ids"
    ]
    return [*ids, tokenizer.eos_token_id]


def _disarmed(tokenizer: "PreTrainedTokenizerBase", text: str) -> str:
    """The text with a space inside whatever would be read as a special token.

    A chat template is filled in before it is tokenized, when its own special tokens can no longer
    be told from those in a message.
    """
    for token in tokenizer.added_tokens_decoder.values():
        if token.special:
            text = text.replace(token.content, f"{token.content[:1]} {token.content[1:]}")
    return text


def require_distinct_pad(tokenizer: "PreTrainedTokenizerBase") -> None:
    """Raise ValueError when PAD is missing or equals EOS.

    A sequence classifier reads its score at the last token that is not PAD, so with PAD = EOS it
    would be read one token early and a response without an end would score like a finished one.
    """
    if tokenizer.pad_token_id is None:
        raise ValueError("the tokenizer has no padding token")
    if tokenizer.pad_token_id == tokenizer.eos_token_id:
        raise ValueError("the tokenizer pads with its end-of-sequence token; they must differ")


def choose_distinct_pad(tokenizer: "PreTrainedTokenizerBase") -> None:
    """Give a tokenizer whose PAD is missing or equals EOS another token of its own as PAD.

    Many published models come like that. Taken is a special token named for padding, else the
    unknown token; both have a row in the embedding, so the model need not be resized.
    Raises ValueError when the vocabulary has neither.
    """
    if tokenizer.pad_token_id not in (None, tokenizer.eos_token_id):
        return
    reserved = [token for token in tokenizer.get_added_vocab() if "pad" in token.lower()]
    for token in [*sorted(reserved), tokenizer.unk_token]:
        if token is not None and token != tokenizer.eos_token:
            tokenizer.pad_token = token
            return
    require_distinct_pad(tokenizer)
