from django.urls import path

from annotate.views import home, me, people, rank

app_name = "annotate"
urlpatterns = [
    path("invite/<str:token>/", home.accept_invite, name="invite"),
    path("p/<slug:slug>/rank/", rank.rank, name="rank"),
    path("p/<slug:slug>/consent/", home.consent, name="consent"),
    path("p/<slug:slug>/guidelines/", home.guidelines, name="guidelines"),
    path("p/<slug:slug>/me/", me.me, name="me"),
    path("p/<slug:slug>/people/", people.people, name="people"),
    path("p/<slug:slug>/people/<int:member_id>/", people.person, name="person"),
    path("p/<slug:slug>/people/invites/<int:invite_id>/revoke/", people.revoke, name="revoke"),
    path("a/<int:assignment_id>/", rank.show, name="assignment"),
    path("a/<int:assignment_id>/draft/", rank.save_draft, name="draft"),
    path("a/<int:assignment_id>/alive/", rank.keep_alive, name="alive"),
    path("a/<int:assignment_id>/submit/", rank.submit, name="submit"),
    path("a/<int:assignment_id>/skip/", rank.skip, name="skip"),
    path("a/<int:assignment_id>/undo/", rank.undo, name="undo"),
]
