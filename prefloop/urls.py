from django.contrib import admin
from django.contrib.auth.decorators import login_not_required
from django.contrib.auth.views import LoginView
from django.urls import URLPattern, URLResolver, include, path
from django.views.i18n import set_language

from annotate.views.account import ChangePassword, SignOut
from annotate.views.home import home

urlpatterns: list[URLPattern | URLResolver] = [
    path("", home, name="home"),
    path("login/", LoginView.as_view(redirect_authenticated_user=True), name="login"),
    path("logout/", SignOut.as_view(), name="logout"),
    path("password/", ChangePassword.as_view(), name="password"),
    path("language/", login_not_required(set_language), name="set_language"),
    # In the place of the one that the admin site has, which leaves unsaved texts in the browser.
    path("admin/logout/", SignOut.as_view(), name="admin_logout"),
    path("admin/", admin.site.urls),
    path("", include("annotate.urls")),
    path("p/<slug:slug>/", include("rewards.urls")),
    path("p/<slug:slug>/", include("training.urls")),
]
