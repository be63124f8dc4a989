"""A live server, a study with painted pictures, and a browser that complains about every console error."""

import os
import shutil
import time

import nibabel as nib
import numpy as np
import pytest
from django.db import connection
from django.test import Client
from PIL import Image, ImageDraw

from reviews import actions, originals
from reviews.models import Attempt, Dataset
from reviews.states import Status
from reviews.views.pictures import VIEW_LABELS
from tests.conftest import with_volumes

os.environ.setdefault("DJANGO_ALLOW_ASYNC_UNSAFE", "true")
CHROMIUM = os.environ.get("QC_CHROMIUM", "/usr/bin/chromium")
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
SIZE = (576, 639)
REMOVED = [f"removed_{name}" for name in VIEW_LABELS if name == "front" or name.startswith(originals.SLICES)]
PASSWORD = "a long enough word for tests"


def pytest_collection_modifyitems(items):
    for item in items:
        if "tests/browser" in item.nodeid:
            item.add_marker(pytest.mark.browser)
            item.add_marker(pytest.mark.django_db(transaction=True))


@pytest.fixture(scope="session")
def browser_type_launch_args(browser_type_launch_args):
    return browser_type_launch_args | {"executable_path": CHROMIUM, "args": FLAGS}


@pytest.fixture(scope="session")
def browser_context_args(browser_context_args):
    return browser_context_args | {"viewport": {"width": 1280, "height": 720}, "reduced_motion": "reduce"}


@pytest.fixture
def data_dir(settings, tmp_path):
    settings.DATA_DIR = tmp_path
    return tmp_path


@pytest.fixture(scope="session")
def painted(tmp_path_factory):
    """One head-like gradient per view, drawn once."""
    folder = tmp_path_factory.mktemp("painted")
    for name in (*VIEW_LABELS, *REMOVED):
        image = Image.radial_gradient("L").resize(SIZE).point(lambda value: 230 - value // 2)
        ImageDraw.Draw(image).text((20, 20), name, fill=255)
        image.save(folder / f"{name}.webp", quality=60)
        image.resize((SIZE[0] // 2, SIZE[1] // 2)).save(folder / f"{name}.thumb.webp", quality=60)
    return folder


@pytest.fixture(scope="session")
def volumes(tmp_path_factory):
    """A small head-like original and the same with its front cut off."""
    folder = tmp_path_factory.mktemp("volumes")
    grid = np.indices((24, 28, 26)) - np.array([12, 14, 13])[:, None, None, None]
    head = (900 * (np.sum((grid / [[[[10]]], [[[12]]], [[[11]]]]) ** 2, 0) < 1)).astype(np.int16)
    head[10:14, 12:16, 11:15] = 400
    cut = head.copy()
    cut[:, 20:, :12] = 0
    for name, data in (("before", head), ("after", cut)):
        nib.save(nib.Nifti1Image(data, np.diag([2, 2, 2, 1])), folder / f"{name}.nii.gz")
    return folder


@pytest.fixture
def scans(make, data_dir, painted, volumes):
    """Make attempts with pictures and volumes: scans(5, Status.REFER)."""

    def several(count, status=Status.VERIFY, **rest):
        rest.setdefault("result", volumes / "after.nii.gz")  # the trail tells of the very file that is shown
        return [with_files(make(status, **rest), data_dir, painted, volumes) for _ in range(count)]

    return several


def with_files(attempt, data_dir, painted, volumes):
    """Give an attempt the painted pictures and the small volumes."""
    folder = data_dir / "views" / str(attempt.pk)
    folder.parent.mkdir(exist_ok=True)
    shutil.copytree(painted, folder, copy_function=os.link)
    names = [*VIEW_LABELS, *REMOVED]
    after, before = volumes / "after.nii.gz", volumes / "before.nii.gz"
    views_dir = f"views/{attempt.pk}"
    Attempt.objects.filter(pk=attempt.pk).update(view_names=names, views_dir=views_dir)
    with_volumes(attempt, after=after, before=before)
    attempt.refresh_from_db()
    return attempt


@pytest.fixture
def originals_open(cast, dataset):
    """The reviewer may see originals."""
    actions.grant(actor=cast.owner, dataset=dataset, user=cast.reviewer, role="reviewer", sees_originals=True)


@pytest.fixture
def exposure(dataset):
    """Set the dataset's minimum exposure in seconds."""
    return lambda seconds: Dataset.objects.filter(pk=dataset.pk).update(min_exposure_seconds=seconds)


class Person:
    """A browser window of one logged-in person; `complaints` are console errors and CSP violations."""

    def __init__(self, context, base):
        self.context, self.base = context, base
        self.page = context.new_page()
        self.complaints: list[str] = []
        self.page.on("console", self._console)
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))

    def _console(self, message):
        if message.type == "error" and "ERR_INTERNET_DISCONNECTED" not in message.text:
            self.complaints.append(f"{self.page.url}: {message.text} {message.location.get('url', '')}")

    def go(self, path):
        self.page.goto(self.base + path)
        return self.page


@pytest.fixture
def enter(browser, browser_context_args, live_server, data_dir):
    """enter(user) opens a window logged in as that user; complaints fail the test at its end."""
    people = []

    def opened(user, **context_args):
        client = Client()
        client.force_login(user)
        context = browser.new_context(**(browser_context_args | context_args))
        session = client.cookies["sessionid"].value
        context.add_cookies([{"name": "sessionid", "value": session, "url": live_server.url}])
        people.append(Person(context, live_server.url))
        return people[-1]

    yield opened
    for person in people:
        person.context.close()
    answered()
    assert [complaint for person in people for complaint in person.complaints] == []


def answered(patience_s=10):
    """Wait until nothing is asked of the database any more: on PostgreSQL emptying it would deadlock with it."""
    if connection.vendor != "postgresql":
        return
    others = "FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
    limit = time.monotonic() + patience_s
    with connection.cursor() as cursor:
        while time.monotonic() < limit:
            cursor.execute(f"SELECT count(*) {others} AND state <> 'idle'")
            if cursor.fetchone() == (0,):
                return
            time.sleep(0.05)


def press(page, *keys):
    for key in keys:
        page.keyboard.press(key)


def cards_ready(page, count=None):
    """Wait until the grid shows cards whose rings are full."""
    page.wait_for_selector(".card")
    page.wait_for_selector("#shell[data-ready]")
    if count is not None:
        assert page.locator(".card").count() == count


def eventually(page, question, wanted, patience_ms=5000):
    """Ask the database until it answers `wanted`."""
    for _ in range(patience_ms // 50):
        if question() == wanted:
            return
        page.wait_for_timeout(50)
    assert question() == wanted
