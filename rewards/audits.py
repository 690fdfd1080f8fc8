"""What is looked into when a reward model has been trained: tokens that buy reward, and whose
judgements make a difference. Kept with the model's metrics:

    token_lift     a rewards.ml.token_lift.Audit: {"state", "max_lift", "threshold", "n_tokens",
                   "tokens": [{"token", "lift", "low", "high", "n", "evidence", "people",
                   "verdict"}]}
    influence      {"examined_by": "gold" or "held-out", "people": [{"annotator", "state", "value",
                   "low", "high", "n"}]}, of a linear model of words (rewards.ml.influence)

People go by their keyed pseudonyms, as in the snapshot.
"""

from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from rewards.ml.pairs import RankedPrompt

if TYPE_CHECKING:
    from rewards.ml.comparisons import Floats
    from rewards.ml.reward_model import RewardModel
    from rewards.ml.text import Message

GOLD, HELD_OUT = "gold", "held-out"


def token_lift(model: "RewardModel", examples: Sequence[RankedPrompt], seed: int) -> dict[str, Any]:
    """The audit of the model on its training prompts."""
    from rewards.ml.token_lift import audit

    def score(asked: "Sequence[tuple[Sequence[Message], Sequence[str]]]") -> "list[Floats]":
        encoded = [model.encode(messages, texts) for messages, texts in asked]
        return [scores.cpu().double().numpy() for scores in model.score_prompts(encoded)]

    train = [example for example in examples if example.split == "train"]
    return audit(train, model.normalisation.temperature, score, seed).as_dict()


def influence(
    examples: Sequence[RankedPrompt], gold: Sequence[RankedPrompt], seed: int
) -> dict[str, Any]:
    """Examined on gold where there is enough of it: what volunteers say hides what they hide."""
    from rewards.ml.features import features_by_prompt
    from rewards.ml.influence import MIN_TEST_PROMPTS, influences

    train = [example for example in examples if example.split == "train"]
    enough = len(gold) >= MIN_TEST_PROMPTS
    test = [*gold] if enough else [example for example in examples if example.split == "test"]
    features = features_by_prompt([prompt.responses for prompt in (*train, *test)], seed)
    found = influences(train, test, features, seed)
    return {
        "examined_by": GOLD if enough else HELD_OUT,
        "people": [asdict(one) for one in found],
    }
