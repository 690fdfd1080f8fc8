"""Poison drills: what the defences would have done had some volunteers been hostile.

A drill is a run. It reads what people said and writes nothing but its own result:

    {"examined_by": "gold" | "held-out" | "", "n_people", "n_gold", "outcomes": [
        a rewards.ml.drill.DrillOutcome, the first of them with nobody hostile]}
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from annotate.models import AuditEvent, Project, Response, Task, User
from rewards.gold import gold_tasks
from rewards.ml.progress import OnProgress, Progress
from rewards.models import GateReport, Run
from rewards.services.dataset import trainable
from rewards.services.gates import thresholds
from rewards.services.runs import request_run

if TYPE_CHECKING:
    from rewards.ml.comparisons import Ranking as Ranks
    from rewards.ml.drill import Judged

KIND = "drill"
ATTACKS = ("reversed", "longest wins")
SHARES = (0.1, 0.2, 0.3)
MOST_PROMPTS = 2000  # the newest; more would take minutes
AT_ONCE = 500
SEED = 0


def request_drill(project: Project, by: User | None) -> Run:
    """Queue a drill; one that has not ended yet is returned instead of a second."""
    waiting = project.runs.filter(kind=KIND).exclude(state__in=Run.FINISHED).first()
    if waiting:
        return waiting
    run = request_run(project, KIND, {}, by=by)
    AuditEvent.record("poison drill", run, project=project, actor=by)
    return run


def newest_drill(project: Project) -> Run | None:
    return project.runs.filter(kind=KIND).order_by("-pk").first()


def carry_out(run: Run, report: OnProgress) -> dict[str, Any]:
    """The work of the run."""
    from rewards.ml.drill import Drill
    from rewards.ml.gate import GateSettings

    cases = [(ATTACKS[0], 0.0), *((attack, share) for attack in ATTACKS for share in SHARES)]
    report(Progress(0, len(cases) + 1, "reading what people said"))
    settings = GateSettings(**thresholds(run.project, GateReport.Gate.AGREEMENT))
    gold = _gold(run.project)
    drill = Drill(_judged(run.project), gold, settings, SEED)
    outcomes = []
    for number, (attack, share) in enumerate(cases, 1):
        said = f"{attack}, {share:.0%} of judgements" if share else "nobody hostile"
        report(Progress(number, len(cases) + 1, said))
        outcomes.append(asdict(drill.attacked(attack, share)))
    report(Progress(len(cases) + 1, len(cases) + 1, "done"))
    return {
        "examined_by": drill.examined_by,
        "n_people": len(drill.people),
        "n_gold": len(gold),
        "outcomes": outcomes,
    }


def _judged(project: Project) -> list[Judged]:
    """The newest prompts that training may learn from, people by the ids of their memberships."""
    from rewards.ml.drill import Judged

    task = "assignment__task__"
    rows = (
        trainable(project)
        .order_by("-pk")
        .values_list(
            f"{task}prompt", f"{task}prompt__split", f"{task}kind", "assignment__annotator", "ranks"
        )
    )
    said: dict[int, dict[str, Any]] = {}
    facts: dict[int, tuple[str, bool]] = {}
    for prompt, split, kind, member, ranks in rows.iterator():
        if prompt not in said and len(said) == MOST_PROMPTS:
            continue
        said.setdefault(prompt, {}).setdefault(str(member), ranks)
        audit = kind in (Task.Kind.AUDIT, Task.Kind.IMPORT)
        facts[prompt] = (split, audit or (prompt in facts and facts[prompt][1]))
    texts = _texts({int(pk) for one in said.values() for ranks in one.values() for pk in ranks})
    return [
        Judged(
            texts={name: texts[name] for ranks in one.values() for name in ranks},
            said=one,
            split=facts[prompt][0],
            audit=facts[prompt][1],
        )
        for prompt, one in said.items()
    ]


def _gold(project: Project) -> list[Judged]:
    """Gold tasks that somebody has ranked; of several rankings of one person the first."""
    from rewards.ml.drill import Judged

    found = gold_tasks(project)
    texts = _texts({int(pk) for _, task in found for pk in task.key})
    return [
        Judged(
            texts={name: texts[name] for name in task.key},
            said={person: _first(said, task.key) for person, said in task.said.items()},
            key=task.key,
        )
        for _, task in found
    ]


def _first(said: Ranks | Sequence[Ranks], key: Mapping[str, int]) -> Ranks:
    """A person's first ranking of the responses that the key knows."""
    first = said if isinstance(said, Mapping) else said[0]
    return {name: rank for name, rank in first.items() if name in key}


def _texts(ids: set[int]) -> dict[str, str]:
    found: dict[str, str] = defaultdict(str)
    ordered = sorted(ids)
    for start in range(0, len(ordered), AT_ONCE):
        some = Response.objects.filter(pk__in=ordered[start : start + AT_ONCE])
        found.update((str(pk), text) for pk, text in some.values_list("pk", "text"))
    return found
