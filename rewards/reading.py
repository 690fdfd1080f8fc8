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
    if coming["low"]:
        words = _(
            "About %(low)d to %(high)d more prompts judged by two people until it is known to "
            "within %(width)s."
        )
    else:
        words = _(
            "At most about %(high)d more prompts judged by two people until it is known to within "
            "%(width)s."
        )
    return words % {
        "low": coming["low"],
        "high": coming["high"],
        "width": local(f"{coming['half_width']:.2f}"),
    }


def other_people_in_words(two_way: Mapping[str, float] | None) -> str:
    """The interval for other people than these; empty where there is none."""
    if not two_way:
        return ""
    return _("If other people had done it: between %(low)s and %(high)s.") % {
        end: local(f"{two_way[end]:.2f}") for end in ("low", "high")
    }


def themselves_in_words(figures: Figures) -> str:
    """How far people agree with themselves, which is the most that can be hoped for."""
    repeats: Mapping[str, Any] | None = figures.get("repeats")
    if not repeats:
        return ""
    n = repeats["n_overlapped_prompts"]
    if repeats["alpha"]["value"] is None:
        if not n:
            return _(
                "How far people agree with themselves is not known: no task has come to a person "
                "a second time."
            )
        return ngettext(
            "People agree with themselves: too few repeats to tell (%(n)d, needs %(least)d).",
            "People agree with themselves: too few repeats to tell (%(n)d, needs %(least)d).",
            n,
        ) % {"n": n, "least": MIN_PROMPTS}
    own, others = repeats["alpha"], figures["alpha"]["value"]
    found = _("Asked the same again, people agree with themselves at %(value)s.") % {
        "value": local(f"{own['value']:.2f}")
    }
    if others is not None and others > own["high"]:
        return (
            found
            + " "
            + _(
                "That is less than they agree with each other: somebody may be copying, or the "
                "repeats are harder."
            )
        )
    return found + " " + _("Nobody can agree with others much better than that.")


def drift_in_words(found: Mapping[str, Any] | None) -> str:
    """The last window against everything before it; empty where there are not two."""
    if not found:
        return ""
    ends = {name: local(f"{found[name]:+.2f}") for name in ("value", "low", "high")}
    figure = _("In the last window alpha is %(value)s against before [%(low)s, %(high)s].") % ends
    if found["high"] < 0:
        return f"{figure} " + _("People agree less than they did.")
    if found["low"] > 0:
        return f"{figure} " + _("People agree more than they did.")
    return f"{figure} " + _("That may be chance.")


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
