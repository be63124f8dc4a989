"""The whole site: log-in, administration, the review pages."""

from allauth.account.decorators import secure_admin_login
from django.contrib import admin
from django.urls import URLPattern, URLResolver, include, path, re_path

from qcsite.accounts import no_mail
from qcsite.metrics import metrics

# The administration has no log-in of its own: it would know neither second factors nor limits on guessing.
admin.site.login = secure_admin_login(admin.site.login)  # type: ignore[method-assign]

urlpatterns: list[URLPattern | URLResolver] = [
    re_path(
        r"^accounts/(password/reset|email|confirm-email)/", no_mail
    ),  # before allauth's, which would send mail
    path("accounts/", include("allauth.urls")),
    path("admin/", admin.site.urls),
    path("metrics", metrics, name="metrics"),
    path("", include("reviews.api")),
    path("", include("reviews.urls")),
]
