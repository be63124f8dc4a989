"""Every address of the review pages, named by what it does."""

from django.urls import path

from reviews.views import (
    account,
    home,
    models,
    pictures,
    reporting,
    review_api,
    review_pages,
    scan_detail,
    scan_list,
    setup,
    thresholds,
)

review_page_urls = [
    path("verify/<slug:slug>/", review_pages.verify, name="verify"),
    path("visual/<slug:slug>/", review_pages.visual, name="visual"),
    path("visual/one/<int:pk>/", review_pages.visual_one, name="visual-one"),
    path("practice/<slug:slug>/", review_pages.practice, name="practice"),
]

review_api_urls = [
    path("work/verdicts/", review_api.verdicts, name="review-verdicts"),
    path("work/pictures/", pictures.picture_bundle, name="review-pictures"),
    path("work/renew/", review_api.renew, name="review-renew"),
    path("work/release/", review_api.release, name="review-release"),
    path("work/practise/", review_api.practise, name="review-practise"),
    path("work/one/<int:pk>/", review_api.take_one, name="review-one"),
    path("work/<slug:slug>/<slug:mode>/items/", review_api.take, name="review-items"),
    path("work/<slug:slug>/<slug:mode>/undo/", review_api.undo, name="review-undo"),
]

file_urls = [
    path("pictures/<int:pk>/<slug:version>/<slug:view>.webp", pictures.picture, name="picture"),
    path("pictures/h/<str:handle>/<slug:view>.webp", pictures.picture_given, name="picture-given"),
    path("slices/h/<str:handle>/<slug:plane>-<slug:layer>.webp", pictures.slices_given, name="slices-given"),
    path("volumes/h/<str:handle>/<slug:layer>/<str:name>", pictures.volume_given, name="volume-given"),
    path("slices/<int:pk>/<slug:version>/<slug:plane>-<slug:layer>.webp", pictures.slices, name="slices"),
    path("volumes/<int:pk>/<slug:version>/<slug:layer>/<str:name>", pictures.volume, name="volume"),
]

scan_urls = [
    path("scans/", scan_list.overview, name="scans"),
    path("scans/<int:pk>/", scan_detail.life, name="scan"),
    path("attempts/<int:pk>/retry/", scan_detail.retry, name="attempt-retry"),
    path("attempts/<int:pk>/again/", scan_detail.again, name="attempt-again"),
    path("attempts/<int:pk>/withdraw/", scan_detail.withdraw, name="attempt-withdraw"),
    path("attempts/<int:pk>/known/", scan_detail.known, name="attempt-known"),
]

threshold_urls = [
    path("thresholds/", thresholds.page, name="thresholds"),
    path("thresholds/consequences/", thresholds.consequences, name="thresholds-consequences"),
    path("thresholds/save/", thresholds.save, name="thresholds-save"),
    path("thresholds/<int:version>/activate/", thresholds.activate, name="thresholds-activate"),
]

report_urls = [
    path("reports/", reporting.dashboard, name="reports"),
    path("reports/export/<slug:slug>.<slug:kind>", reporting.download, name="export"),
    path("reports/trail/", reporting.trail, name="trail"),
    path("reports/trail/check/", reporting.check_trail, name="trail-check"),
    path("reports/originals/<slug:slug>/", reporting.looks, name="looks"),
]

setup_urls = [
    path("setup/", setup.overview, name="setup"),
    path("setup/datasets/new/", setup.new_dataset, name="dataset-new"),
    path("setup/datasets/<slug:slug>/", setup.dataset, name="dataset"),
    path("setup/datasets/<slug:slug>/people/", setup.grant, name="dataset-grant"),
    path("setup/datasets/<slug:slug>/people/<int:user_pk>/revoke/", setup.revoke, name="dataset-revoke"),
    path("setup/datasets/<slug:slug>/assign/", setup.assign, name="dataset-assign"),
    path("setup/assignments/<int:pk>/end/", setup.unassign, name="assignment-end"),
    path("setup/failures/", setup.failures, name="failures"),
    path("setup/failures/retry/", setup.retry_all, name="failures-retry"),
    path("setup/models/", models.page, name="models"),
    path("setup/models/<int:pk>/promote/", models.promote, name="model-promote"),
]

urlpatterns = [
    path("", home.home, name="home"),
    path("help/", home.help_page, name="help"),
    path("account/", account.account, name="account"),
    path("account/api-keys/", account.new_token, name="token-new"),
    path("account/api-keys/<int:pk>/end/", account.end_token, name="token-end"),
    *review_page_urls,
    *review_api_urls,
    *file_urls,
    *scan_urls,
    *threshold_urls,
    *report_urls,
    *setup_urls,
]
