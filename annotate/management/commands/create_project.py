from __future__ import annotations

from pathlib import Path
from typing import Any

from django.core.exceptions import ValidationError
from django.core.management.base import CommandError, CommandParser
from django.db import transaction

from annotate.management.output import JsonCommand, text_from
from annotate.models import Project, ProjectText, User
from annotate.services.projects import create_project, publish_text


class Command(JsonCommand):
    help = "Make a project, with its guidelines and consent text from files (Markdown)."

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("slug", help="the project's name in addresses, such as climate")
        parser.add_argument("title")
        parser.add_argument("--description", default="")
        parser.add_argument("--responses", type=int, default=4, help="K: responses of a prompt")
        parser.add_argument("--audit-share", type=float, help="share of prompts two people judge")
        parser.add_argument("--audit-first", type=int, help="so many first prompts are all audited")
        parser.add_argument("--guidelines", type=Path, metavar="FILE")
        parser.add_argument("--consent", type=Path, metavar="FILE")
        parser.add_argument("--admin", metavar="USER", help="an account that shall run the project")

    @transaction.atomic
    def handle(self, *args: Any, **options: Any) -> None:
        admin = None
        if options["admin"]:
            admin = User.objects.filter(username=options["admin"]).first()
            if admin is None:
                raise CommandError(f"There is no account {options['admin']!r}")
        optional = {name: options[name] for name in ("audit_share", "audit_first")}
        try:
            project = create_project(
                options["slug"],
                options["title"],
                by=admin,
                description=options["description"],
                responses_per_prompt=options["responses"],
                **{name: value for name, value in optional.items() if value is not None},
            )
        except ValidationError as error:
            raise CommandError("; ".join(error.messages)) from error
        for kind in ProjectText.Kind.values:
            if options[kind]:
                publish_text(project, kind, text_from(options[kind]), by=admin)
        self.report(facts(project), [f"Project {project.slug} made: {project.title}"])


def facts(project: Project) -> dict[str, Any]:
    return {
        "project": project.slug,
        "title": project.title,
        "texts": {kind: project.text_version(kind) for kind in ProjectText.Kind.values},
    }
