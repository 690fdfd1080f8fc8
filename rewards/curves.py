"""Which metrics of a run are drawn together, under which words."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from rewards.charts import LineChart, Reference, Series

Row = tuple[int, Mapping[str, float | None]]


@dataclass(frozen=True)
class Panel:
    """One chart: its title and the metrics in it, each with the word at its line's end."""

    title: str
    metrics: Mapping[str, str]
    percent: bool = False


# What tells at a glance how a run goes.
FIRST = (
    Panel("Loss, nats a pair", {"train_loss": "training", "validation_loss": "held out"}),
    Panel("Accuracy on held-out prompts", {"validation_accuracy": "accuracy"}, percent=True),
    Panel("Reward of a response", {"score": "score", "reward": "after KL"}),
    Panel("Reward on held-out prompts", {"heldout_score": "score"}),
    Panel("KL, nats a response", {"kl_reference": "to reference", "kl_parent": "to parent"}),
    Panel("Response length, tokens", {"length": "sampled", "heldout_length": "held out"}),
    Panel("Entropy, nats a token", {"entropy": "entropy"}),
    Panel("Explained variance of the value", {"explained_variance": "explained variance"}),
)
MORE = (
    Panel("Responses that end by themselves", {"eos_rate": "end rate"}, percent=True),
    Panel("Distinct bigrams", {"distinct_2": "distinct bigrams"}, percent=True),
    Panel("Correlation of length and score", {"length_score_correlation": "correlation"}),
    Panel("Clipped ratios", {"clip_fraction": "clipped"}, percent=True),
    Panel("KL of an update, nats a token", {"approx_kl": "KL"}),
    Panel("KL coefficient", {"kl_coef": "coefficient"}),
    Panel("Value loss", {"value_loss": "loss"}),
    Panel("Gradient norm", {"policy_grad_norm": "policy", "value_grad_norm": "value"}),
    Panel("Learning rate", {"learning_rate": "learning rate"}),
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
        Series(label, [(step, values[name]) for step, values in rows if name in values])
        for name, label in panel.metrics.items()
    ]
    marks = [references[name] for name in panel.metrics if name in references]
    return LineChart(panel.title, series, references=marks, percent=panel.percent)
