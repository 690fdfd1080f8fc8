"""What people fill in when they join, and what an admin fills in about people."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from django import forms
from django.contrib.auth import password_validation
from django.contrib.auth.validators import UnicodeUsernameValidator
from django.core.exceptions import ValidationError
from django.utils.functional import Promise
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from annotate.models import Invite, Membership, Project, User

Choice = tuple[str, str | Promise]


class ConsentForm(forms.Form):
    """Agreement to the project's consent text, where it has one, in the version that was shown."""

    agree = forms.BooleanField(
        error_messages={"required": _("You can only take part if you agree.")},
    )
    version = forms.IntegerField(min_value=0, required=False)

    def __init__(self, *args: Any, project: Project, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if not project.text_version("consent"):
            del self.fields["agree"]


class JoinForm(ConsentForm):
    """A new account, made by an invitation."""

    username = forms.CharField(
        label=_("Name to sign in with"),
        max_length=150,
        validators=[UnicodeUsernameValidator()],
        widget=forms.TextInput(attrs={"autocomplete": "username", "autocapitalize": "none"}),
    )
    password = forms.CharField(
        label=_("Password"),
        strip=False,
        widget=forms.PasswordInput(attrs={"autocomplete": "new-password"}),
    )
    field_order = ("username", "password", "agree", "version")

    def clean(self) -> dict[str, Any]:
        data = super().clean() or {}
        if data.get("password"):
            try:
                account = User(username=data.get("username", ""))
                password_validation.validate_password(data["password"], account)
            except ValidationError as error:
                self.add_error("password", error)
        return data


class InviteForm(forms.ModelForm):
    """A link that an admin makes for others."""

    days = forms.IntegerField(label=_("Valid for days"), min_value=1, max_value=365, initial=14)

    class Meta:
        model = Invite
        fields = ("role", "max_uses")
        labels = {"role": _("Role"), "max_uses": _("For how many people")}

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["max_uses"].min_value = 1  # type: ignore[attr-defined]


class MemberStateForm(forms.Form):
    """What an admin does about a person; leaving judgements out needs a reason."""

    LABELS = {
        "pause": _("Pause: no more tasks for now"),
        "resume": _("Let them go on"),
        "exclude": _("Leave their judgements out from now on"),
        "lift": _("Take their judgements in again"),
    }
    action = forms.ChoiceField(label=_("What to do"), widget=forms.RadioSelect)
    reason = forms.CharField(
        label=_("Why"),
        required=False,
        max_length=1000,
        help_text=_(
            "Stays in the record, also after the person was erased, and the person can read it: "
            "say what happened, by the pseudonym, and name nobody."
        ),
    )

    def __init__(self, *args: Any, actions: Sequence[str], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        labels = [(action, self.LABELS[action]) for action in actions]
        self.fields["action"].choices = labels  # type: ignore[attr-defined]

    def clean(self) -> dict[str, Any]:
        data = super().clean() or {}
        if data.get("action") == "exclude" and not data.get("reason", "").strip():
            self.add_error("reason", gettext("Say why, for the record."))
        return data


class MembersForm(forms.Form):
    """Which people are shown."""

    q = forms.CharField(label=_("Name, pseudonym or group"), required=False, max_length=150)
    state = forms.ChoiceField(
        label=_("State"), required=False, choices=[("", _("all")), *Membership.State.choices]
    )
    role = forms.ChoiceField(
        label=_("Role"), required=False, choices=[("", _("all")), *Membership.Role.choices]
    )


class ProfileForm(forms.Form):
    """What a person is in the project, and what others know the person by."""

    pseudonym = forms.CharField(label=_("Pseudonym"), max_length=64)
    role = forms.ChoiceField(
        label=_("Role"),
        choices=Membership.Role.choices,
        help_text=_(
            "Annotators rank. Reviewers also see who said what, and decide where people differ. "
            "Admins do everything."
        ),
    )
    cohort = forms.CharField(
        label=_("Group"),
        required=False,
        max_length=64,
        help_text=_("Such as those who joined at one event. Only admins see it."),
    )

    def __init__(self, data: Mapping[str, Any] | None, *, member: Membership) -> None:
        names = ("pseudonym", "role", "cohort")
        super().__init__(data, initial={name: getattr(member, name) for name in names})
        if member.user is None:  # who cannot sign in has no role, and imports know him by his name
            del self.fields["pseudonym"], self.fields["role"]


class LogForm(forms.Form):
    """Which events are shown."""

    who = forms.CharField(label=_("Person"), required=False, max_length=150)
    verb = forms.ChoiceField(label=_("What"), required=False)
    kind = forms.ChoiceField(label=_("About"), required=False)

    def __init__(
        self, *args: Any, verbs: Sequence[Choice], kinds: Sequence[Choice], **kwargs: Any
    ) -> None:
        super().__init__(*args, **kwargs)
        everything = ("", gettext("everything"))
        self.fields["verb"].choices = [everything, *verbs]  # type: ignore[attr-defined]
        self.fields["kind"].choices = [everything, *kinds]  # type: ignore[attr-defined]
