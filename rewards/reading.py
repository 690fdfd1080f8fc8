"""What figures mean, in words that need no statistics."""

from collections.abc import Mapping
from typing import Any

from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from rewards.charts import local
from rewards.ml.agreement import MIN_PROMPTS

Figures = Mapping[str, Any]

# Bounds of alpha_sym. Below 0.20 lies no published project whose reward model was shown to work;
# from 0.26 (HH-RLHF) to 0.62 (MT-Bench) lie those that publish their agreement.
LITTLE, SOME, GOOD, HIGH = 0.0, 0.20, 0.35, 0.65


def agreement_in_words(figures: Figures) -> str:
    """What alpha says; the state where there is none."""
    alpha = figures["alpha"]["value"]
    if alpha is None:
        return too_little(figures)
    alike = _(
        "Of a hundred pairs of responses, two people put about %(n)d in the same order; "
        "by chance it would be 50."
    ) % {"n": round(50 * (1 + alpha))}
    return f"{_band(alpha)} {alike}"


def _band(alpha: float) -> str:
    if alpha < LITTLE:
        return _("People contradict each other more often than chance would.")
    if alpha < SOME:
        return _("People agree hardly more than by chance: a model would mostly learn noise.")
    if alpha < GOOD:
        return _("People agree somewhat, as in the larger open projects: enough to learn from.")
    if alpha < HIGH:
        return _("People agree well, as in the projects that are known to have worked.")
    return _("People agree very well: the responses differ clearly, or were chosen to.")


def too_little(figures: Figures) -> str:
    """Why there is no figure, and what is missing."""
    state = figures["state"]
    if state == "no judgements":
        return _("Nobody has ranked a prompt that was drawn for two people yet.")
    if state == "one annotator":
        return _("Only one person has ranked so far; agreement needs two on the same prompt.")
    if state == "only ties":
        return _("People tie everything, so there is no order that they could agree on.")
    n: int = figures["n_overlapped_prompts"]
    found = ngettext(
        "%(n)d prompt has been judged by two people;",
        "%(n)d prompts have been judged by two people;",
        n,
    ) % {"n": n}
    missing = max(1, MIN_PROMPTS - n)
    wanted = ngettext(
        "about %(n)d more prompt until agreement can be measured.",
        "about %(n)d more prompts until agreement can be measured.",
        missing,
    ) % {"n": missing}
    return " ".join((_("Not enough overlap:"), found, wanted))


def forecast_in_words(figures: Figures) -> str:
    """How many more prompts would make the interval narrow; empty where it is narrow already."""
    coming = figures["forecast"]
    if not coming or not coming["high"]:
        return ""
    return _(
        "About %(low)d to %(high)d more prompts judged by two people until it is known to "
        "within %(width)s."
    ) % {
        "low": coming["low"],
        "high": coming["high"],
        "width": local(f"{coming['half_width']:.2f}"),
    }


def left_out_in_words(figures: Figures) -> str:
    """The range of alpha when one person is left out; empty where there is none."""
    found: Mapping[str, Any] | None = figures["leave_one_out"]
    if not found:
        return ""
    ends = {end: local(f"{found[end]:.2f}") for end in ("low", "high")}
    return _(
        "Without one person it would lie between %(low)s (without %(low_without)s) and "
        "%(high)s (without %(high_without)s)."
    ) % {**found, **ends}
