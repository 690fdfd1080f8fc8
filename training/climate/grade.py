"""The hidden score of a response: is it right, does it give a reason, is it clear and polite?

Simulated volunteers judge by it and the last comparison of policies uses it; no reward model ever
sees it. A response is read sentence by sentence, and each sentence is compared with what can be
said about the facts asked for, so that slightly garbled sentences still count, but less.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from difflib import SequenceMatcher
from functools import cache

from training.climate.domain import ClimatePrompt, facts, wording

SIMILAR = 0.85  # share of words, in order, that a sentence must have in common with a known one

# What an answer to one fact is worth, before its reason.
RIGHT, UNANSWERED, CONTRADICTORY, WRONG = 1.0, 0.45, 0.25, 0.0
FALSE_REASON = -0.5
HEDGE_COST = 0.3
UNFINISHED_COST = 0.3
REPEATING_COST = 0.5
CONFUSING_COST = 0.5  # for a garbled sentence, or one about something else


@dataclass(frozen=True)
class Grade:
    """What a response is worth; every part but `reason` lies between 0 and 1.

    `correct`: 1 when every fact asked for is stated rightly, 0 when each is stated wrongly.
    `reason`: share of the facts with a true reason; a false one counts -0.5.
    `clear`: share of the words that answer, less for hedging, for repetition, for an unfinished
    end and for a sentence that confuses, being garbled or about something else. Filler is words
    that do not answer.
    `polite`: 0 or 1.
    `kinds`: what each sentence was taken for.
    """

    correct: float
    reason: float
    clear: float
    polite: float
    kinds: tuple[str, ...]

    @property
    def score(self) -> float:
        """The hidden score, between 0 and 1; a right and plain answer with its reason has 1."""
        total = 0.5 * self.correct + 0.2 * self.reason + 0.2 * self.clear + 0.1 * self.polite
        return max(0.0, total)


def grade(prompt: ClimatePrompt, response: str) -> Grade:
    """Grade a response to one of the domain's prompts."""
    seen: set[str] = set()
    said: dict[str, set[str]] = {fact_id: set() for fact_id in prompt.fact_ids}
    kinds, n_words, n_answering = [], 0, 0
    for sentence in _sentences(response):
        words = _without_announcement(_words(sentence))
        kind, fact_id = _classify(words, prompt.fact_ids)
        known = " ".join(words)
        if known in seen:
            kind, fact_id = "repeat", None
        seen.add(known)
        kinds.append(kind)
        n_words += len(words)
        if fact_id is not None:
            said[fact_id].add(kind)
            n_answering += len(words)
    text = " ".join(_words(response))
    polite = not ("rude" in kinds or _has_cue(text, "rude"))
    hedged = "hedge" in kinds or _has_cue(text, "hedge")
    finished = response.rstrip().endswith((".", "!", "?"))
    confusing = "garbled" in kinds or "unrelated" in kinds
    clear = n_answering / max(n_words, 1)
    clear -= HEDGE_COST * hedged + UNFINISHED_COST * (not finished)
    clear -= CONFUSING_COST * confusing + REPEATING_COST * ("repeat" in kinds)
    n_facts = len(said)
    return Grade(
        correct=sum(_correctness(kinds_said) for kinds_said in said.values()) / n_facts,
        reason=sum(_reason(kinds_said) for kinds_said in said.values()) / n_facts,
        clear=max(0.0, clear),
        polite=float(polite),
        kinds=tuple(kinds),
    )


def hidden_score(prompt: ClimatePrompt, response: str) -> float:
    """The score of `grade`, between 0 and 1."""
    return grade(prompt, response).score


def _correctness(said: set[str]) -> float:
    """How right the statements about one fact are; a true reason alone is no wrong answer."""
    if "right" in said:
        return CONTRADICTORY if "wrong" in said else RIGHT
    return WRONG if said & {"wrong", "false_reason"} else UNANSWERED


def _reason(said: set[str]) -> float:
    if "false_reason" in said:
        return FALSE_REASON
    return float("reason" in said and "wrong" not in said)


def _classify(words: tuple[str, ...], fact_ids: tuple[str, ...]) -> tuple[str, str | None]:
    """What a sentence says, and about which of the facts asked for, if any.

    The kinds are right, wrong, reason, false_reason (about a fact asked for), opener, filler,
    hedge, vague, rude, unrelated (about another fact) and garbled (like nothing known).
    """
    candidates = [entry for fact_id in fact_ids for entry in _about(fact_id)] + list(_phrases())
    similarity, kind, fact_id = max(
        (_similarity(words, known), kind, fact_id) for known, kind, fact_id in candidates
    )
    if similarity >= SIMILAR:
        return kind, fact_id or None
    return ("unrelated" if words in _all_statements() else "garbled"), None


def _without_announcement(words: tuple[str, ...]) -> tuple[str, ...]:
    """A sentence without the words that announce a repetition, such as "as I said"."""
    for phrase in wording().phrases["repeat"]:
        announcement = _words(phrase)
        if words[: len(announcement)] == announcement:
            return words[len(announcement) :]
    return words


def _similarity(first: tuple[str, ...], second: tuple[str, ...]) -> float:
    """Share of words in common, in order, between 0 and 1 (Ratcliff and Obershelp)."""
    return SequenceMatcher(None, first, second, autojunk=False).ratio()


@cache
def _about(fact_id: str) -> tuple[tuple[tuple[str, ...], str, str], ...]:
    """Everything known to be said about a fact: (words, kind, fact id)."""
    fact = facts()[fact_id]
    kinds = {
        "right": fact.right,
        "reason": fact.reasons,
        "wrong": fact.wrong,
        "false_reason": fact.false_reasons,
    }
    return tuple((_words(text), kind, fact_id) for kind, texts in kinds.items() for text in texts)


@cache
def _phrases() -> tuple[tuple[tuple[str, ...], str, str], ...]:
    """The stock phrases: (words, kind, ""), the empty string standing for no fact."""
    return tuple(
        (_words(text), kind, "") for kind, texts in wording().phrases.items() for text in texts
    )


@cache
def _all_statements() -> frozenset[tuple[str, ...]]:
    return frozenset(words for fact_id in facts() for words, _, _ in _about(fact_id))


def _has_cue(text: str, kind: str) -> bool:
    """True when `text`, in lower case and without punctuation, holds a cue of this kind."""
    return any(f" {cue} " in f" {text} " for cue in wording().cues[kind])


def _sentences(text: str) -> Iterator[str]:
    """The sentences of a text that hold any word; the last may be unfinished."""
    for sentence in re.split(r"(?<=[.!?])\s+", text):
        if _words(sentence):
            yield sentence


def _words(text: str) -> tuple[str, ...]:
    return tuple(re.findall(r"[a-z0-9']+", text.lower()))
