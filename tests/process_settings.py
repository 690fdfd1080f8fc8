"""The settings of processes that tests start: as always, with kinds of runs made for tests."""

from prefloop.settings import *  # noqa: F403

RUN_KINDS = {
    kind: f"tests.{package}.run_kinds.{kind}"
    for package, kinds in {
        "rewards": ("count", "count_forever", "die", "fail"),
        "training": ("reward_model", "ppo", "evaluate", "sample"),
    }.items()
    for kind in kinds
}
