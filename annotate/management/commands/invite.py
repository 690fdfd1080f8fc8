from __future__ import annotations

from typing import Any

from django.core.management.base import CommandError, CommandParser
from django.urls import reverse

from annotate.management.output import JsonCommand, project_from
from annotate.models import Membership
from annotate.services.people import create_invite


class Command(JsonCommand):
    help = "Make a link by which people join a project. The link is shown only now."

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("project")
        parser.add_argument(
            "--role", choices=Membership.Role.values, default=Membership.Role.ANNOTATOR.value
        )
        parser.add_argument("--uses", type=int, default=1, help="how many people may join by it")
        parser.add_argument("--days", type=int, default=14, help="how long it is valid")
        parser.add_argument(
            "--base-url", default="", help="such as https://rank.example.org, put before the path"
        )

    def handle(self, *args: Any, **options: Any) -> None:
        if options["uses"] < 1 or options["days"] < 1:
            raise CommandError("--uses and --days count from 1")
        project = project_from(options["project"])
        invite, token = create_invite(
            project, options["role"], max_uses=options["uses"], days=options["days"]
        )
        link = options["base_url"].rstrip("/") + reverse("annotate:invite", args=[token])
        self.report(
            {
                "project": project.slug,
                "role": invite.role,
                "max_uses": invite.max_uses,
                "expires_at": invite.expires_at,
                "link": link,
            },
            [link],
        )
