"""How a long computation tells its caller where it stands."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Progress:
    """`step` of `total` is done, both counted in steps of the whole run.

    `message` says in a few words what was just done; `metrics` holds finite numbers by name.
    """

    step: int
    total: int
    message: str
    metrics: Mapping[str, float] = field(default_factory=dict)


# Called from the computing thread. It may raise to stop the run: the exception passes through, and
# nothing half-written is left where a finished result would be.
OnProgress = Callable[[Progress], None]
