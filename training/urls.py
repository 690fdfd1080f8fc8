from django.urls import path

from training import views

app_name = "training"
urlpatterns = [
    path("overview/", views.show_overview, name="overview"),
    path("policies/", views.policy_list, name="policies"),
    path("policies/roll-back/", views.policy_roll_back, name="roll_back"),
    path("policies/<int:number>/", views.policy_detail, name="policy"),
    path("policies/<int:number>/promote/", views.policy_promote, name="promote"),
    path("policies/<int:number>/sample/", views.policy_sample, name="sample"),
    path("policies/<int:number>/release/", views.policy_release, name="release"),
    path("cycles/", views.cycle_list, name="cycles"),
    path("cycles/start/", views.cycle_start, name="start_cycle"),
    path("cycles/resume/", views.cycle_resume, name="resume"),
    path("cycles/<str:week>/", views.cycle_detail, name="cycle"),
]
