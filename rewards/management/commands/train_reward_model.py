"""Fit a reward model in the foreground, and say how good it is."""

from collections.abc import Iterator
from typing import Any

from django.core.management.base import CommandError, CommandParser

from annotate.management.output import JsonCommand, project_from
from annotate.models import Project
from rewards.charts import in_words
from rewards.management.foreground import carry_out, json_object
from rewards.ml.artefacts import ArtefactError
from rewards.models import RewardModelVersion, Snapshot
from rewards.services.bases import NoSuchBase, adopt_base
from rewards.services.gates import judge_reward_model
from rewards.services.reward_models import InvalidConfig, request_reward_model
from rewards.services.taint import refresh_taint
from rewards.templatetags.figures import interval_of

SHOWN = {
    "accuracy": "right on held-out pairs",
    "human_accuracy": "another person",
    "longest_wins_accuracy": "the longer response",
    "tfidf_accuracy": "a linear model of words",
    "accuracy_over_former": "more than the model before",
}


class Command(JsonCommand):
    help = "Fit a reward model to a snapshot, measure it on held-out prompts and judge it."

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("project", help="the project's slug")
        parser.add_argument("--snapshot", type=int, help="its number; the newest one")
        parser.add_argument(
            "--base", help="a folder with a transformers model, or a hub id; the last model's base"
        )
        parser.add_argument(
            "--config",
            type=json_object,
            default={},
            metavar="JSON",
            help="settings that differ from rewards.ml.fit_config.FitConfig, as JSON or @file",
        )

    def handle(self, *args: Any, **options: Any) -> None:
        project = project_from(options["project"])
        refresh_taint(project)
        snapshot = _snapshot(project, options["snapshot"])
        try:
            base = adopt_base(project, options["base"] or _last_base(project))
            version = request_reward_model(snapshot, base, options["config"])
        except (NoSuchBase, ArtefactError, InvalidConfig) as error:
            raise CommandError(str(error)) from error
        carry_out(version.run)
        gate = judge_reward_model(version)
        version.refresh_from_db()
        facts = {
            "project": project.slug,
            "reward_model": version.number,
            "status": version.status,
            "snapshot": snapshot.number,
            "tainted": version.tainted_at is not None,
            "base": version.base,
            "config": version.config,
            "folder": str(version.path),
            "digest": version.digest,
            "metrics": version.metrics,
            "gate": gate.report,
        }
        self.report(facts, _lines(version))


def _snapshot(project: Project, number: int | None) -> Snapshot:
    snapshots = project.snapshots.filter(number=number) if number else project.snapshots.all()
    snapshot = snapshots.first()
    if snapshot is None:
        which = f"snapshot {number}" if number else "snapshot yet: freeze one first"
        raise CommandError(f"{project.slug} has no {which}")
    return snapshot


def _last_base(project: Project) -> str:
    last = project.reward_models.first()
    if last is None:
        raise CommandError(f"{project.slug} has no reward model yet, so --base must say on what")
    return last.base


def _lines(version: RewardModelVersion) -> Iterator[str]:
    yield f"{version} of {version.project.slug}: {version.get_status_display()}"
    for name, words in SHOWN.items():
        found = version.metrics.get(name)
        if found and found["value"] is not None:
            yield f"{words}: {in_words(interval_of(found), percent=True)} prompts"
    assert version.gate is not None
    yield f"gate: {version.gate.state}"
    for rule in version.gate.report["rules"]:
        yield f"  {rule['verdict']:<10}  {rule['rule']}: {rule['reason']}"
    if version.tainted_at:
        yield f"tainted: {version.snapshot.taint_reason}"
    yield str(version.path)
