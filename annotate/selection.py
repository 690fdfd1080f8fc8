"""Draws that must be the same whoever repeats them: which order is shown, which prompt is audited.

Plain Python. Each draw is made from a seed, and each seed from content rather than from row ids, so
that the same data in another database gives the same draws.
"""

import hashlib
import random
from collections.abc import Sequence

# A newcomer gets gold about twice as often, until ten gold tasks or so have told how he judges: of
# his first tasks 1 in 12, where later 1 in 25 is gold.
EARLY_TASKS = 120
EARLY = 25 / 12
EARLY_MOST = 0.5


def seed_from(*parts: str) -> int:
    """A seed of 62 bits (it fits a signed column) from the given words."""
    digest = hashlib.sha256("\x1f".join(parts).encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 2


def display_order(response_ids: Sequence[int], seed: int, n_earlier: int) -> list[int]:
    """The order on the screen for a task's next annotator, counterbalanced over its annotators.

    The first sees a random order and the second its mirror image, so that each pair of responses
    is shown once either way round. Each further two see the next rotation and its mirror image: of
    2K annotators, two see a given response at a given place. `response_ids` must come in an order
    that is the same at every call; `n_earlier` counts the task's earlier assignments.
    """
    order = list(response_ids)
    random.Random(seed).shuffle(order)
    turn = n_earlier // 2 % len(order)
    order = order[turn:] + order[:turn]
    return order[::-1] if n_earlier % 2 else order


def audit_draw(project_slug: str, prompt_hash: str) -> float:
    """A number in [0, 1) fixed by project and prompt: below the audit share, two people judge."""
    return seed_from("audit", project_slug, prompt_hash) / 2**62


def check_draw(what: str, project_slug: str, pseudonym: str, n: int) -> float:
    """A number in [0, 1) fixed by the person and how many tasks he has had: below the project's
    rate for `what`, his next one is of that kind.
    """
    return seed_from(what, project_slug, pseudonym, str(n)) / 2**62


def gold_share(rate: float, n: int) -> float:
    """The share of gold in what comes next to a person who has had `n` tasks, 0 to 1.

    `rate` is the project's.
    """
    return rate if n >= EARLY_TASKS else min(rate * EARLY, max(rate, EARLY_MOST))
