"""The whole site: log-in, administration, the review pages."""

from django.contrib import admin
from django.urls import URLPattern, URLResolver, include, path

from qcsite.metrics import metrics

urlpatterns: list[URLPattern | URLResolver] = [
    path("accounts/", include("allauth.urls")),
    path("admin/", admin.site.urls),
    path("metrics", metrics, name="metrics"),
    path("", include("reviews.api")),
    path("", include("reviews.urls")),
]
