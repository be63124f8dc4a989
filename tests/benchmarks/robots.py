"""Many reviewers at once over HTTP: python -m tests.benchmarks.robots [--reviewers 20] [--minutes 2]

Each robot takes twelve scans, judges them (nine in ten pass) and takes the next, without thinking or with --think.
Printed: verdicts, p95 of a verdict's request and of taking items, scans held by two at the same time, verdicts lost or
counted twice.
"""

import argparse
import threading
import time

from tests.benchmarks.server import load, say, spread, workbench
from tests.robots import Robot, Tally, reviewer


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
