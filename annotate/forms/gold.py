"""A task whose right ranking is known, as an admin writes it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from django import forms
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from annotate.models import Response

MAX_RANKED = 8  # as many as the page for ranking shows


class GoldForm(forms.Form):
    """The right place of each response, and why.

    Without a place a response is not in the task or, with `all_in`, is in it and does not count.
    """

    GOLD, TRAINING = "gold", "training"
    kind = forms.ChoiceField(
        label=_("What for"),
        choices=[
            (GOLD, _("Gold: hidden among the other tasks, to see how people do")),
            (TRAINING, _("Practice: for newcomers, who see the right ranking and why afterwards")),
        ],
        widget=forms.RadioSelect,
        initial=GOLD,
    )
    explanation = forms.CharField(
        label=_("Why this is the right ranking"),
        required=False,
        max_length=4000,
        widget=forms.Textarea(attrs={"rows": 4, "dir": "auto"}),
        help_text=_("Practice tasks need it: newcomers learn from it."),
    )

    adversarial = forms.BooleanField(
        label=_("A wrong response looks better: it is longer, prettier or more confident"),
        required=False,
        help_text=_(
            "Such gold finds people who agreed to go by looks. Where every wrong response is "
            "longer than the best, the task is marked in any case."
        ),
    )

    def __init__(
        self, *args: Any, responses: Sequence[Response], all_in: bool = False, **kwargs: Any
    ) -> None:
        super().__init__(*args, **kwargs)
        self.responses = responses
        self.all_in = all_in
        no_place = gettext("does not count") if all_in else gettext("not in the task")
        places = range(1, min(len(responses), MAX_RANKED) + 1)
        for number, response in enumerate(responses, start=1):
            self.fields[f"rank-{response.pk}"] = forms.TypedChoiceField(
                label=gettext("Place of response %(number)s") % {"number": number},
                required=False,
                coerce=int,
                empty_value=None,
                choices=[("", no_place), *((n, str(n)) for n in places)],
            )
            self.fields[f"bad-{response.pk}"] = forms.BooleanField(
                label=gettext("Unacceptable"), required=False
            )

    def rows(self) -> Iterator[tuple[Response, forms.BoundField, forms.BoundField]]:
        for response in self.responses:
            yield response, self[f"rank-{response.pk}"], self[f"bad-{response.pk}"]

    @property
    def ranks(self) -> dict[int, int | None]:
        """The places of the responses that shall be in the task, by their ids."""
        given = {one.pk: self.cleaned_data[f"rank-{one.pk}"] for one in self.responses}
        return {pk: rank for pk, rank in given.items() if self.all_in or rank is not None}

    @property
    def unacceptable(self) -> list[int]:
        return [one.pk for one in self.responses if self.cleaned_data[f"bad-{one.pk}"]]

    def clean(self) -> dict[str, Any]:
        data = super().clean() or {}
        if self.errors:
            return data
        places = {pk: rank for pk, rank in self.ranks.items() if rank is not None}
        if not 2 <= len(places) <= MAX_RANKED:
            self.add_error(None, gettext("Give two to eight responses a place."))
        elif len(set(places.values())) == 1:
            self.add_error(None, gettext("Put at least one response before another."))
        if set(self.unacceptable) - places.keys():
            self.add_error(None, gettext("A response marked unacceptable needs a place too."))
        if data["kind"] == self.TRAINING and not data["explanation"].strip():
            self.add_error("explanation", gettext("Newcomers need to read why."))
        return data
