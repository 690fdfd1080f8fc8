"""What volunteers set for themselves, and how they leave."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from django import forms
from django.forms import BoundField
from django.utils.translation import get_language_info, gettext, pgettext
from django.utils.translation import gettext_lazy as _

from annotate.keys import ACTIONS, NO_KEY, OFF, clean_keys
from annotate.models import Membership, User

MAX_KEY_CHARS = 8  # "Space" is one, and what is longer is answered by a reason
Choices = list[tuple[str, str]]


class SettingsForm(forms.Form):
    """What a member reads, what he would rather not see, and his keys.

    A choice that the project does not offer (any more) stays offered to whoever has made it.
    """

    languages = forms.MultipleChoiceField(
        label=_("Languages I read"),
        widget=forms.CheckboxSelectMultiple,
        error_messages={"required": _("Tick at least one language that you read.")},
    )
    opt_outs = forms.MultipleChoiceField(
        label=_("What I would rather not see"),
        required=False,
        widget=forms.CheckboxSelectMultiple,
    )
    keys_off = forms.BooleanField(label=_("Use no keys but those with Ctrl"), required=False)

    def __init__(self, *args: Any, member: Membership, **kwargs: Any) -> None:
        user = member.user
        assert user is not None
        languages = language_choices(member)
        kwargs["initial"] = {
            "languages": member.languages or [code for code, _name in languages],
            "opt_outs": member.category_opt_outs,
            "keys_off": user.keys.get(OFF, False),
            **{f"key_{a.name}": user.keys.get(a.name, a.default) for a in ACTIONS},
        }
        super().__init__(*args, **kwargs)
        self._member = member
        self._offer("languages", languages, least=2)  # of one there is nothing to choose
        self._offer("opt_outs", category_choices(member), least=1)
        for action in ACTIONS:
            self.fields[f"key_{action.name}"] = forms.CharField(
                label=str(action.label),
                required=False,
                max_length=MAX_KEY_CHARS,
                widget=forms.TextInput(
                    attrs={
                        "autocomplete": "off",
                        "autocapitalize": "none",
                        "placeholder": pgettext("key", "none"),
                    }
                ),
            )

    def _offer(self, name: str, choices: Choices, *, least: int) -> None:
        if len(choices) < least:
            del self.fields[name]
        else:
            self.fields[name].choices = choices  # type: ignore[attr-defined]

    def key_fields(self) -> Iterator[tuple[BoundField, str]]:
        """The field of each action's key, and its usual one."""
        return ((self[f"key_{action.name}"], action.default) for action in ACTIONS)

    def clean(self) -> dict[str, Any]:
        data = super().clean() or {}
        sent = [action.name for action in ACTIONS if f"key_{action.name}" in self.data]
        given = {name: data.get(f"key_{name}", NO_KEY) for name in sent}
        try:
            data["keys"] = clean_keys(given | {OFF: data.get("keys_off")})
        except ValueError as error:
            self.add_error("keys_off", str(error))
        return data

    @property
    def choices(self) -> dict[str, Any]:
        """What was chosen, as `keep_settings` takes it."""
        data, member = self.cleaned_data, self._member
        return {
            "languages": data.get("languages", member.languages),
            "opt_outs": data.get("opt_outs", member.category_opt_outs),
            "keys": data["keys"],
        }


def language_choices(member: Membership) -> Choices:
    """The languages of the project and those chosen before, each by its own name."""
    codes = dict.fromkeys([*member.project.languages, *member.languages])
    return [(code, language_name(code)) for code in codes]


def language_name(code: str) -> str:
    """What its speakers call the language; the code itself where nobody here knows."""
    try:
        return str(get_language_info(code)["name_local"])
    except KeyError:
        return code


def category_choices(member: Membership) -> Choices:
    """The kinds of content of the project, and those opted out of before."""
    offered: Iterable[Mapping[str, str]] = member.project.content_categories
    labels = {one["name"]: one["label"] for one in offered}
    return list(({name: name for name in member.category_opt_outs} | labels).items())


class EraseForm(forms.Form):
    """What is to become of the rankings and of the account, confirmed by the password.

    Who signs in without a password types his user name.
    """

    KEEP, TAKE_OUT = "keep", "take out"
    HERE, EVERYWHERE = "here", "everywhere"

    rankings = forms.ChoiceField(
        label=_("What becomes of my rankings"),
        choices=[(KEEP, KEEP), (TAKE_OUT, TAKE_OUT)],
        widget=forms.RadioSelect,
        error_messages={"required": _("Choose what becomes of your rankings.")},
    )
    where = forms.ChoiceField(
        label=_("Where"), choices=[(HERE, HERE), (EVERYWHERE, EVERYWHERE)], widget=forms.RadioSelect
    )
    password = forms.CharField(
        label=_("Your password, so that it is really you"),
        strip=False,
        widget=forms.PasswordInput(attrs={"autocomplete": "current-password"}),
        error_messages={"required": _("Type your password to confirm.")},
    )
    username = forms.CharField(
        label=_("Your user name, so that it is really you"),
        widget=forms.TextInput(attrs={"autocomplete": "off", "autocapitalize": "none"}),
        error_messages={"required": _("Type your user name to confirm.")},
    )

    def __init__(self, *args: Any, user: User, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._user = user
        del self.fields["username" if user.has_usable_password() else "password"]
        if user.memberships.count() < 2:
            del self.fields["where"]

    @property
    def confirmation(self) -> BoundField:
        return self["password" if "password" in self.fields else "username"]

    @property
    def keeps_rankings(self) -> bool:
        return bool(self.cleaned_data["rankings"] == self.KEEP)

    @property
    def is_everywhere(self) -> bool:
        return bool(self.cleaned_data.get("where") == self.EVERYWHERE)

    def clean_password(self) -> str:
        password = str(self.cleaned_data["password"])
        if not self._user.check_password(password):
            raise forms.ValidationError(gettext("This is not your password."))
        return password

    def clean_username(self) -> str:
        username = str(self.cleaned_data["username"])
        if username != self._user.get_username():
            raise forms.ValidationError(gettext("This is not your user name."))
        return username
