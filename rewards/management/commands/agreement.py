"""How far a project's annotators agree, and what the gate makes of it."""

from collections.abc import Iterator
from typing import Any

from django.core.management.base import CommandParser

from annotate.management.output import JsonCommand, project_from
from rewards.charts import in_words, readable
from rewards.ml.agreement import MIN_RANKINGS
from rewards.models import AgreementReport, GateReport
from rewards.reading import agreement_in_words, forecast_in_words, left_out_in_words
from rewards.services.agreement import measure
from rewards.services.gates import judge_agreement
from rewards.templatetags.figures import interval_of


class Command(JsonCommand):
    help = "Measure how far annotators agree, and judge it by the gate."

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("project", help="the project's slug")

    def handle(self, *args: Any, **options: Any) -> None:
        project = project_from(options["project"])
        report = measure(project)
        gate = judge_agreement(project, report.figures)
        facts = {
            "project": project.slug,
            "measured_at": report.created_at,
            "data_hash": report.data_hash,
            "code_version": report.code_version,
            **report.figures,
            "gate": gate.report | {"released_at": gate.released_at},
        }
        self.report(facts, _lines(report, gate))


def _lines(report: AgreementReport, gate: GateReport) -> Iterator[str]:
    found = report.figures
    known = found["alpha"]["value"] is not None
    alpha = f"{in_words(interval_of(found['alpha']))} prompts." if known else "not measured yet."
    yield f"alpha {alpha} {agreement_in_words(found)}"
    for name, words in (
        ("agreement_with_ties", "raw agreement, ties counted"),
        ("agreement_without_ties", "raw agreement, no ties"),
        ("top_1", "the same best response"),
    ):
        yield f"{words}: {in_words(interval_of(found[name]), percent=True)}{_chance(found[name])}"
    yield f"rank correlation, tau-b: {in_words(interval_of(found['tau_b']))}"
    yield from filter(None, (left_out_in_words(found), forecast_in_words(found)))
    yield f"gate: {gate.state}{' (released)' if gate.released_at else ''}"
    for rule in gate.report["rules"]:
        yield f"  {rule['verdict']:<10}  {rule['rule']}: {rule['reason']}"
    for person in found["annotators"]:
        agreement = in_words(interval_of(person["agreement"]), percent=True)
        if person["agreement"]["value"] is None:
            agreement = f"needs {MIN_RANKINGS} shared prompts, has {person['agreement']['n']}"
        yield f"{person['annotator']}: {person['n_prompts']} prompts, with peers {agreement}"


def _chance(estimate: dict[str, Any]) -> str:
    chance = estimate["chance"]
    return "" if chance is None else f" (chance {readable(chance, percent=True)})"
