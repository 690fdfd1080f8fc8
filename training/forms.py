"""What admins fill in on the pages about policies."""

from django import forms
from django.utils.translation import gettext_lazy as _

MOST_PROMPTS = 5000


class SampleForm(forms.Form):
    """How many prompts a policy shall respond to."""

    prompts = forms.IntegerField(
        label=_("For how many prompts"),
        min_value=1,
        max_value=MOST_PROMPTS,
        initial=100,
        help_text=_("Those that people were asked about least come first."),
    )
