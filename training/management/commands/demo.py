"""`make demo`: from nothing to an improved policy, and the links to look around."""

import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from django.core.management import call_command
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.urls import reverse
from tqdm import tqdm

from annotate.models import Membership, Project
from annotate.services.people import create_invite
from annotate.services.tasks import task_progress
from rewards.management.foreground import carry_out
from training.lifecycle import NotAllowed
from training.management import demonstration as demo
from training.models import Cycle, PolicyVersion

OUTCOMES = {
    "freeze": "Freeze the rankings into a dataset",
    "agreement gate": "Ask whether the volunteers agree enough",
    "reward model": "Train a reward model with LoRA on those rankings",
    "reward gate": "Ask whether the reward model is good enough",
    "ppo": "Improve the policy by PPO with LoRA",
    "evaluate": "Compare old and new on held-out prompts",
    "blind comparison": "Let the volunteers compare them too, blind",
    "promotion gate": "Ask whether the new policy may go live",
    "sample": "Let the new policy write the next responses to rank",
}


class Command(BaseCommand):
    help = "Run one whole weekly cycle on the embedded climate domain, once, and print links."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--address", default="127.0.0.1:8000", help="where the site will be")

    def handle(self, *args: Any, **options: Any) -> None:
        began = time.monotonic()
        call_command("migrate", verbosity=0)
        project = Project.objects.filter(slug=demo.SLUG).first()
        if project is None or not project.cycles.filter(state=Cycle.State.DONE).exists():
            project = self.whole_turn()
            self.line(f"\nAll of it took {time.monotonic() - began:.0f} s.")
        self.summary(project)
        self.links(project, options["address"])

    def whole_turn(self) -> Project:
        self.line("Prefloop shows one week of its life, on a small model and made-up volunteers.\n")
        with self.step("Set up a project on climate education, with a dozen volunteers"):
            project = demo.make_project()
        prompts = project.prompts.count()
        self.line(f"   {prompts} prompts, of which a part is held out to judge the result.")
        with self.step("Train a small language model from scratch on the shipped corpus"):
            policy = demo.supervise(project, carry_out)
        k = project.responses_per_prompt
        with self.step(f"Let it write {k} responses to each prompt"):
            demo.sample(project, policy, carry_out)
        with self.step("Let the volunteers rank them; one is careless and one is hostile"):
            self.rankings(project)
        self.cycle(project)
        return project

    def rankings(self, project: Project) -> None:
        waiting = task_progress(project).waiting
        silent = not sys.stderr.isatty()
        with tqdm(
            total=waiting, desc="rankings", file=sys.stderr, leave=False, disable=silent
        ) as bar:
            demo.let_volunteers_rank(project, lambda n: bar.update(1))
        given = task_progress(project).given
        self.line(f"   {given} rankings; two volunteers judged each prompt.")

    def cycle(self, project: Project) -> None:
        self.line("\nThe weekly cycle:")
        since = time.monotonic()
        try:
            for entry in demo.turn(project, carry_out, lambda n: None):
                took = time.monotonic() - since
                name = OUTCOMES.get(entry["step"], entry["step"])
                self.line(f"-> {name}: {entry['what']}  ({took:.0f} s)")
                since = time.monotonic()
        except NotAllowed as error:  # other settings than it began with, or a week ago
            raise CommandError(f"{error}.\n`make demo-reset` begins anew.") from error
        cycle = project.cycles.latest("created_at")
        if cycle.state != Cycle.State.DONE:
            raise CommandError(
                f"The cycle {cycle.state}: {cycle.reason}\n"
                "`make demo` goes on from here, `make demo-reset` begins anew."
            )

    def summary(self, project: Project) -> None:
        policy = project.policies.get(status=PolicyVersion.Status.LIVE)
        self.line(f"\n{policy} is live. What came of the week:")
        for line in facts(policy):
            self.line(f"   {line}")

    def links(self, project: Project, address: str) -> None:
        site = f"http://{address}"
        self.line(f"\nOpen these once the site is up at {site} (Ctrl+C stops it):")
        for role, uses in ((Membership.Role.ADMIN, 1), (Membership.Role.ANNOTATOR, 100)):
            _, token = create_invite(project, role, max_uses=uses)
            who = "as an admin, once" if uses == 1 else "as a volunteer"
            self.line(f"   {who}: {site}{reverse('annotate:invite', args=[token])}")
        self.line("")

    def line(self, text: str) -> None:
        self.stdout.write(text)
        self.stdout.flush()

    @contextmanager
    def step(self, title: str) -> Iterator[None]:
        began = time.monotonic()
        self.line(f"-> {title} …")
        yield
        self.line(f"   done in {time.monotonic() - began:.0f} s")


def facts(policy: PolicyVersion) -> list[str]:
    """The figures of the turn, in the order of the loop."""
    assert policy.reward_model is not None and policy.run is not None
    agreement = policy.reward_model.snapshot.agreement
    metrics, evaluation = policy.reward_model.metrics, policy.evaluation
    judged, blind = demo.judge(policy), evaluation["blind"]
    old, new = evaluation["old"], evaluation["new"]
    return [
        f"volunteers agree by alpha {in_figures(agreement['alpha'])}, that is in "
        f"{in_percent(agreement['agreement_without_ties'])} of pairs; chance is 50 %",
        f"reward model, right on held-out pairs: {in_percent(metrics['accuracy'])}; chance is 50 %",
        f"   the longer one wins: {in_percent(metrics['longest_wins_accuracy'])}; "
        f"another volunteer: {in_percent(metrics['human_accuracy'])}",
        "PPO, reward and KL by iteration: " + curve(policy),
        f"KL to the supervised model: {evaluation['kl']:.1f} nats a response",
        f"length: {old['response_tokens']:.1f} tokens before, {new['response_tokens']:.1f} after "
        f"({evaluation['length_change']:+.0%})",
        f"the volunteers, blind, preferred the new policy: {in_percent(blind['win_rate'])}",
        f"hidden score of correctness and clarity, mean: {judged.before:.2f} before, "
        f"{judged.after:.2f} after",
        f"HELD-OUT PROMPTS WON BY THE NEW POLICY, judged by the hidden score: "
        f"{judged.win_rate:.0%} [{judged.low:.0%} to {judged.high:.0%}]",
        f"   {judged.wins} won, {judged.ties} tied (half a win each), {judged.losses} lost, "
        f"of {judged.n}",
        *(
            [f"   where its response is no longer than the old one: {judged.no_longer:.0%}"]
            if judged.no_longer is not None
            else []
        ),
    ]


def in_figures(estimate: Mapping[str, Any]) -> str:
    return "{value:.2f} [{low:.2f} to {high:.2f}]".format(**estimate)


def in_percent(estimate: Mapping[str, Any]) -> str:
    if estimate["value"] is None:
        return "not measured"
    return "{value:.0%} [{low:.0%} to {high:.0%}]".format(**estimate)


def curve(policy: PolicyVersion) -> str:
    """Five points of the PPO run's curve."""
    assert policy.run is not None
    rows = [row.values for row in policy.run.metrics.order_by("step") if "reward" in row.values]
    points = [rows[round(i * (len(rows) - 1) / 4)] for i in range(5)]
    return ", ".join(
        f"{row['iteration']:.0f}: {row['reward']:+.2f} / {row['kl_reference']:.1f}"
        for row in points
    )
