"""What an admin fills in about a project: its settings, its texts and the files that come in."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from django import forms
from django.core.exceptions import ValidationError
from django.utils.translation import gettext_lazy as _

from annotate.formats import READABLE
from annotate.models import Project, ProjectText
from annotate.services.project_settings import IN_USE, LEAST_AND_MOST, name_for

MAX_TEXT_CHARS = 50_000


class NewProjectForm(forms.Form):
    title = forms.CharField(label=_("Title"), max_length=200)
    description = forms.CharField(
        label=_("Description"),
        required=False,
        max_length=2000,
        widget=forms.Textarea(attrs={"rows": 3}),
        help_text=_("A sentence or two for people who are invited: what they rank, and what for."),
    )


class NamedLinesField(forms.CharField):
    """A list of {"name", "label"} as lines `name: Label`; without a colon the label gives both."""

    def __init__(self, **kwargs: Any) -> None:
        widget = forms.Textarea(attrs={"rows": 4, "spellcheck": "false"})
        super().__init__(required=False, widget=widget, **kwargs)

    def prepare_value(self, value: Any) -> Any:
        if not isinstance(value, list):  # what was typed is shown again as it was
            return value
        return "\n".join(f"{entry['name']}: {entry['label']}" for entry in value)

    def clean(self, value: Any) -> list[dict[str, str]]:
        lines = [line.strip() for line in super().clean(value).splitlines() if line.strip()]
        return [_named(line) for line in lines]


def _named(line: str) -> dict[str, str]:
    name, colon, label = (part.strip() for part in line.partition(":"))
    return (
        {"name": name.lower(), "label": label}
        if colon
        else {
            "name": name_for(line),
            "label": line,
        }
    )


class CodesField(forms.CharField):
    """A list of codes, written with commas or spaces between them."""

    def prepare_value(self, value: Any) -> Any:
        return ", ".join(value) if isinstance(value, list) else value

    def clean(self, value: Any) -> list[str]:
        return list(dict.fromkeys(super().clean(value).replace(",", " ").split()))


class ScaledField(forms.FloatField):
    """A number in a unit that people use, `per` times the stored one."""

    def __init__(self, *, per: float, **kwargs: Any) -> None:
        self.per = per
        super().__init__(**kwargs)

    def prepare_value(self, value: Any) -> Any:
        return f"{value * self.per:.6g}" if isinstance(value, int | float) else value

    def clean(self, value: Any) -> float | None:
        shown = super().clean(value)
        return None if shown is None else shown / self.per


class SecondsField(ScaledField):
    """Whole seconds, shown in minutes."""

    def clean(self, value: Any) -> int | None:
        seconds = super().clean(value)
        return None if seconds is None else round(seconds)


def percent(setting: str, label: Any, help_text: Any) -> ScaledField:
    least, most = LEAST_AND_MOST[setting]
    return ScaledField(
        per=100, min_value=100 * least, max_value=100 * most, label=label, help_text=help_text
    )


def minutes(setting: str, label: Any, help_text: Any) -> SecondsField:
    least, most = LEAST_AND_MOST[setting]
    return SecondsField(
        per=1 / 60, min_value=least / 60, max_value=most / 60, label=label, help_text=help_text
    )


def whole(setting: str, label: Any, help_text: Any, **more: Any) -> forms.IntegerField:
    least, most = LEAST_AND_MOST[setting]
    return forms.IntegerField(
        min_value=int(least), max_value=int(most), label=label, help_text=help_text, **more
    )


class ProjectForm(forms.Form):
    """All settings of a project, in sections."""

    title = forms.CharField(label=_("Title"), max_length=200)
    description = forms.CharField(
        label=_("Description"),
        required=False,
        widget=forms.Textarea(attrs={"rows": 3}),
        help_text=_("A sentence or two for people who are invited: what they rank, and what for."),
    )
    responses_per_prompt = whole(
        "responses_per_prompt",
        _("Responses at once"),
        _(
            "How many responses of a prompt a model writes, for one person to rank side by side. "
            "Four give six comparisons for little more reading than two. Tasks that are open "
            "already stay as they are."
        ),
    )
    allow_ties = forms.BooleanField(
        label=_("Two responses may share a place"),
        required=False,
        help_text=_("Without ties people must decide even where they see no difference."),
    )
    preference_steps = forms.TypedChoiceField(
        label=_("Of two responses, ask"),
        coerce=int,
        choices=[
            (3, _("which is better, or equal")),
            (7, _("how much better: slightly, clearly or much, or equal")),
        ],
        help_text=_("Only where a task has just two responses."),
    )
    asks_confidence = forms.BooleanField(
        label=_("Ask how sure people are"),
        required=False,
        help_text=_("Guessed, fairly sure or sure; answering is up to them."),
    )
    asks_edit = forms.BooleanField(
        label=_("Let people improve the best response"),
        required=False,
        help_text=_("What they write is kept as a demonstration for supervised training."),
    )
    criteria = NamedLinesField(
        label=_("Criteria"),
        help_text=_(
            "What each response is rated on, from 1 to 5, beside the ranking. One a line, such as "
            "“safe: Safe to follow”: a short name for the data, a colon, and what people read. "
            "Empty for none."
        ),
    )
    flags = NamedLinesField(
        label=_("Flags of your own"),
        help_text=_(
            "One a line, such as “greenwash: Greenwashing”. Toxic, personal data, factual error, "
            "off topic, wrong language and identity leak are there in every project."
        ),
    )
    audit_share = percent(
        "audit_share",
        _("Prompts that two people judge (%)"),
        _(
            "Drawn by chance; only these tell how far people agree. At a fixed budget, more "
            "prompts judged once train a better model than fewer judged twice."
        ),
    )
    audit_first = whole(
        "audit_first",
        _("First prompts, all judged by two"),
        _("So that agreement can be judged early. Changes hold for tasks opened from now on."),
    )
    active_share = percent(
        "active_share",
        _("Prompts chosen for what they would teach (%)"),
        _(
            "The rest come by chance, and show each week whether choosing helps; where it does "
            "not, all come by chance. Up to 90; 70 is usual. 0 for none."
        ),
    )
    gold_rate = percent(
        "gold_rate",
        _("Gold tasks, of what a person gets (%)"),
        _(
            "Tasks whose right ranking you know, hidden among the rest. A newcomer gets twice as "
            "many. Up to 50; 4 is usual. 0 for none."
        ),
    )
    repeat_rate = percent(
        "repeat_rate",
        _("Repeats, of what a person gets (%)"),
        _(
            "Tasks that the person has ranked before, in mirrored order: they measure how steady "
            "somebody is. Up to 50; 3 is usual. 0 for none."
        ),
    )
    training_tasks = whole(
        "training_tasks",
        _("Practice tasks for newcomers"),
        _(
            "Each shows the right ranking and why afterwards. Write them under Tasks, “Gold and "
            "practice”."
        ),
    )
    lease_s = minutes(
        "lease_s",
        _("A task is kept for somebody (minutes)"),
        _(
            "So long nobody else gets it after the page was closed. While the page is open, the "
            "time begins anew. Work that comes later is not lost."
        ),
    )
    undo_s = minutes(
        "undo_s", _("A ranking can be taken back for (minutes)"), _("0 for not at all.")
    )
    daily_cap = whole(
        "daily_cap",
        _("Most rankings of a person in a day"),
        _("Empty for no limit. A limit guards against tiredness and against a single voice."),
        required=False,
    )
    total_cap = whole(
        "total_cap",
        _("Most rankings of a person in all"),
        _("Empty for no limit."),
        required=False,
    )
    languages = CodesField(
        label=_("Languages of the prompts"),
        required=False,
        max_length=400,
        help_text=_("Codes such as “en, de, pt-BR”: people choose which of them they read."),
    )
    content_categories = NamedLinesField(
        label=_("Content that people may avoid"),
        help_text=_(
            "One a line, such as “violence: Violence”. Prompts that carry the name are covered "
            "until a person uncovers them, and nobody gets them who does not want them."
        ),
    )
    drop_used = forms.BooleanField(
        label=_("Take these names off the list all the same; what uses them keeps them."),
        required=False,
    )

    SECTIONS = (
        ("about", _("About"), ("title", "description")),
        (
            "ranking",
            _("What people are asked"),
            (
                "responses_per_prompt",
                "allow_ties",
                "preference_steps",
                "asks_confidence",
                "asks_edit",
                "criteria",
                "flags",
            ),
        ),
        (
            "who",
            _("Who judges what"),
            (
                "audit_share",
                "audit_first",
                "active_share",
                "gold_rate",
                "repeat_rate",
                "training_tasks",
                "daily_cap",
                "total_cap",
                "lease_s",
                "undo_s",
            ),
        ),
        ("content", _("Languages and content"), ("languages", "content_categories")),
    )
    uses_names_in_use = False

    @classmethod
    def of(cls, project: Project, data: Mapping[str, Any] | None = None) -> ProjectForm:
        names = (name for _key, _title, fields in cls.SECTIONS for name in fields)
        return cls(data, initial={name: getattr(project, name) for name in names})

    def sections(self) -> Iterator[tuple[str, Any, list[forms.BoundField]]]:
        for key, title, names in self.SECTIONS:
            yield key, title, [self[name] for name in names]

    def settings(self) -> dict[str, Any]:
        return {name: value for name, value in self.cleaned_data.items() if name != "drop_used"}

    def refuse(self, error: ValidationError) -> None:
        """Show why the service took nothing; for names in use it asks whether they shall go."""
        for name, reasons in error.error_dict.items():
            self.add_error(name, reasons)
            self.uses_names_in_use |= any(reason.code == IN_USE for reason in reasons)


class TextForm(forms.Form):
    """A new version of the guidelines or of the consent text."""

    text = forms.CharField(
        label=_("Text, in Markdown"),
        max_length=MAX_TEXT_CHARS,
        strip=False,
        widget=forms.Textarea(attrs={"rows": 18, "dir": "auto"}),
    )

    def clean_text(self) -> str:
        """With the line ends of a file, in which the text may have been written before."""
        text = str(self.cleaned_data["text"]).replace("\r\n", "\n").replace("\r", "\n")
        if not text.strip():
            raise ValidationError(_("Write something first."))
        return text.strip("\n")


KINDS = {
    ProjectText.Kind.GUIDELINES: _("Guidelines"),
    ProjectText.Kind.CONSENT: _("Consent text"),
}

FORMATS = {
    "csv": "CSV",
    "prefloop": "Prefloop",
    "pandalm": "PandaLM",
    "lamp": "LAMP",
    "wqrm": "WQRM",
    "ratings": _("Ratings, one person a line"),
    "qa-feedback": "QA-Feedback",
    "arena": "Chatbot Arena",
    "label-studio": "Label Studio",
    "argilla": "Argilla",
    "hh-rlhf": "HH-RLHF",
    "trl-preference": "TRL preference",
    "trl-unpaired": "TRL unpaired",
    "prompt-completion": "Prompt and completion",
    "trl-prompt-only": "TRL prompt only",
}


class ReadingForm(forms.Form):
    """How a file is to be read."""

    format = forms.ChoiceField(
        label=_("Format"),
        required=False,
        choices=[("", _("Tell it from the content")), *((n, FORMATS.get(n, n)) for n in READABLE)],
    )
    topic = forms.CharField(
        label=_("Topic"),
        required=False,
        max_length=100,
        help_text=_("For prompts that name none themselves."),
    )


class UploadForm(ReadingForm):
    file = forms.FileField(
        label=_("File"),
        help_text=_("JSON lines, one JSON array, or CSV; plain or gzip; up to 50 MiB."),
        widget=forms.FileInput(attrs={"accept": ".jsonl,.json,.csv,.gz"}),
    )
    field_order = ("file", "format", "topic")


class ConfirmForm(forms.Form):
    """Whether to leave bad lines out or to store nothing because of them."""

    ALL, GOOD = "all", "good"
    which = forms.ChoiceField(
        choices=[
            (ALL, _("Store nothing unless every line is good")),
            (GOOD, _("Store the good lines, and leave the others out")),
        ],
        widget=forms.RadioSelect,
        initial=ALL,
    )
