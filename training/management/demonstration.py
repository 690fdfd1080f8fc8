"""One whole turn of the loop on the embedded climate domain, step by step.

Simulated volunteers go through the services that the pages use. They and the final judgement know
the domain's hidden score; the reward model and PPO never see it. Every step may be interrupted and
taken up again: what is there already is found, not made anew.
"""

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from statistics import mean
from typing import Any

from django.conf import settings

from annotate.models import Membership, Project, ProjectText, Prompt, Response, Task, User
from annotate.services.assignments import claim
from annotate.services.content import add_prompt
from annotate.services.people import add_member
from annotate.services.projects import create_project, publish_text
from annotate.services.rankings import submit_ranking
from rewards.ml.intervals import wilson
from rewards.models import Run
from training.climate import settings as tuned
from training.climate.domain import corpus, lookup, prompts
from training.climate.grade import hidden_score
from training.climate.volunteers import Volunteer, rank, volunteers
from training.cycle import advance, waits_for
from training.models import Cycle, PolicyVersion
from training.services.cycles import start_cycle
from training.services.policies import register_base, request_fine_tuning, request_samples

SLUG = "climate"
SPLITS = ("train", "validation", "test")
SEED = 1

CarryOut = Callable[[Run], Run]


def make_project() -> Project:
    """The climate project with its texts, prompts and simulated volunteers."""
    project = Project.objects.filter(slug=SLUG).first() or create_project(
        SLUG,
        "Climate education assistant",
        description="Which answers about the climate are right, clear and worth reading?",
        audit_share=1.0,  # two people judge each prompt: made-up ones have the time
    )
    texts = Path(settings.BASE_DIR) / "training" / "climate"
    for kind in ProjectText.Kind:
        publish_text(project, kind, (texts / f"{kind}.md").read_text(encoding="utf-8"), by=None)
    for split in SPLITS:
        for prompt in prompts(split):
            messages = [dict(message) for message in prompt.messages]
            add_prompt(project, messages, topic=prompt.topic, language="en", split=split)
    for volunteer in volunteers():
        if not project.memberships.filter(pseudonym=volunteer.name).exists():
            user = User.objects.create_user(f"demo-{volunteer.name.lower()}")  # cannot sign in
            add_member(project, user, Membership.Role.ANNOTATOR, pseudonym=volunteer.name)
    return project


def supervise(project: Project, carry_out: CarryOut) -> PolicyVersion:
    """The supervised model, trained from scratch on the corpus, as the first policy."""
    if policy := project.policies.filter(number=1).first():
        return policy
    run = project.runs.filter(kind="supervised").first()
    if run is None:
        path = Path(settings.PREFLOOP_HOME) / "climate-corpus.jsonl"
        rows = corpus(tuned.CORPUS_SIZE, seed=SEED)
        path.write_text(
            "".join(
                json.dumps({"messages": list(messages), "response": response}) + "\n"
                for messages, response in rows
            ),
            encoding="utf-8",
        )
        run = request_fine_tuning(project, corpus=path, config=tuned.SUPERVISED)
    done = carry_out(run)
    assert done.result is not None
    return register_base(project, done.result["base"], config={"sampling": tuned.SAMPLING})


def sample(project: Project, policy: PolicyVersion, carry_out: CarryOut) -> Run:
    """K responses of the policy to every prompt."""
    chosen = project.prompts.order_by("pk")
    return carry_out(request_samples(policy, chosen, project.responses_per_prompt, SEED))


def let_volunteers_rank(project: Project, on_ranking: Callable[[int], None]) -> int:
    """Every simulated volunteer in turn takes a task and ranks it, until none is left."""
    known = {volunteer.name: volunteer for volunteer in volunteers()}
    members = list(project.memberships.filter(pseudonym__in=known).select_related("project"))
    given, before = 0, -1
    while given > before:
        before = given
        for member in members:
            if _rank_one(member, known[member.pseudonym]):
                given += 1
                on_ranking(given)
    return given


def _rank_one(member: Membership, volunteer: Volunteer) -> bool:
    assignment = claim(member)
    if assignment is None:
        return False
    responses = Response.objects.in_bulk(assignment.display_order)
    texts = [responses[pk].text for pk in assignment.display_order]
    asked = lookup(assignment.task.prompt.messages[-1]["content"])
    ranks = rank(volunteer, asked, texts, occasion=assignment.task_id)
    submit_ranking(assignment, dict(zip(assignment.display_order, ranks, strict=True)))
    return True


def turn(
    project: Project, carry_out: CarryOut, on_ranking: Callable[[int], None]
) -> Iterator[Mapping[str, Any]]:
    """Run this week's cycle to its end; yields each step as it ends, as the cycle logs it."""
    n_held_out = project.prompts.filter(split="test").count()
    cycle = start_cycle(
        project,
        config={
            "reward_model": tuned.REWARD_MODEL,
            "update": tuned.UPDATE,
            "evaluation": {"prompts": n_held_out},
            "blind_votes": n_held_out,
            "sample_prompts": 60,
        },
    )
    reported = 0
    while True:
        moved = advance(cycle)
        cycle.refresh_from_db()
        yield from cycle.log[reported:]
        reported = len(cycle.log)
        if cycle.state != Cycle.State.RUNNING:
            return
        if moved:
            continue
        if cycle.step == Cycle.Step.BLIND_COMPARISON:
            if not let_volunteers_rank(project, on_ranking):
                raise RuntimeError(f"nobody can go on: the cycle waits for {waits_for(cycle)}")
        elif cycle.run:
            carry_out(cycle.run)


@dataclass(frozen=True)
class Judgement:
    """The hidden score's verdict on held-out prompts, one pair of responses for each.

    `no_longer` is the win rate where the new response has no more words than the old one, over
    `n_no_longer` prompts to which the two policies responded differently; None without any.
    """

    n: int
    wins: int
    ties: int
    losses: int
    win_rate: float
    low: float
    high: float
    before: float
    after: float
    n_no_longer: int
    no_longer: float | None


@dataclass(frozen=True)
class _Pair:
    """Hidden scores of the new policy's response and of the old one's."""

    new: float
    old: float
    grew: bool

    @property
    def credit(self) -> float:
        """1 for a win of the new response, a half for a tie."""
        return (self.new > self.old) + (self.new == self.old) / 2


def judge(policy: PolicyVersion) -> Judgement:
    """Compare the policy's responses with its parent's by the hidden score.

    The responses are those that were put before the volunteers; prompts to which both policies
    gave the same response were not, and count as ties.
    """
    tasks = policy.project.tasks.filter(batch=policy.blind_batch, kind=Task.Kind.EVALUATION)
    pairs = [_pair(task) for task in tasks.select_related("prompt")]
    n = Prompt.objects.filter(project=policy.project, split="test").count()
    wins = sum(pair.credit == 1 for pair in pairs)
    losses = sum(pair.credit == 0 for pair in pairs)
    no_longer = [pair.credit for pair in pairs if not pair.grew]
    ties = n - wins - losses
    rate = (wins + ties / 2) / n
    low, high = wilson(rate, n)
    return Judgement(
        n=n,
        wins=wins,
        ties=ties,
        losses=losses,
        win_rate=rate,
        low=low,
        high=high,
        before=mean(pair.old for pair in pairs),
        after=mean(pair.new for pair in pairs),
        n_no_longer=len(no_longer),
        no_longer=mean(no_longer) if no_longer else None,
    )


def _pair(task: Task) -> _Pair:
    """The new policy's response, in slot 0, beside the old one's."""
    asked = lookup(task.prompt.messages[-1]["content"])
    slots = task.slots.select_related("response").order_by("slot")
    new, old = [slot.response.text for slot in slots]
    grew = len(new.split()) > len(old.split())
    return _Pair(hidden_score(asked, new), hidden_score(asked, old), grew)
