from django.apps import AppConfig


class TrainingConfig(AppConfig):
    name = "training"

    def ready(self) -> None:
        from rewards.signals import runs_ended
        from training.models import PolicyVersion

        runs_ended.connect(lambda **_: PolicyVersion.objects.settle(), weak=False)
