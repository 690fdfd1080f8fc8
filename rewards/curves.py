"""Which metrics of a run are drawn together, under which words."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from django.utils.translation import gettext
from django.utils.translation import gettext_noop as _

from rewards.charts import LineChart, Reference, Series

Row = tuple[int, Mapping[str, float | None]]


@dataclass(frozen=True)
class Panel:
    """One chart: its title and the metrics in it, each with the word at its line's end.

    Both are in English here, and are translated when the chart is made.
    """

    title: str
    metrics: Mapping[str, str]
    percent: bool = False


# What tells at a glance how a run goes.
FIRST = (
    Panel(_("Loss, nats a pair"), {"train_loss": _("training"), "validation_loss": _("held out")}),
    Panel(_("Accuracy on held-out prompts"), {"validation_accuracy": _("accuracy")}, percent=True),
    Panel(_("Reward of a response"), {"score": _("score"), "reward": _("after KL")}),
    Panel(_("Reward on held-out prompts"), {"heldout_score": _("score")}),
    Panel(
        _("KL, nats a response"), {"kl_reference": _("to reference"), "kl_parent": _("to parent")}
    ),
    Panel(_("Response length, tokens"), {"length": _("sampled"), "heldout_length": _("held out")}),
    Panel(_("Entropy, nats a token"), {"entropy": _("entropy")}),
    Panel(_("Explained variance of the value"), {"explained_variance": _("explained variance")}),
)
MORE = (
    Panel(_("Responses that end by themselves"), {"eos_rate": _("end rate")}, percent=True),
    Panel(_("Distinct bigrams"), {"distinct_2": _("distinct bigrams")}, percent=True),
    Panel(_("Correlation of length and score"), {"length_score_correlation": _("correlation")}),
    Panel(_("Clipped ratios"), {"clip_fraction": _("clipped")}, percent=True),
    Panel(_("KL of an update, nats a token"), {"approx_kl": _("KL")}),
    Panel(_("KL coefficient"), {"kl_coef": _("coefficient")}),
    Panel(_("Value loss"), {"value_loss": _("loss")}),
    Panel(_("Gradient norm"), {"policy_grad_norm": _("policy"), "value_grad_norm": _("value")}),
    Panel(_("Learning rate"), {"learning_rate": _("learning rate")}),
)
# Told by other figures already.
LEFT_OUT = {"iteration", "seconds", "heldout_kl", "kl_reference_k3", "policy_steps"}


@dataclass(frozen=True)
class Curves:
    """The charts of a run: those to look at first, and the others."""

    first: Sequence[LineChart]
    more: Sequence[LineChart]


def curves(rows: Sequence[Row], references: Mapping[str, Reference] | None = None) -> Curves:
    """A chart for each panel that has data, and one for each metric that no panel names.

    `rows` are the steps, in order, with their metrics; `references` holds a value to compare a
    metric with.
    """
    found = {name for _, values in rows for name in values}
    named = {name for panel in (*FIRST, *MORE) for name in panel.metrics} | LEFT_OUT
    others = [Panel(name.replace("_", " "), {name: name}) for name in sorted(found - named)]

    def draw(panels: Sequence[Panel]) -> list[LineChart]:
        return [chart(p, rows, references or {}) for p in panels if found & p.metrics.keys()]

    return Curves(draw(FIRST), draw((*MORE, *others)))


def chart(panel: Panel, rows: Sequence[Row], references: Mapping[str, Reference]) -> LineChart:
    series = [
        Series(gettext(label), [(step, values[name]) for step, values in rows if name in values])
        for name, label in panel.metrics.items()
    ]
    marks = [references[name] for name in panel.metrics if name in references]
    return LineChart(gettext(panel.title), series, references=marks, percent=panel.percent)
