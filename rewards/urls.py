from django.urls import path

from rewards.views import agreement, reward_models, runs, snapshots

app_name = "rewards"
urlpatterns = [
    path("agreement/", agreement.show_agreement, name="agreement"),
    path("agreement/measure/", agreement.measure_now, name="agreement_measure"),
    path("agreement/<int:pk>/release/", agreement.release_gate, name="agreement_release"),
    path("snapshots/", snapshots.snapshot_list, name="snapshots"),
    path("snapshots/freeze/", snapshots.snapshot_freeze, name="snapshot_freeze"),
    path("snapshots/<int:number>/", snapshots.snapshot_detail, name="snapshot"),
    path("snapshots/<int:number>/export/", snapshots.snapshot_export, name="snapshot_export"),
    path("reward-models/", reward_models.reward_model_list, name="reward_models"),
    path("reward-models/<int:number>/", reward_models.reward_model_detail, name="reward_model"),
    path(
        "reward-models/<int:number>/judge/",
        reward_models.reward_model_judge,
        name="reward_model_judge",
    ),
    path(
        "reward-models/<int:number>/release/",
        reward_models.reward_model_release,
        name="reward_model_release",
    ),
    path("runs/", runs.run_list, name="runs"),
    path("runs/<int:pk>/", runs.run_detail, name="run"),
    path("runs/<int:pk>/cancel/", runs.run_cancel, name="run_cancel"),
    path("runs/<int:pk>/retry/", runs.run_retry, name="run_retry"),
]
