"""Reviewers that go on through everything: they keep each verdict until they are told what became of it."""

import http.client
import json
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import suppress
from types import SimpleNamespace

from tests.faults.ledger import Ledger
from tests.robots import Robot

SLUG = "faults"
GRACE = 60.0  # seconds a robot goes on asking after its time is over
SHARES = {"undo": 0.08, "unsure": 0.03, "failure": 0.03}


class NoAnswer(Exception):
    """The connection broke or the site had an error: nothing is known of what became of the request."""


class LoggedOut(Exception):
    """The session is over."""


class Judge(Robot):
    """One reviewer; `log_in` gives the key of a new session, `mode` is verify or visual."""

    def __init__(self, address: str, user, ledger: Ledger, mode: str, log_in: Callable[[], str]) -> None:
        self.user, self.ledger, self.mode, self.log_in = user, ledger, mode, log_in
        self.until = 0.0
        super().__init__(address, user.username, log_in(), ledger, SimpleNamespace(single=False, think=0))

    def work(self, until: float) -> None:
        """Take, look, judge, sometimes take back, until the time is over."""
        self.until = until
        while time.monotonic() < until:
            try:
                items = self.take()
                self.look(items)
                if items:
                    self.judge_all(items)
                if self.random.random() < SHARES["undo"]:
                    self.undo()
            except NoAnswer:
                time.sleep(0.3)
            except LoggedOut:
                self.again()

    def again(self) -> None:
        """Log in anew; the database may be locked meanwhile."""
        with suppress(Exception):
            key = self.log_in()
            self.headers["Cookie"] = f"sessionid={key}; csrftoken={self.headers['X-CSRFToken']}"
        time.sleep(0.2)

    def take(self) -> list[dict]:
        """The next items of the queue; an empty queue is waited for."""
        count = 4 if self.mode == "verify" else 1
        answer = self.ask("POST", f"/work/{SLUG}/{self.mode}/items/", {"count": count, "exclude": []})
        if not answer["items"]:
            time.sleep(1)
        return answer["items"]

    def look(self, items: list[dict]) -> None:
        """Fetch a picture or slices of each, as a page does; a broken one stops nobody."""
        for item in items[:3]:
            shown = list(addresses(item))
            if shown:
                with suppress(NoAnswer):
                    self.ask("GET", self.random.choice(shown))
        time.sleep(self.random.uniform(1.5, 4))

    def judge_all(self, items: list[dict]) -> None:
        """Say something of each, in one request as one key press does."""
        press, rows = uuid.UUID(int=self.random.getrandbits(128)).hex[:20], []
        for number, item in enumerate(items):
            row = self.row(item, f"{press}-{number}")
            self.ledger.sent(self.user.pk, row["nonce"], row["class"])
            rows.append(row)
        while rows and time.monotonic() < self.until + GRACE:
            rows = self.deliver(rows)

    def row(self, item: dict, nonce: str) -> dict:
        """One verdict; the item is named as the site named it."""
        name = {"handle": item["handle"]} if "handle" in item else {"attempt": item["id"]}
        return {**name, "nonce": nonce, "mode": self.mode, "class": self.klass(), **self.times()}

    def klass(self) -> str:
        """Mostly pass; failures cost a re-defacing each, so there are few of them while many wait for that."""
        drawn = self.random.random()
        if drawn < SHARES["unsure"]:
            return "unsure"
        failing = drawn < SHARES["unsure"] + SHARES["failure"] and self.ledger.few_failures
        return self.random.choice(["face", "brain"]) if failing else "pass"

    def times(self) -> dict:
        return {"exposure_ms": 2000, "active_ms": 300}

    def deliver(self, rows: list[dict]) -> list[dict]:
        """Send verdicts; what is left has to be said again with the same nonce."""
        try:
            if self.ledger.drop_one():
                self.drop("/work/verdicts/", {"verdicts": rows})
            answer = self.ask("POST", "/work/verdicts/", {"verdicts": rows})
        except NoAnswer:
            time.sleep(self.random.uniform(0.2, 0.8))
            return rows
        except LoggedOut:
            self.again()
            return rows
        early = {}
        for result in answer["results"]:
            if result["code"] == "too_early":
                early[result["nonce"]] = result.get("remaining_ms", 500)
            else:
                self.ledger.answered(self.user.pk, result["nonce"], result["code"])
        time.sleep(min(2000, sum(early.values())) / 1000)
        return [row for row in rows if row["nonce"] in early]

    def undo(self) -> None:
        """Take back the last key press; the count is what the site said it took back."""
        answer = self.ask("POST", f"/work/{SLUG}/{self.mode}/undo/", {})
        self.ledger.count(self.ledger.undone, self.user.pk, len(answer["undone"]))

    def ask(self, method: str, path: str, body: dict | None = None) -> dict:
        """The JSON answer; {} for what is no JSON."""
        connection = http.client.HTTPConnection(self.place.hostname or "", self.place.port, timeout=60)
        try:
            connection.request(method, path, None if body is None else json.dumps(body), self.headers)
            response = connection.getresponse()
            content = response.read()
        except (OSError, http.client.HTTPException) as error:
            self.ledger.count(self.ledger.answers, type(error).__name__)
            raise NoAnswer from error
        finally:
            connection.close()
        self.ledger.count(self.ledger.answers, str(response.status))
        if response.status in (401, 403):
            raise LoggedOut
        if method == "GET":
            return {}
        if response.status != 200:
            raise NoAnswer
        return json.loads(content)

    def drop(self, path: str, body: dict) -> None:
        """Break off: after half of the request, or after all of it without reading the answer."""
        text = json.dumps(body).encode()
        connection = http.client.HTTPConnection(self.place.hostname or "", self.place.port, timeout=5)
        with suppress(OSError):
            connection.putrequest("POST", path)
            for name, value in (self.headers | {"Content-Length": str(len(text))}).items():
                connection.putheader(name, value)
            connection.endheaders(text if self.random.random() < 0.5 else text[: len(text) // 2])
            time.sleep(self.random.uniform(0, 0.05))
        connection.close()


def addresses(value: object) -> Iterator[str]:
    """Every address of a picture in an item, and one of its slices."""
    if isinstance(value, dict):
        if value.get("base") and value.get("layers"):
            layer = value["layers"][0]
            yield f"{value['base']}sagittal-{layer if isinstance(layer, str) else 'after'}.webp"
        for inner in value.values():
            yield from addresses(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from addresses(inner)
    elif isinstance(value, str) and value.startswith("/pictures/"):
        yield value


def start(robots: list[Judge], seconds: float) -> list[threading.Thread]:
    """All robots at once."""
    until = time.monotonic() + seconds
    threads = [threading.Thread(target=robot.work, args=[until], daemon=True) for robot in robots]
    for thread in threads:
        thread.start()
    return threads
