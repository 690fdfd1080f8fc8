"""What admins fill in on the pages about judgements."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast, get_args

from django import forms
from django.db.models import Model
from django.http import QueryDict
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from annotate.formats import WRITABLE
from annotate.formats.trl import Ties
from annotate.models import Project
from rewards.ml.fit_config import FitConfig
from rewards.models import GateSetting, Snapshot
from rewards.services.gates import check_thresholds

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


class ReasonForm(forms.Form):
    """Why something out of the ordinary is done; it is kept for good."""

    reason = forms.CharField(
        label=_("Reason"),
        max_length=1000,
        widget=forms.Textarea(attrs={"rows": 3}),
        error_messages={"required": _("Say why, for the record.")},
    )


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
