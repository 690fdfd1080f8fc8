"""What admins fill in on the pages about judgements."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, cast, get_args

from django import forms
from django.db.models import Model
from django.http import QueryDict
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from annotate.formats import WRITABLE
from annotate.formats.trl import Ties
from annotate.forms.review import DecidedForm
from annotate.models import Adjudication, Project
from annotate.services.audit_sample import MOST_AT_ONCE
from rewards.ml.fit_config import FitConfig
from rewards.models import GateSetting, Snapshot
from rewards.services.gates import check_thresholds
from rewards.services.what_if import Choices, LeftOut

FORMAT_NAMES = {
    "prefloop": _("Prefloop's own lines, everything in them"),
    "trl-preference": _("TRL preference pairs, conversational"),
    "trl-preference-standard": _("TRL preference pairs, plain text"),
    "trl-unpaired": _("TRL unpaired, good and unacceptable responses"),
    "trl-prompt-only": _("TRL prompts alone"),
    "csv": _("CSV for spreadsheets"),
}
TIE_NAMES = {
    "drop": _("leave them out"),
    "half": _("both ways round, at half the weight"),
    "both": _("both ways round"),
}


GROUPS = ("people", "topics", "weeks")


class ReasonForm(forms.Form):
    """Why something out of the ordinary is done; it is kept for good."""

    reason = forms.CharField(
        label=_("Reason"),
        max_length=1000,
        widget=forms.Textarea(attrs={"rows": 3}),
        error_messages={"required": _("Say why, for the record.")},
    )


class AuditMoreForm(forms.Form):
    """How many more prompts two people are to judge; the key makes a double click one."""

    n = forms.IntegerField(label=_("Prompts to add"), min_value=1, max_value=MOST_AT_ONCE)
    key = forms.CharField(max_length=32, widget=forms.HiddenInput)


class GateSettingForm(forms.ModelForm):
    """Thresholds of the gates, by the gate's name; what is left out has its default."""

    class Meta:
        model = GateSetting
        fields = ("project", "values", "reason")
        help_texts = {"values": '{"agreement": {"threshold": 0.2}, "reward model": {…}}'}

    def clean_values(self) -> Any:
        values = self.cleaned_data["values"]
        try:
            check_thresholds(values)
        except ValueError as error:
            raise forms.ValidationError(str(error)) from error
        return values


# Of each threshold what it means, the least, the most, and whether it counts something.
THRESHOLDS: dict[str, dict[str, tuple[Any, float, float, bool]]] = {
    "agreement": {
        "threshold": (_("Lower bound of alpha, at least"), -1, 1, False),
        "half_width": (_("Half-width of its interval (95 %), at most"), 0.01, 1, False),
        "min_prompts": (_("Prompts judged by two people, at least"), 1, 100_000, True),
        "min_annotators": (_("People, at least"), 2, 1000, True),
        "min_rankings": (_("Shared rankings of each of them, at least"), 1, 10_000, True),
    },
    "reward model": {
        "human_margin": (_("Accuracy below another person's, at most"), 0, 1, False),
        "live_margin": (_("Accuracy below the live model's, at most"), 0, 1, False),
        "gold_margin": (_("Lower bound of what it loses on gold, at most"), 0, 1, False),
        "person_share": (_("Share of one person in the training pairs, at most"), 0.01, 1, False),
        "three_share": (_("Share of three people, at most"), 0.01, 1, False),
        "drift": (_("Fall of alpha, at most"), 0, 2, False),
        "slice_floor": (_("Upper bound of a large topic's alpha, at least"), -1, 1, False),
    },
}


class ThresholdForm(forms.Form):
    """The thresholds of the gates, at first as they are in force, and why they are changed."""

    one_annotator = forms.BooleanField(
        label=_("Train on what a single person says"),
        required=False,
        help_text=_(
            "Nobody can measure then whether others agree. It is printed on every reward model."
        ),
    )
    reason = forms.CharField(
        label=_("Why are they changed?"),
        max_length=1000,
        widget=forms.Textarea(attrs={"rows": 3}),
        error_messages={"required": _("Say why, for the record.")},
    )

    def __init__(
        self, in_force: Mapping[str, Mapping[str, Any]], data: QueryDict | None = None
    ) -> None:
        super().__init__(data)
        self.in_force = in_force
        self.fields["one_annotator"].initial = in_force["agreement"]["one_annotator"]
        for gate, known in THRESHOLDS.items():
            for name, (label, least, most, counts) in known.items():
                kind: Any = forms.IntegerField if counts else forms.FloatField
                self.fields[f"{gate}-{name}".replace(" ", "_")] = kind(
                    label=label,
                    min_value=least,
                    max_value=most,
                    initial=in_force[gate][name],
                    widget=forms.TextInput(attrs={"inputmode": "decimal"}),
                )

    def of_gate(self, gate: str) -> list[forms.BoundField]:
        return [self[f"{gate}-{name}".replace(" ", "_")] for name in THRESHOLDS[gate]]

    @property
    def agreement_fields(self) -> list[forms.BoundField]:
        return self.of_gate("agreement")

    @property
    def model_fields(self) -> list[forms.BoundField]:
        return self.of_gate("reward model")

    @property
    def thresholds(self) -> dict[str, dict[str, Any]]:
        """As `set_thresholds` takes them."""
        data = self.cleaned_data
        found = {
            gate: {name: data[f"{gate}-{name}".replace(" ", "_")] for name in known}
            for gate, known in THRESHOLDS.items()
        }
        found["agreement"]["one_annotator"] = data["one_annotator"]
        return found


# What one click says of a disagreement; the page "Review" has more to choose from.
CAUSE_NAMES = {
    Adjudication.Category.GUIDELINE_GAP: _("Guideline gap"),
    Adjudication.Category.TRUE_TIE: _("True tie"),
    Adjudication.Category.ERROR: _("Error"),
    Adjudication.Category.TASTE: _("Taste"),
}


class DisagreementForm(DecidedForm):
    """Which disagreements are shown; what makes no sense is as if it were not given."""

    topic = forms.ChoiceField(label=_("Topic"), required=False)

    def __init__(self, data: Mapping[str, Any], *, topics: Sequence[str]) -> None:
        super().__init__({"state": "open", **data})
        choices = [("", gettext("all topics")), *((topic, topic) for topic in topics)]
        self.fields["topic"].choices = choices  # type: ignore[attr-defined]
        if not topics:
            del self.fields["topic"]
        self.is_valid()

    @property
    def wanted_state(self) -> str:
        return self.cleaned_data.get("state") or "open"

    @property
    def wanted_topic(self) -> str:
        return self.cleaned_data.get("topic") or ""


class CauseForm(forms.Form):
    """Why people differ about a task, and the decision that the reviewer knew of."""

    category = forms.ChoiceField(choices=list(CAUSE_NAMES.items()))
    replaces = forms.IntegerField(required=False, min_value=1)

    @property
    def arguments(self) -> dict[str, Any]:
        """Of `adjudicate`."""
        return {name: self.cleaned_data[name] for name in ("category", "replaces")}


class WhatIfForm(forms.Form):
    """Whose rankings, on which topics and of which weeks are kept; at first all of them.

    What is not on offer any more is as if it were not given.
    """

    people = forms.MultipleChoiceField(
        label=_("People"), required=False, widget=forms.CheckboxSelectMultiple
    )
    topics = forms.MultipleChoiceField(
        label=_("Topics"), required=False, widget=forms.CheckboxSelectMultiple
    )
    weeks = forms.MultipleChoiceField(
        label=_("Weeks"), required=False, widget=forms.CheckboxSelectMultiple
    )

    def __init__(self, offered: Choices, data: QueryDict | None = None) -> None:
        self.offered = {name: [value for value, _ in getattr(offered, name)] for name in GROUPS}
        asked = data is not None and "asked" in data
        kept = {
            name: [v for v in data.getlist(name) if v in set(values)] if asked and data else values
            for name, values in self.offered.items()
        }
        super().__init__(kept)
        for name in GROUPS:
            counted = [(value, f"{value} ({n:,})") for value, n in getattr(offered, name)]
            self.fields[name].choices = counted  # type: ignore[attr-defined]
        self.is_valid()

    @property
    def left_out(self) -> LeftOut:
        gone = {
            name: frozenset(values) - {*self.cleaned_data.get(name, values)}
            for name, values in self.offered.items()
        }
        return LeftOut(**gone)

    @property
    def groups(self) -> list[forms.BoundField]:
        """The groups in which there is something to choose."""
        return [self[name] for name, values in self.offered.items() if len(values) > 1]


class ExportForm(forms.Form):
    format = forms.ChoiceField(
        label=_("Format"), choices=[(name, FORMAT_NAMES[name]) for name in WRITABLE]
    )
    ties = forms.ChoiceField(
        label=_("Tied pairs"), choices=[(name, TIE_NAMES[name]) for name in get_args(Ties)]
    )


class SnapshotField(forms.ModelChoiceField):
    def label_from_instance(self, snapshot: Model) -> str:
        return gettext("Snapshot %(n)s") % {"n": cast(Snapshot, snapshot).number}


class TrainForm(forms.Form):
    """What a reward model is fitted to, on what, and how; at first as the last one was."""

    epochs = forms.IntegerField(label=_("Epochs, at most"), min_value=1, max_value=100)
    learning_rate = forms.FloatField(
        label=_("Learning rate"),
        min_value=1e-7,
        max_value=1.0,
        widget=forms.TextInput(attrs={"inputmode": "decimal"}),
        help_text=_("About 1e-4; for a model of a million parameters about 1e-3."),
    )
    lora_r = forms.IntegerField(label=_("Rank of LoRA"), min_value=1, max_value=256)
    seed = forms.IntegerField(label=_("Seed"), min_value=0, max_value=2**31 - 1)

    def __init__(
        self, project: Project, bases: Sequence[str], data: QueryDict | None = None
    ) -> None:
        last = project.reward_models.first()
        self.last_config = last.config if last else {}
        settings = vars(FitConfig(**self.last_config))
        super().__init__(data, initial={name: settings[name] for name in self.base_fields})
        self.fields["snapshot"] = SnapshotField(
            project.snapshots.all(), label=_("Snapshot"), empty_label=None
        )
        self.fields["base"] = forms.ChoiceField(
            label=_("Base model"), choices=[(base, base) for base in bases]
        )
        self.order_fields(["snapshot", "base"])

    @property
    def config(self) -> dict[str, Any]:
        """The settings of the fit: those of the last model, with what was filled in here."""
        return self.last_config | {name: self.cleaned_data[name] for name in self.base_fields}
