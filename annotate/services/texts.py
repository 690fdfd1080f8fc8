"""Guidelines and consent texts in their versions: what has changed since a person read one."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher

from django.db.models import QuerySet

from annotate.models import Membership, Project, ProjectText

# A rewritten paragraph that is as like its former self as this is compared with it word by word.
ALIKE = 0.4
# That takes time which grows with both sizes; where there is more, old and new stand as they are.
MOST_WORDS = 400
MOST_PAIRS = 100

SAME, ADDED, REMOVED, GAP = "same", "added", "removed", "gap"
Piece = tuple[str, str]  # one of the words above, and a run of text


@dataclass(frozen=True)
class Paragraph:
    """A paragraph or list item as written: its pieces in reading order. A gap stands for many."""

    kind: str
    pieces: Sequence[Piece] = ()


def versions(project: Project, kind: str) -> QuerySet[ProjectText]:
    """All versions, the newest first, without the texts themselves."""
    return project.texts.filter(kind=kind).order_by("-version").defer("text", "html")


def must_read_guidelines(member: Membership) -> bool:
    """Whether the guidelines have changed since the person read them."""
    return 0 < member.guidelines_version < member.project.guidelines_version


def changes_since(text: ProjectText, version: int) -> list[Paragraph]:
    """What the text says otherwise than that earlier version; nothing where there was none."""
    earlier = text.project.texts.filter(kind=text.kind, version__lt=text.version)
    before = earlier.filter(version=version).first()
    return changes(before.text, text.text) if before else []


def changes(before: str, after: str) -> list[Paragraph]:
    """The changed paragraphs, word by word, each with its unchanged neighbours."""
    old, new = paragraphs(before), paragraphs(after)
    found: list[Paragraph] = []
    for step, a, b, c, d in SequenceMatcher(None, old, new, autojunk=False).get_opcodes():
        if step == "equal":
            found += [Paragraph(SAME, [(SAME, text)]) for text in old[a:b]]
        else:
            found += _rewritten(old[a:b], new[c:d])
    return list(_without_the_unchanged(found))


def paragraphs(text: str) -> list[str]:
    """Paragraphs, headings, list items and lines of code, without the line breaks inside them."""
    found: list[str] = []
    goes_on = in_code = False
    for line in text.splitlines():
        fence = line.lstrip().startswith(("```", "~~~"))
        begins = in_code or fence or re.match(r"\s*([-*+>|#]|\d+[.)])", line)
        if not line.strip():
            goes_on = False
            continue
        if goes_on and not begins:
            found[-1] += " " + line.strip()
        else:
            found.append(line.rstrip())
        in_code ^= fence
        goes_on = not (in_code or fence or line.lstrip().startswith(("#", "|")))
    return found


def _rewritten(old: Sequence[str], new: Sequence[str]) -> list[Paragraph]:
    """Changed paragraphs, the most alike taken for a former and a present self."""
    words = [[re.findall(r"\S+\s*", text) for text in side] for side in (old, new)]
    best, place = 0.0, (0, 0)
    if len(old) * len(new) <= MOST_PAIRS:
        for i, before in enumerate(words[0]):
            for j, after in enumerate(words[1]):
                if max(len(before), len(after)) <= MOST_WORDS:
                    both = SequenceMatcher(None, before, after, autojunk=False)
                    if both.quick_ratio() > best and both.ratio() > best:
                        best, place = both.ratio(), (i, j)
    if best < ALIKE:
        removed = [Paragraph(REMOVED, [(REMOVED, text)]) for text in old]
        return removed + [Paragraph(ADDED, [(ADDED, text)]) for text in new]
    i, j = place
    rewritten = Paragraph("changed", _by_words(words[0][i], words[1][j]))
    return [*_rewritten(old[:i], new[:j]), rewritten, *_rewritten(old[i + 1 :], new[j + 1 :])]


def _by_words(before: Sequence[str], after: Sequence[str]) -> list[Piece]:
    pieces: list[Piece] = []
    for step, a, b, c, d in SequenceMatcher(None, before, after, autojunk=False).get_opcodes():
        if step == "equal":
            pieces.append((SAME, "".join(before[a:b])))
            continue
        for kind, words in ((REMOVED, before[a:b]), (ADDED, after[c:d])):
            if words:
                pieces.append((kind, "".join(words)))
    return pieces


def _without_the_unchanged(found: Sequence[Paragraph]) -> Iterator[Paragraph]:
    """Gaps in the place of paragraphs that have no change beside them."""
    changed = {n for n, paragraph in enumerate(found) if paragraph.kind != SAME}
    in_gap = False
    for n, paragraph in enumerate(found):
        if changed & {n - 1, n, n + 1}:
            yield paragraph
            in_gap = False
        elif changed and not in_gap:
            yield Paragraph(GAP)
            in_gap = True
