from django.apps import AppConfig


class RewardsConfig(AppConfig):
    name = "rewards"

    def ready(self) -> None:
        from annotate.signals import exclusions_changed
        from rewards.models import RewardModelVersion
        from rewards.services.taint import refresh_taint
        from rewards.signals import runs_ended

        exclusions_changed.connect(lambda project, **_: refresh_taint(project), weak=False)
        runs_ended.connect(lambda **_: RewardModelVersion.objects.settle(), weak=False)
