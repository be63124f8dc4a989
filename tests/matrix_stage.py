"""The stage on which the table of rights is asked, and how each address is asked there."""

from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace

import nibabel as nib
import numpy as np
from django.contrib.auth import get_user_model
from django.contrib.contenttypes.models import ContentType
from django.core.files.uploadedfile import SimpleUploadedFile
from PIL import Image

from reviews import actions
from reviews.models import ApiToken, Dataset, Intake, Mode, Role, Scan
from reviews.states import Status
from reviews.views.pictures import token
from tests.conftest import RENDER, a_source, bring, with_volumes
from tests.matrix import MEMBERS, PLACES, ROLES


@dataclass
class Ask:
    """How an address is asked: what fills it, what is sent, whether it speaks of one dataset."""

    values: dict = field(default_factory=dict)
    body: dict = field(default_factory=dict)
    kind: str = "form"


def stage(folder: Path) -> SimpleNamespace:
    """People in every role, two datasets with everything an address can speak of, keys for whom they are made."""
    users = get_user_model().objects
    people = {
        name: users.create_user(name.replace(" ", "_")) for name in (*ROLES[1:7], "founder", "colleague")
    }
    people["superuser"] = users.create_superuser("superuser")
    model = actions.register_model(
        actor=None,
        version="m" * 64,
        render_version=RENDER,
        class_order=["pass", "face", "brain", "both"],
        name="t",
    )
    places = {}
    for number, name in enumerate(PLACES):
        dataset = actions.create_dataset(actor=people["founder"], slug=name, min_exposure_seconds=0)
        places[name] = place(dataset, people, model, folder, number)
    for role in MEMBERS:
        actions.grant(actor=None, dataset=places["own"].dataset, user=people[role], role=Role(role))
    for name, holder in (("own", "reviewer"), ("other", "colleague")):
        lent = places[name].lent
        places[name].handle = actions.lease_one(actor=people[holder], attempt_id=lent.pk).given
    keys = {}
    actions.issue_token(actor=None, user=people["founder"], name="key")
    for role in ("admin", "pipeline", "auditor", "superuser"):
        keys[role] = actions.issue_token(actor=None, user=people[role], name="key")
    return SimpleNamespace(people=people, places=places, keys=keys, model=model)


def place(dataset, people, model, folder: Path, number: int) -> SimpleNamespace:
    """A dataset's attempts at the stations that addresses speak of, with files on disk."""

    def attempt(offset: int, status: Status):
        source = a_source(100 * number + offset, original=True)
        made = actions.register_scan(actor=None, dataset=dataset, source=source).attempt
        return bring(made, status, model)

    actions.grant(actor=None, dataset=dataset, user=people["colleague"], role=Role.REVIEWER)
    waiting, lent = (with_files(attempt(offset, Status.REFER), folder) for offset in (1, 2))
    broken, stuck = attempt(3, Status.ERROR), attempt(4, Status.NEEDS_PERSON)
    return SimpleNamespace(
        dataset=dataset,
        waiting=waiting,
        lent=lent,
        broken=broken,
        stuck=stuck,
        intake=Intake.objects.create(dataset=dataset, user=people["founder"], path="/x"),
        scan=Scan.objects.get(pk=waiting.scan_id),
        assignment=actions.assign(actor=None, dataset=dataset, mode=Mode.VERIFY, user=people["colleague"]),
    )


def with_files(attempt, folder: Path):
    """A picture and both volumes on disk."""
    views = folder / attempt.views_dir
    views.mkdir(parents=True)
    Image.new("L", (8, 9)).save(views / "front.webp")
    values = np.random.default_rng(1).integers(0, 900, (9, 10, 11)).astype(np.int16)
    paths = {name: folder / f"{attempt.pk}-{name}.nii.gz" for name in ("before", "after")}
    for path in paths.values():
        nib.save(nib.Nifti1Image(values, np.eye(4)), path)
    with_volumes(attempt, **paths)
    return type(attempt).objects.get(pk=attempt.pk)


def ask(on: SimpleNamespace, here: SimpleNamespace, role: str, name: str) -> Ask:
    """How this role asks an address of the table about one of the two datasets."""
    route, _, layer = name.partition(" ")
    attempt = here.waiting
    for start in ("attempts/<int:pk>/", "assignments/"):
        if start in route:
            attempt = here.broken if route.endswith("retry/") else here.stuck
    owner = on.people.get(role if here is on.places["own"] else "founder")
    key = ApiToken.objects.filter(user=owner).first() if owner else None
    pk = {
        "scans/<int:pk>/": here.scan.pk,
        "account/api-keys/<int:pk>/end/": key.pk if key else 0,
        "setup/assignments/<int:pk>/end/": here.assignment.pk,
        "setup/models/<int:pk>/promote/": on.model.pk,
    }.get(route, attempt.pk)
    version = 1 if route.startswith("thresholds/") else token(here.waiting)
    values = {
        "pk": pk, "slug": here.dataset.slug, "mode": "visual", "version": version, "view": "front", "plane": "axial",
        "layer": layer or "after", "name": "volume.nii.gz", "kind": "json", "user_pk": on.people["colleague"].pk,
        "scan_id": here.scan.pk, "attempt_id": here.waiting.pk, "intake_id": here.intake.pk,
        "handle": here.handle, "object_id": 1,
        "id": 1,
        "content_type_id": ContentType.objects.get_for_model(Dataset).pk, "queue_index": 0,
        "job_id": "x", "result_id": "x", "key": "x", "scheduler_index": 0,
        "connection_index": 0, "scheduler_name": "x", "cron_job_name": "x",
    }  # fmt: skip
    body, kind = BODIES.get(route, ({}, "form"))
    body = body(on, here) if callable(body) else body
    return Ask(values, body, kind)


BODIES = {
    "work/verdicts/": (
        lambda on, here: {"verdicts": [{"handle": here.handle, "class": "face", "mode": "visual", "nonce": "a-0"}]},
        "json",
    ),
    "work/pictures/": (lambda on, here: {"wanted": [{"handle": here.handle, "names": ["front"]}]}, "json"),
    "work/renew/": (lambda on, here: {"handles": [here.handle]}, "json"),
    "work/release/": (lambda on, here: {"handles": here.handle}, "form"),
    "work/practise/": (lambda on, here: {"handle": here.handle, "class": "face"}, "json"),
    "work/one/<int:pk>/": ({}, "json"),
    "work/<slug:slug>/<slug:mode>/items/": ({"count": 1}, "json"),
    "work/<slug:slug>/<slug:mode>/undo/": ({}, "json"),
    "attempts/<int:pk>/again/": ({"plan": "largest"}, "form"),
    "attempts/<int:pk>/known/": ({"truth": "face"}, "form"),
    "thresholds/save/": ({"verify_min": 0.9, "fail_min": 0.9, "class_min": 0.9}, "form"),
    "account/api-keys/": ({"name": "another"}, "form"),
    "setup/datasets/new/": ({"slug": "third"}, "form"),
    "setup/datasets/<slug:slug>/": (
        lambda on, here: {
            "title": "x", "min_exposure_seconds": 1, "lease_seconds": 300, "max_attempts": 4, "known_share": 0,
            "engine": "niimath",
        },
        "form",
    ),
    "setup/datasets/<slug:slug>/people/": (
        lambda on, here: {"user": on.people["no role"].pk, "role": "reviewer"}, "form",
    ),
    "setup/datasets/<slug:slug>/assign/": (
        lambda on, here: {"mode": "visual", "user": on.people["colleague"].pk}, "form",
    ),
    "api/v1/scans": (lambda on, here: {"dataset": here.dataset.slug, "path": "/nowhere"}, "json"),
    "api/v1/scans/upload": (
        lambda on, here: {"dataset": here.dataset.slug, "file": SimpleUploadedFile("a.nii.gz", b"x")}, "form",
    ),
}  # fmt: skip
