"""What an import found and did."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from annotate.formats.records import BadLine


@dataclass
class Tally:
    """Things of one kind: those that an import spoke of, and those of them that it added."""

    met: set[Hashable] = field(default_factory=set)
    added: set[Hashable] = field(default_factory=set)

    def note(self, met: Iterable[Hashable], added: Iterable[Hashable]) -> None:
        self.met.update(met)
        self.added.update(added)

    @property
    def n_new(self) -> int:
        return len(self.added)

    @property
    def n_there(self) -> int:
        return len(self.met) - len(self.added)


@dataclass
class ImportReport:
    """What came of one file.

    `judged_tasks` are those that judgements were stored in, one for each choice of an item's
    responses that was judged. `n_opened_tasks` now wait for volunteers. `n_repeated` counts new
    rankings of what the same annotator had judged before; both stand. `n_compare_nothing` counts
    judgements left out, such as labels of single responses. `bad` are the lines left out.
    """

    batch: str
    n_records: int = 0
    prompts: Tally = field(default_factory=Tally)
    responses: Tally = field(default_factory=Tally)
    demonstrations: Tally = field(default_factory=Tally)
    annotators: Tally = field(default_factory=Tally)
    judged_tasks: Tally = field(default_factory=Tally)
    rankings: Tally = field(default_factory=Tally)
    n_opened_tasks: int = 0
    n_repeated: int = 0
    n_compare_nothing: int = 0
    bad: list[BadLine] = field(default_factory=list)

    KINDS = ("prompts", "responses", "demonstrations", "annotators", "judged_tasks", "rankings")

    @property
    def adds(self) -> bool:
        """Whether anything is new."""
        return bool(self.n_opened_tasks) or any(getattr(self, kind).added for kind in self.KINDS)

    def counts(self) -> dict[str, Any]:
        """The numbers, as plain JSON."""
        tallies = {kind: getattr(self, kind) for kind in self.KINDS}
        return {
            "records": self.n_records,
            **{
                kind: {"new": tally.n_new, "already_there": tally.n_there}
                for kind, tally in tallies.items()
            },
            "opened_tasks": self.n_opened_tasks,
            "repeated": self.n_repeated,
            "compare_nothing": self.n_compare_nothing,
        }


class ImportRefused(ValueError):
    """Some lines cannot be used, and nothing was imported; `bad` names them all."""

    def __init__(self, bad: Sequence[BadLine]) -> None:
        super().__init__(f"line {bad[0].number}: {bad[0].reason}")
        self.bad = tuple(bad)
