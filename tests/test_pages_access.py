"""Who sees which page, picture and volume; what the review pages refuse."""

import json
import re

import nibabel as nib
import numpy as np
import pytest
from django.test import Client
from django.urls import reverse
from PIL import Image

from reviews import actions
from reviews.models import ApiToken, Attempt, Mode, Verdict
from reviews.states import Status
from reviews.views.pictures import picture_url, token
from tests.conftest import judge, now, with_volumes

pytestmark = pytest.mark.django_db


@pytest.fixture
def browse():
    """A client logged in as a user."""

    def logged_in(user=None) -> Client:
        client = Client()
        if user is not None:
            client.force_login(user)
        return client

    return logged_in


@pytest.fixture
def shown(make, settings, tmp_path):
    """An attempt with one picture and its volumes on disk."""
    settings.DATA_DIR = tmp_path
    attempt = make(Status.REFER)
    folder = tmp_path / attempt.views_dir
    folder.mkdir(parents=True)
    Image.new("L", (8, 9)).save(folder / "front.webp")
    Image.new("L", (4, 5)).save(folder / "front.thumb.webp")
    values = np.random.default_rng(1).integers(0, 900, (9, 10, 11)).astype(np.int16)
    for name in ("before", "after"):
        nib.save(nib.Nifti1Image(values, np.eye(4)), tmp_path / f"{name}.nii.gz")
    after, before = tmp_path / "after.nii.gz", tmp_path / "before.nii.gz"
    with_volumes(attempt, after=after, before=before)
    return now(attempt)


def post(client, url, body):
    return client.post(url, json.dumps(body), content_type="application/json")


def files_of(attempt):
    version = token(attempt)
    return [
        picture_url(attempt, "front"),
        picture_url(attempt, "front", small=True),
        reverse("slices", args=[attempt.pk, version, "axial", "removed"]),
        reverse("volume", args=[attempt.pk, version, "before", "volume.nii.gz"]),
    ]


def files_given(user, attempt):
    """The same files under the handle by which a person was given the attempt."""
    given = actions.lease_one(actor=user, attempt_id=attempt.pk).given
    return [
        reverse("picture-given", args=[given, "front"]),
        reverse("picture-given", args=[given, "front-thumb"]),
        reverse("slices-given", args=[given, "axial", "removed"]),
        reverse("volume-given", args=[given, "before", "volume.nii.gz"]),
    ]


def test_files_are_for_members_alone_and_never_for_a_shared_cache(browse, cast, dataset, shown):
    for person, role in ((cast.reviewer, "reviewer"), (cast.manager, "manager")):
        actions.grant(actor=cast.owner, dataset=dataset, user=person, role=role, downloads_originals=True)
    by_id, by_handle = files_of(shown), files_given(cast.reviewer, shown)
    assert {browse(cast.reviewer).get(url).status_code for url in by_id} == {404}  # not judged yet
    assert {browse(cast.manager).get(url).status_code for url in by_handle} == {404}  # somebody else's
    for person, url in [(cast.manager, url) for url in by_id] + [(cast.reviewer, url) for url in by_handle]:
        mine = browse(person).get(url)
        assert mine.status_code == 200, url
        assert mine["Cache-Control"].startswith("private, ")
        assert mine["Vary"] == "Cookie"
        assert browse(cast.stranger).get(url).status_code == 404
        assert browse().get(url).status_code == 302


def unpack(content: bytes) -> dict:
    length = int.from_bytes(content[:4], "big")
    at, found = 4 + length, {}
    for row in json.loads(content[4:at]):
        found[row["handle"], row["name"]] = content[at : at + row["bytes"]]
        at += row["bytes"]
    assert at == len(content)
    return found


def test_a_picture_bundle_holds_only_what_the_person_may_see(browse, cast, shown, settings):
    Attempt.objects.filter(pk=shown.pk).update(view_names=["front", "saliency_front", "left"])
    folder = settings.DATA_DIR / shown.views_dir
    Image.new("L", (8, 9)).save(folder / "saliency_front.webp")
    names = ["front", "front-thumb", "saliency_front", "left", "../../secret", 7]
    handle = actions.lease_one(actor=cast.reviewer, attempt_id=shown.pk).given
    body = {"wanted": [{"handle": handle, "names": names}, {"handle": str(shown.pk), "names": names}]}
    mine = post(browse(cast.reviewer), reverse("review-pictures"), body)
    assert mine["Cache-Control"] == "private, no-store"
    assert unpack(mine.content) == {
        (handle, "front"): (folder / "front.webp").read_bytes(),
        (handle, "front-thumb"): (folder / "front.thumb.webp").read_bytes(),
    }
    assert unpack(post(browse(cast.stranger), reverse("review-pictures"), body).content) == {}
    assert post(browse(), reverse("review-pictures"), body).status_code == 401
    assert post(browse(cast.reviewer), reverse("review-pictures"), {"wanted": [7]}).status_code == 200
    assert post(browse(cast.reviewer), reverse("review-pictures"), {"wanted": "x"}).status_code == 400


def test_an_old_address_shows_nothing(browse, cast, shown):
    old = picture_url(shown, "front")
    Attempt.objects.filter(pk=shown.pk).update(render_version="render-2")
    assert browse(cast.reviewer).get(old).status_code == 404


@pytest.mark.parametrize("name", ["../../secret", "front/../../x", "left", "saliency_front"])
def test_only_views_of_the_attempt_can_be_named(browse, cast, shown, name):
    url = f"/pictures/{shown.pk}/{token(shown)}/{name}.webp"
    assert browse(cast.reviewer).get(url).status_code == 404


def test_saliency_is_hidden_until_the_first_judgement(browse, cast, shown, settings):
    Attempt.objects.filter(pk=shown.pk).update(view_names=["front", "saliency_front"])
    Image.new("L", (8, 9)).save(settings.DATA_DIR / shown.views_dir / "saliency_front.webp")
    url = picture_url(now(shown), "saliency_front")
    assert browse(cast.manager).get(url).status_code == 404
    life = reverse("scan", args=[shown.scan_id])
    assert url not in browse(cast.manager).get(life).content.decode()
    given = actions.lease_one(actor=cast.reviewer, attempt_id=shown.pk).given
    mine = reverse("picture-given", args=[given, "saliency_front"])
    assert browse(cast.reviewer).get(mine).status_code == 404
    type(shown.dataset).objects.update(opinion_after_judgement=False)
    assert browse(cast.reviewer).get(mine).status_code == 200
    assert browse(cast.manager).get(url).status_code == 200
    assert url in browse(cast.manager).get(life).content.decode()


def test_a_volume_that_cannot_be_read_is_named(browse, cast, shown, settings):
    (settings.DATA_DIR / "after.nii.gz").write_bytes(b"no volume")
    url = reverse("slices", args=[shown.pk, token(shown), "axial", "after"])
    answer = browse(cast.manager).get(url)
    assert answer.status_code == 422
    assert b"after.nii.gz" in answer.content


@pytest.mark.parametrize("name", ["verify", "visual", "practice"])
def test_the_bench_is_for_members(browse, cast, dataset, name):
    url = reverse(name, args=[dataset.slug])
    assert browse(cast.reviewer).get(url).status_code == 200
    assert browse(cast.stranger).get(url).status_code == 404
    assert browse().get(url).status_code == 302


def test_logged_out_requests_for_items_are_told_so(browse, dataset):
    answer = post(browse(), reverse("review-items", args=[dataset.slug, "verify"]), {"count": 12})
    assert (answer.status_code, answer.json()["code"]) == (401, "logged_out")


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"verdicts": []},
        {"verdicts": "x"},
        {"verdicts": [1]},
        {"verdicts": [{"handle": "x", "reasons": "nose"}]},
        {"verdicts": [{"handle": "x", "exposure_ms": -1}]},
    ],
)
def test_a_malformed_verdict_is_refused_whole(browse, cast, dataset, body):
    assert post(browse(cast.reviewer), reverse("review-verdicts"), body).status_code == 400
    assert Verdict.objects.count() == 0


def test_the_server_refuses_a_pass_that_was_not_looked_at(browse, cast, dataset, make):
    attempt = make()
    type(dataset).objects.update(min_exposure_seconds=5)
    client = browse(cast.reviewer)
    taken = post(client, reverse("review-items", args=[dataset.slug, "verify"]), {"count": 12}).json()[
        "items"
    ]
    verdict = {
        "nonce": "a-0",
        "handle": taken[0]["handle"],
        "mode": "verify",
        "class": "pass",
        "exposure_ms": 60000,
    }
    (result,) = post(client, reverse("review-verdicts"), {"verdicts": [verdict]}).json()["results"]
    assert (result["ok"], result["code"]) == (False, "too_early")
    assert now(attempt).status == Status.VERIFY


def test_a_stranger_can_neither_take_nor_judge(browse, cast, dataset, make):
    attempt = make()
    client = browse(cast.stranger)
    assert (
        post(client, reverse("review-items", args=[dataset.slug, "verify"]), {"count": 1}).status_code == 404
    )
    (mine,) = actions.lease_batch(actor=cast.reviewer, dataset=dataset, mode=Mode.VERIFY, count=1)
    for handle in (mine.given, str(attempt.pk), "", None):
        verdict = {"nonce": "a-0", "handle": handle, "mode": "verify", "class": "pass"}
        (result,) = post(client, reverse("review-verdicts"), {"verdicts": [verdict]}).json()["results"]
        assert (result["ok"], result["code"]) == (False, "not_leased")
    assert now(attempt).status == Status.VERIFY


def test_a_manager_judges_a_chosen_scan_of_an_assigned_queue(browse, cast, dataset, shown, make):
    actions.assign(actor=cast.manager, dataset=dataset, mode=Mode.VISUAL, user=cast.reviewer)
    make(Status.REFER)
    client, address = browse(cast.manager), reverse("visual-one", args=[shown.pk])
    assert client.get(address).status_code == 200
    (one,) = post(client, reverse("review-one", args=[shown.pk]), {}).json()["items"]
    more = post(
        client,
        reverse("review-items", args=[dataset.slug, "visual"]),
        {"count": 6, "exclude": [one["handle"]]},
    )
    assert more.json()["items"] == []
    verdict = {"nonce": "a-0", "handle": one["handle"], "mode": "visual", "class": "pass"}
    assert post(client, reverse("review-verdicts"), {"verdicts": [verdict]}).json()["results"][0]["ok"]
    undone = post(client, reverse("review-undo", args=[dataset.slug, "visual"]), {}).json()["undone"]
    assert [row["item"]["name"] for row in undone] == [one["name"]]
    assert browse(cast.colleague).get(address).status_code == 404
    assert (
        post(browse(cast.colleague), reverse("review-undo", args=[dataset.slug, "visual"]), {}).status_code
        == 404
    )


def test_judging_is_offered_to_those_who_may(browse, cast, dataset, make):
    attempt = make(Status.REFER)
    people = (cast.manager, cast.reviewer, cast.colleague, cast.pipeline)

    def offered():
        address, life = (reverse("visual-one", args=[attempt.pk]), reverse("scan", args=[attempt.scan_id]))
        return [person for person in people if address in browse(person).get(life).content.decode()]

    assert offered() == [cast.manager]  # who only judges looks up what they have judged
    for person in (cast.reviewer, cast.colleague):
        verdict = judge(person, attempt, mode=Mode.VISUAL)
        actions.undo_verdict(actor=person, verdict_id=verdict.pk, nonce="undo")
        actions.release_leases(actor=person)
    assert offered() == [cast.manager, cast.reviewer, cast.colleague]
    actions.assign(actor=cast.manager, dataset=dataset, mode=Mode.VISUAL, user=cast.reviewer)
    assert offered() == [cast.manager, cast.reviewer]
    judge(cast.reviewer, attempt, "unsure", mode=Mode.VISUAL)
    assert offered() == [cast.manager]


def test_a_hidden_known_case_looks_like_any_other(browse, cast, dataset, make):
    known = make(Status.FAILED)
    actions.declare_known_case(actor=cast.owner, attempt_id=known.pk, truth="face")
    type(dataset).objects.update(known_share=0.5)
    for _ in range(12):
        make()
    items = post(
        browse(cast.reviewer), reverse("review-items", args=[dataset.slug, "verify"]), {"count": 12}
    ).json()["items"]
    assert len({frozenset(item) for item in items}) == 1
    assert "face" not in json.dumps([{k: v for k, v in item.items() if k != "views"} for item in items])


def test_a_person_makes_and_ends_keys_to_the_api(browse, cast, dataset):
    client, other = browse(cast.pipeline), browse(cast.reviewer)
    made = client.post(reverse("token-new"), {"name": "nightly"})
    raw = re.search(r'<code class="hash">(\S+)</code>', made.content.decode())[1]
    assert made["Cache-Control"] == "no-store"
    listed = reverse("account")
    assert "nightly" in client.get(listed).content.decode()
    assert raw not in client.get(listed).content.decode()
    assert "nightly" not in other.get(listed).content.decode()
    calls = {"path": "/api/v1/datasets/trial/scans", "headers": {"Authorization": f"Bearer {raw}"}}
    assert Client().get(**calls).status_code == 200
    end = reverse("token-end", args=[ApiToken.objects.get().pk])
    assert other.post(end).status_code == 404
    assert Client().get(**calls).status_code == 200
    assert client.post(end).status_code == 302
    assert Client().get(**calls).status_code == 401
    assert client.post(reverse("token-new"), {"name": " "}).status_code == 302
    assert ApiToken.objects.count() == 1
