"""Reviewers that judge over HTTP without looking, for the benchmarks and for `tests.faults`."""

import http.client
import json
import random
import threading
import time
import uuid
from dataclasses import dataclass, field
from urllib.parse import urlsplit

CLASSES = ["pass"] * 18 + ["face", "unsure"]


@dataclass
class Tally:
    """What all robots saw together."""

    lock: threading.Lock = field(default_factory=threading.Lock)
    holders: dict[int, str] = field(default_factory=dict)
    shared: int = 0
    saved: int = 0
    refused: list[str] = field(default_factory=list)
    takes: list[float] = field(default_factory=list)
    verdicts: list[float] = field(default_factory=list)


class Robot:
    """One reviewer with a session of their own."""

    def __init__(self, address: str, name: str, session: str, tally: Tally, options) -> None:
        self.place, self.name, self.tally = urlsplit(address), name, tally
        self.single, self.think = options.single, options.think
        token = uuid.uuid4().hex  # a CSRF cookie and header only have to agree
        self.headers = {
            "Content-Type": "application/json",
            "Cookie": f"sessionid={session}; csrftoken={token}",
            "X-CSRFToken": token,
            "Origin": address,
        }
        self.random = random.Random(name)
        self.attempts: dict[str, int] = {}  # by handle

    def post(self, path: str, body: dict) -> tuple[dict, float]:
        """The JSON answer and how long it took in ms."""
        start = time.perf_counter()
        connection = http.client.HTTPConnection(self.place.hostname or "", self.place.port, timeout=60)
        connection.request("POST", path, json.dumps(body), self.headers)
        response = connection.getresponse()
        answer = json.loads(response.read())
        connection.close()
        if response.status != 200:
            raise RuntimeError(f"{path}: {response.status} {answer}")
        return answer, 1000 * (time.perf_counter() - start)

    def work(self, until: float) -> None:
        """Take, judge, again, until the time is over or nothing is left."""
        while time.monotonic() < until:
            answer, took = self.post("/work/bench/verify/items/", {"count": 12, "exclude": []})
            handles = [item["handle"] for item in answer["items"]]
            if not handles:
                return
            self.hold(handles, took)
            for batch in [[handle] for handle in handles] if self.single else [handles]:
                time.sleep(self.think * self.random.uniform(0.5, 1.5))
                self.judge(batch)

    def hold(self, handles: list[str], took: float) -> None:
        """Note who holds what; somebody else holding it too is what must not happen."""
        from reviews.models import Given

        held = dict(Given.objects.filter(handle__in=handles).values_list("handle", "attempt"))
        self.attempts.update(held)
        with self.tally.lock:
            self.tally.takes.append(took)
            for pk in held.values():
                self.tally.shared += self.tally.holders.get(pk, self.name) != self.name
                self.tally.holders[pk] = self.name

    def judge(self, handles: list[str]) -> None:
        """Send verdicts; every third request is sent twice, as a browser does when an answer was lost."""
        rows = [self.verdict(handle) for handle in handles]
        answer, took = self.post("/work/verdicts/", {"verdicts": rows})
        if self.random.random() < 1 / 3:
            self.post("/work/verdicts/", {"verdicts": rows})
        with self.tally.lock:
            self.tally.verdicts.append(took)
            for result in answer["results"]:
                self.tally.saved += result["ok"]
                if not result["ok"]:
                    self.tally.refused.append(result["message"])
            for handle in handles:
                self.tally.holders.pop(self.attempts[handle], None)

    def verdict(self, handle: str) -> dict:
        """One decision."""
        klass = self.random.choice(CLASSES)
        times = {"exposure_ms": 2000, "active_ms": 300}
        return {"nonce": uuid.uuid4().hex, "handle": handle, "mode": "verify", "class": klass, **times}


def reviewer(dataset, name: str) -> tuple[object, str]:
    """A new reviewer of the dataset and the key of their session."""
    from django.contrib.auth import get_user_model
    from django.test import Client

    from reviews import actions

    user = get_user_model().objects.create_user(name)
    actions.grant(actor=None, dataset=dataset, user=user, role="reviewer")
    client = Client()
    client.force_login(user)
    return user, client.cookies["sessionid"].value
