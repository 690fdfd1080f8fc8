"""A project's settings: what may be set, what a change would take away, and what is still to do."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from django.core.exceptions import ValidationError
from django.db import transaction
from django.utils.text import slugify
from django.utils.translation import gettext, gettext_lazy, ngettext

from annotate.models import AuditEvent, Membership, Project, ProjectText, Ranking, Task, User
from annotate.services.rankings import FLAGS

LEAST_AND_MOST = {
    "responses_per_prompt": (2, 8),
    "audit_share": (0, 1),
    "audit_first": (0, 100_000),
    "active_share": (0, 0.9),
    "gold_rate": (0, 0.5),
    "repeat_rate": (0, 0.5),
    "training_tasks": (0, 20),
    "lease_s": (60, 4 * 3600),
    "undo_s": (0, 24 * 3600),
    "daily_cap": (1, 10_000),
    "total_cap": (1, 1_000_000),
}
CHANGEABLE = frozenset(LEAST_AND_MOST) | {
    "title",
    "description",
    "allow_ties",
    "preference_steps",
    "criteria",
    "asks_confidence",
    "asks_edit",
    "languages",
    "content_categories",
    "flags",
    "paused",
}
NAMED = ("criteria", "flags", "content_categories")
MAX_NAMED = 20
NAME = re.compile(r"[\w-]+( [\w-]+)*")
MAX_NAME_CHARS = 40
MAX_LABEL_CHARS = 100
MAX_DESCRIPTION_CHARS = 2000
LANGUAGE = re.compile(r"[A-Za-z]{2,3}(-[A-Za-z0-9]{2,8})*")
MAX_LANGUAGE_CHARS = 16  # as long as the column of a prompt's language
IN_USE = "in use"  # the code of the error that `drop_used` answers


@transaction.atomic
def update_project(
    project: Project, *, by: User | None, drop_used: bool = False, **settings: Any
) -> Project:
    """Change some settings, and keep in the record what they were before.

    Raises ValidationError, by column, for what cannot be set, and with the code IN_USE for a list
    from which a name is missing that judgements, tasks or people use; `drop_used` takes such names
    off the list all the same. What uses them keeps them.
    """
    if unknown := settings.keys() - CHANGEABLE:
        raise TypeError(f"No settings: {', '.join(sorted(unknown))}")
    project = Project.objects.select_for_update(no_key=True).get(pk=project.pk)
    before = {
        name: getattr(project, name)
        for name, value in settings.items()
        if getattr(project, name) != value
    }
    if not before:
        return project
    after = {name: settings[name] for name in before}
    errors = _errors(after)
    if not drop_used:
        for name in before.keys() & set(NAMED) - errors.keys():
            if kept := _names_in_use(project, name, before[name], after[name]):
                errors[name] = ValidationError(kept, code=IN_USE)
    if errors:
        raise ValidationError(errors)
    for name, value in after.items():
        setattr(project, name, value)
    project.full_clean()
    project.save(update_fields=list(after))
    AuditEvent.record("update", project, project=project, actor=by, before=before, after=after)
    return project


def free_slug(title: str) -> str:
    """A short name for addresses, made from the title, that no project has yet."""
    stem = slugify(title)[:40].strip("-_") or "project"
    taken = set(Project.objects.filter(slug__startswith=stem).values_list("slug", flat=True))
    numbered = (f"{stem}-{number}" for number in range(2, len(taken) + 3))
    return next(slug for slug in (stem, *numbered) if slug not in taken)


def name_for(label: str) -> str:
    """The name that a label stands for where none is given; empty where it has no letter."""
    return slugify(label, allow_unicode=True)[:MAX_NAME_CHARS].strip("-_")


def _errors(settings: Mapping[str, Any]) -> dict[str, ValidationError]:
    """What is wrong with each setting, beside what the model itself checks."""
    errors = {}
    for name, value in settings.items():
        if name in LEAST_AND_MOST and value is not None:
            least, most = LEAST_AND_MOST[name]
            reasons = [] if least <= value <= most else [_out_of_bounds(least, most)]
        elif name in NAMED:
            reasons = list(_wrong_names(value, FLAGS if name == "flags" else ()))
        elif name == "languages":
            reasons = [
                gettext("“%(code)s” is no code of a language, such as en or pt-BR.")
                % {"code": code}
                for code in value
                if not LANGUAGE.fullmatch(code) or len(code) > MAX_LANGUAGE_CHARS
            ]
        elif name == "description" and len(value) > MAX_DESCRIPTION_CHARS:
            reasons = [
                gettext("Longer than %(most)s characters.") % {"most": MAX_DESCRIPTION_CHARS}
            ]
        else:
            continue
        if reasons:
            errors[name] = ValidationError(reasons)
    return errors


def _out_of_bounds(least: float, most: float) -> str:
    return gettext("From %(least)s to %(most)s.") % {"least": least, "most": most}


def _wrong_names(entries: Sequence[Mapping[str, str]], reserved: Collection[str]) -> Iterable[str]:
    """The reasons why these entries cannot be a list of names and labels, by their line."""
    if len(entries) > MAX_NAMED:
        yield gettext("At most %(most)s lines.") % {"most": MAX_NAMED}
    seen: set[str] = set()
    for line, entry in enumerate(entries, start=1):
        name, label = entry["name"], entry["label"]
        about = {"line": line, "name": name}
        if not name:
            yield gettext("Line %(line)s: write a short name, a colon and a label.") % about
        elif not NAME.fullmatch(name) or len(name) > MAX_NAME_CHARS:
            yield (
                gettext(
                    "Line %(line)s: “%(name)s” is no short name. Before the colon stand up to 40 "
                    "letters, digits, spaces and hyphens."
                )
                % about
            )
        elif name in reserved:
            yield gettext("Line %(line)s: every project has “%(name)s” already.") % about
        elif name in seen:
            yield gettext("Line %(line)s: “%(name)s” is there twice.") % about
        if not label:
            yield gettext("Line %(line)s: the label is missing after the colon.") % about
        elif len(label) > MAX_LABEL_CHARS:
            yield gettext("Line %(line)s: the label is longer than 100 characters.") % about
        seen.add(name)


def _names_in_use(
    project: Project,
    setting: str,
    before: Sequence[Mapping[str, str]],
    after: Sequence[Mapping[str, str]],
) -> list[str]:
    """What keeps each name that is about to vanish from the list. Reads judgements only if any."""
    gone = {entry["name"] for entry in before} - {entry["name"] for entry in after}
    if not gone:
        return []
    count = {"criteria": _ratings, "flags": _flagged, "content_categories": _categorised}[setting]
    used = ((name, count(project, name)) for name in sorted(gone))
    return [f"“{name}”: {kept}" for name, kept in used if kept]


def _ratings(project: Project, name: str) -> str:
    return _rankings_with(
        project, "criteria", lambda said: any(name in ratings for ratings in said.values())
    )


def _flagged(project: Project, name: str) -> str:
    return _rankings_with(
        project, "flags", lambda said: any(name in names for names in said.values())
    )


def _rankings_with(project: Project, column: str, uses: Callable[[Any], bool]) -> str:
    rankings = Ranking.objects.in_project(project).exclude(**{column: {}})
    n = sum(uses(said) for said in rankings.values_list(column, flat=True).iterator())
    return ngettext("%(n)s ranking uses it.", "%(n)s rankings use it.", n) % {"n": n} if n else ""


def _categorised(project: Project, name: str) -> str:
    tasks = project.tasks.filter(categories__contains=f"|{name}|").count()
    opted = project.memberships.exclude(category_opt_outs=[])
    people = sum(name in names for names in opted.values_list("category_opt_outs", flat=True))
    parts = []
    if tasks:
        parts.append(ngettext("%(n)s task has it.", "%(n)s tasks have it.", tasks) % {"n": tasks})
    if people:
        parts.append(
            ngettext("%(n)s person does not want it.", "%(n)s people do not want it.", people)
            % {"n": people}
        )
    return " ".join(parts)


@dataclass(frozen=True)
class SetupStep:
    """Something a new project needs, and the page where it is done (with `kind` for a text)."""

    text: str
    is_done: bool
    page: str
    link: str
    kind: str = ""


GUIDELINES, CONSENT = ProjectText.Kind.GUIDELINES, ProjectText.Kind.CONSENT
PAGES = {
    GUIDELINES: gettext_lazy("Write guidelines"),
    CONSENT: gettext_lazy("Write a consent text"),
}


def setup_steps(project: Project) -> list[SetupStep]:
    """What the project needs before volunteers can begin, in the order in which to do it."""
    written = set(project.texts.values_list("kind", flat=True).distinct())
    invited = project.invites.exists() or (
        project.memberships.filter(user__isnull=False, role=Membership.Role.ANNOTATOR).exists()
    )
    steps = [
        SetupStep(
            gettext("Guidelines say what makes a response better."),
            GUIDELINES in written,
            "annotate:text",
            str(PAGES[GUIDELINES]),
            GUIDELINES,
        ),
        SetupStep(
            gettext("A consent text says what is kept and what it is for."),
            CONSENT in written,
            "annotate:text",
            str(PAGES[CONSENT]),
            CONSENT,
        ),
        SetupStep(
            gettext("There are prompts, with responses or for a model to respond to."),
            project.prompts.exists(),
            "annotate:upload",
            gettext("Upload prompts"),
        ),
        SetupStep(
            gettext("Tasks wait for people."),
            project.tasks.exclude(kind=Task.Kind.IMPORT).exists(),
            "annotate:queue",
            gettext("Open tasks"),
        ),
    ]
    if project.training_tasks:
        practice = project.tasks.filter(kind=Task.Kind.TRAINING, state=Task.State.OPEN)
        steps.append(
            SetupStep(
                ngettext(
                    "%(n)s practice task with its explanation is there for newcomers.",
                    "%(n)s practice tasks with their explanations are there for newcomers.",
                    project.training_tasks,
                )
                % {"n": project.training_tasks},
                practice[: project.training_tasks].count() >= project.training_tasks,
                "annotate:gold",
                gettext("Write practice tasks"),
            )
        )
    if project.gold_rate:
        steps.append(
            SetupStep(
                gettext("Tasks with a known right ranking are there to be hidden among the rest."),
                project.tasks.filter(kind=Task.Kind.GOLD, state=Task.State.OPEN).exists(),
                "annotate:gold",
                gettext("Write gold tasks"),
            )
        )
    steps.append(
        SetupStep(
            gettext("People are invited."), invited, "annotate:people", gettext("Invite people")
        )
    )
    return steps
