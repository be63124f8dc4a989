"""How long the check of the whole trail takes, and its memory: python -m tests.benchmarks.trail_check --attempts 20000

Each attempt has four events and three kept rows, as one that was passed at first sight.
"""

import argparse
import os
import resource
import tempfile
import time

from tests.benchmarks.server import load, say

CHUNK = 1000
WAY = ("attempt_added", "to_render"), ("rendered", "to_classify"), ("triaged_verify", "verify")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--attempts", type=int, default=20_000)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        os.environ |= {
            "QC_DATA_DIR": folder,
            "DJANGO_SETTINGS_MODULE": "qcsite.settings",
            "QC_LOG_LEVEL": "ERROR",
        }
        import django

        django.setup()
        from django.core.management import call_command

        call_command("migrate", verbosity=0, skip_checks=True)
        fill(options.attempts)
        told()


def told() -> None:
    """Check and say what it took."""
    from reviews import digests, wholeness
    from reviews.models import AuditEvent, Verdict

    row = digests.values_of(Verdict.objects.latest("pk"))
    start = time.perf_counter()
    for _ in range(1000):
        digests.digest_of(Verdict, [row])
    each = 1000 * (time.perf_counter() - start)
    busy = time.process_time()
    before, start = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.perf_counter()
    found = wholeness.problems()
    seconds, busy = time.perf_counter() - start, time.process_time() - busy
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    events = AuditEvent.objects.count()
    say(load())
    say(f"{events} events, {found or 'whole'}: {seconds:.1f} s, of which {busy:.1f} s at work")
    say(
        f"peak memory grew by {grown:.0f} MB (mapped pages of the database too); the digest of a verdict takes {each:.0f} µs"
    )


def fill(attempts: int) -> None:
    """Scans, attempts, rows and their events, in parts."""
    from django.contrib.auth import get_user_model

    from reviews import actions

    user = get_user_model().objects.create_user("reviewer")
    dataset = actions.create_dataset(actor=None, slug="trial")
    model = actions.register_model(actor=None, version="m" * 64, render_version="1", class_order=[])
    cutoffs = actions.active_thresholds()
    for start in range(0, attempts, CHUNK):
        part(range(start, min(start + CHUNK, attempts)), dataset, user, model, cutoffs)


def part(numbers: range, dataset, user, model, cutoffs) -> None:
    from reviews.models import Attempt, Prediction, Scan, TriageRecord, Verdict

    scans = Scan.objects.bulk_create(
        Scan(dataset=dataset, content_hash=f"{n:064}", name="a", subject=f"{n}", suffix="T1w")
        for n in numbers
    )
    attempts = Attempt.objects.bulk_create(
        Attempt(scan=scan, dataset=dataset, status="passed", engine="external") for scan in scans
    )
    said = Prediction.objects.bulk_create(
        Prediction(
            attempt=a,
            model_version=model,
            p_pass=0.99,
            p_face=0.01,
            p_brain=0,
            p_both=0,
            attributes={"ears": 0.1},
        )
        for a in attempts
    )
    routes = TriageRecord.objects.bulk_create(
        TriageRecord(attempt=a, prediction=p, threshold_set=cutoffs, route="verify", reason="confident_pass")
        for a, p in zip(attempts, said, strict=True)
    )
    verdicts = Verdict.objects.bulk_create(
        Verdict(
            attempt=a,
            user=user,
            klass="pass",
            mode="verify",
            status_before="verify",
            nonce=str(a.pk),
            exposure_ms=700,
        )
        for a in attempts
    )
    write(attempts, [[p, r] for p, r in zip(said, routes, strict=True)], verdicts)


def write(attempts, routed, verdicts) -> None:
    from reviews import audit, digests
    from reviews.models import AuditEvent, AuditHead

    last, events = AuditHead.objects.values("seq", "digest").get(pk=1), []
    for attempt, rows, verdict in zip(attempts, routed, verdicts, strict=True):
        status = None
        for action, new, spoken in [*((a, s, ()) for a, s in WAY), ("judged_pass", "passed", [verdict])]:
            after = {"status": new}
            if new == "verify" or spoken:
                after["rows"] = digests.spoken_of(spoken or rows)
            last = audit.following(
                last, actor="user:1", action=action, dataset=attempt.dataset_id, object_kind="attempt",
                object_id=attempt.pk, before=status and {"status": status}, after=after,
            )  # fmt: skip
            events.append(AuditEvent(**last))
            status = new
    AuditEvent.objects.bulk_create(events)
    set_head(last)


def set_head(last: dict) -> None:
    """The triggers let it go forward by one event alone."""
    from django.db import connection

    from reviews import append_only
    from reviews.models import AuditHead

    append_only.unprotect(connection, (append_only.HEAD,))
    AuditHead.objects.filter(pk=1).update(seq=last["seq"], digest=last["digest"])
    append_only.protect(connection, (append_only.HEAD,))


if __name__ == "__main__":
    main()
