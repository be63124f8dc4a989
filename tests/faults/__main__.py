"""Faults while robots judge: python -m tests.faults --minutes 10 --seed 1 [--postgres]

A site of its own is started (`manage.py supervise`), robots judge over HTTP, and processes are killed and stopped, the
disk filled, files harmed, the database locked, clocks moved and connections dropped. At the end the site is restarted,
what broke is tried again, and what is stored is compared with what the robots were told. Exit 1 where they differ.
"""

import argparse
import os
import sys
import threading
import time
from collections import Counter
from pathlib import Path

from tests.faults import robots
from tests.faults.counting import SAVED, Evidence, findings
from tests.faults.hurt import Files
from tests.faults.injector import Injector
from tests.faults.ledger import Ledger
from tests.faults.place import Place, place
from tests.faults.site import Site

BUSY = 3  # scans waiting for workers; with more, robots say no failure and nothing new is taken in
SCANS_A_MINUTE = 180
SHOWN = 12


def options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--pause", type=float, default=0.8, help="seconds between two faults on average")
    parser.add_argument(
        "--reviewers", type=int, default=4, help="robots that verify; one more does visual QC"
    )
    parser.add_argument(
        "--settle",
        type=float,
        default=180,
        help="seconds without any progress that are waited for at the end",
    )
    parser.add_argument("--postgres", action="store_true", help="on an embedded PostgreSQL instead of SQLite")
    parser.add_argument("--heads", type=Path, help="folder that keeps the synthetic heads for the next run")
    parser.add_argument("--keep", action="store_true", help="keep the folder with the site's log")
    return parser.parse_args()


def main() -> int:
    asked = options()
    with place(megabytes=500, postgres=asked.postgres, keep=asked.keep) as made:
        os.environ |= {name: value for name, value in made.environment.items() if name.startswith("QC_")}
        os.environ |= {"DJANGO_SETTINGS_MODULE": "qcsite.settings", "QC_LOG_LEVEL": "ERROR"}
        import django

        django.setup()
        ledger = Ledger()
        seen = run(asked, made, ledger)
        return report(asked, made, ledger, seen)


def run(asked, made: Place, ledger: Ledger) -> Evidence:
    """The whole story, from the empty folder to what is stored at the end."""
    from tests.faults import evidence

    stock, people = study(asked, made, ledger)
    site = Site(made.environment, made.log)
    try:
        site.open()
        say(
            f"{len(stock.pairs)} scans, {len(people)} robots, {asked.minutes:g} minutes of faults, seed {asked.seed}"
        )
        disturb(asked, made, site, stock, people, ledger)
        settle(site, people, ledger, asked.settle)
    finally:
        site.close()
    return evidence.collect(ledger)


def study(asked, made: Place, ledger: Ledger):
    """(stock, users): a dataset with scans that wait, and the people who judge them."""
    from django.core.management import call_command

    from reviews import actions
    from tests.faults.stock import Stock
    from tests.robots import reviewer

    call_command("migrate", verbosity=0, skip_checks=True)
    dataset = actions.create_dataset(actor=None, slug=robots.SLUG)
    type(dataset).objects.update(min_exposure_seconds=0.05, known_share=0.05, lease_seconds=60)
    dataset.refresh_from_db()
    people = [reviewer(dataset, f"robot-{number}")[0] for number in range(asked.reviewers + 1)]
    chief, _ = reviewer(dataset, "chief")
    actions.grant(actor=None, dataset=dataset, user=chief, role="manager")
    stock = Stock(dataset, made.sources, asked.heads or made.folder / "heads", ledger)
    say("making and taking in scans")
    stock.prepare(int(120 + asked.minutes * SCANS_A_MINUTE))
    return stock, [*people, chief]


def disturb(asked, made: Place, site: Site, stock, people, ledger: Ledger) -> None:
    """Robots, the feeder and the one who injects faults, all at once."""
    from tests.faults.stock import feed

    judges = [judge(site, user, ledger, "verify") for user in people[:-2]]
    judges.append(judge(site, people[-2], ledger, "visual"))
    threads, stop = robots.start(judges, 60 * asked.minutes), threading.Event()
    threads.append(threading.Thread(target=feed, args=[stock, lambda: busy(ledger), stop, 3.0], daemon=True))
    threads.append(
        threading.Thread(target=retry, args=[judge(site, people[-1], ledger, "verify"), stop], daemon=True)
    )
    for thread in threads[-2:]:
        thread.start()
    Injector(asked.seed, site, made, Files(made, stock, ledger), ledger).work(60 * asked.minutes, asked.pause)
    stop.set()
    for thread in threads:
        thread.join()


def judge(site: Site, user, ledger: Ledger, mode: str) -> robots.Judge:
    """A robot with a session; it gets a new one when that is over."""

    def log_in() -> str:
        from django.db import close_old_connections
        from django.test import Client

        client = Client()
        try:
            client.force_login(user)
        finally:
            close_old_connections()
        return client.cookies["sessionid"].value

    return robots.Judge(site.address, user, ledger, mode, log_in)


def busy(ledger: Ledger) -> bool:
    """Whether many wait for workers; robots say fewer failures then."""
    from reviews.models import Attempt

    many = Attempt.objects.working().count() > BUSY
    ledger.few_failures = not many
    return many


def retry(chief: robots.Judge, stop: threading.Event) -> None:
    """The manager tries again what is in ERROR, now and then."""
    while not stop.wait(20):
        try_again(chief)


def try_again(chief: robots.Judge) -> None:
    """Once; no answer is an answer too."""
    try:
        chief.ask("POST", "/setup/failures/retry/", {})
    except robots.LoggedOut:
        chief.again()
    except robots.NoAnswer:
        return


def settle(site: Site, people, ledger: Ledger, patience: float) -> None:
    """A proper restart, one more try of what is in ERROR, and `patience` seconds after the last thing that happened."""
    from django.db import close_old_connections

    from reviews.models import Attempt, AuditEvent

    site.restart()
    try_again(judge(site, people[-1], ledger, "verify"))
    happened, last = 0, time.monotonic()
    while Attempt.objects.working().exists() and time.monotonic() < last + patience:
        if (now := AuditEvent.objects.count()) != happened:
            happened, last = now, time.monotonic()
        close_old_connections()
        time.sleep(1)


def report(asked, made: Place, ledger: Ledger, seen: Evidence) -> int:
    """One table; 1 where something is there that must not be."""
    found = findings(seen)
    say(f"\nfaults injected{sum(ledger.faults.values()):>42}")
    for kind, count in sorted(ledger.faults.items()):
        say(f"  {kind:<44}{count:>11}")
    for words in made.skipped:
        say(f"  {words}")
    answers = ", ".join(f"{count} {name}" for name, count in sorted(ledger.answers.items()))
    say(f"answers to robots: {answers}")
    refused = Counter(told.answer for told in seen.told if told.answer not in ("", SAVED))
    say(f"{'verdicts acknowledged':<46}{ledger.saved():>11}")
    say(f"{'verdicts refused':<46}{refused.total():>11}  {', '.join(refused)}")
    say(f"{'verdicts taken back':<46}{sum(ledger.undone.values()):>11}")
    for kind, names in found.items():
        say(f"{kind:<46}{len(names):>11}")
        for name in names[:SHOWN]:
            say(f"    {name}")
    if asked.keep:
        say(f"kept: {made.folder}")
    return 1 if any(found.values()) else 0


def say(words: str) -> None:
    sys.stdout.write(words + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
