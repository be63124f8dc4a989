"""Many reviewers at once over HTTP: python -m tests.benchmarks.robots [--reviewers 20] [--minutes 2]

Each robot takes twelve scans, judges them (nine in ten pass) and takes the next, without thinking or with --think.
Printed: verdicts, p95 of a verdict's request and of taking items, scans held by two at the same time, verdicts lost or
counted twice.
"""

import argparse
import http.client
import json
import random
import threading
import time
import uuid
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from tests.benchmarks.server import load, reviewer, say, spread, workbench

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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--reviewers", type=int, default=20)
    parser.add_argument("--minutes", type=float, default=2)
    parser.add_argument("--attempts", type=int, default=60_000)
    parser.add_argument("--think", type=float, default=0, help="seconds a robot looks before each request")
    parser.add_argument("--single", action="store_true", help="one request per verdict, as in visual QC")
    options = parser.parse_args()
    say(load())
    with workbench(options.attempts, waiting=options.attempts // 2) as (address, dataset):
        tally = Tally()
        sessions = [(f"robot-{n}", reviewer(dataset, f"robot-{n}")[1]) for n in range(options.reviewers)]
        robots = [Robot(address, name, session, tally, options) for name, session in sessions]
        passed = race(robots, 60 * options.minutes)
        judge_the_race(tally, options.reviewers, passed)


def race(robots: list[Robot], seconds: float) -> float:
    """All robots at once; returns the seconds it took."""
    start = time.monotonic()
    threads = [threading.Thread(target=robot.work, args=[start + seconds]) for robot in robots]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return time.monotonic() - start


def judge_the_race(tally: Tally, reviewers: int, seconds: float) -> None:
    """Compare what the robots were told with what the database holds."""
    from django.db.models import Count

    from reviews import audit
    from reviews.models import Verdict

    stored = Verdict.objects.count()
    decided = Verdict.objects.filter(kind="decision").values("attempt").annotate(count=Count("pk"))
    doubled = decided.filter(count__gt=1).count()
    pace = 60 * tally.saved / seconds
    say(f"{reviewers} reviewers for {seconds:.0f} s: {tally.saved} verdicts saved, {pace:.0f} a minute")
    say(f"a request with verdicts: {spread(tally.verdicts)}")
    say(f"taking twelve scans:     {spread(tally.takes)}")
    say(f"scans held by two at once: {tally.shared}; decided twice: {doubled}; refused: {len(tally.refused)}")
    say(f"verdicts lost: {tally.saved - stored}; audit trail: {audit.problems() or 'whole'}")


if __name__ == "__main__":
    main()
