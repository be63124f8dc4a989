"""Server time of leasing and judging with a large study: python -m tests.benchmarks.verdict_time [--attempts N]

Prints the median, p95 and worst milliseconds of a page lease, a verdict, an undo and a page of twelve.
The database is a fresh one in a temporary folder (SQLite), or the empty one that QC_DATABASE_URL names.
"""

import argparse
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable

SUBJECTS_PER_CHUNK = 5000
CLAIMED = {"exposure_ms": 5, "active_ms": 5}  # so that the person's clock is asked as in use


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--attempts", type=int, default=235_000)
    parser.add_argument("--verdicts", type=int, default=300)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        os.environ["QC_DATA_DIR"] = folder
        os.environ["DJANGO_SETTINGS_MODULE"] = "qcsite.settings"
        import django

        django.setup()
        from django.core.management import call_command

        call_command("migrate", verbosity=0, skip_checks=True)
        say(f"making {options.attempts} attempts")
        dataset, user = study(options.attempts)
        measure(dataset, user, options.verdicts)


def study(count: int):
    """Most attempts passed, a tenth to verify, some referred, each with its prediction and triage."""
    from django.contrib.auth import get_user_model

    from reviews import actions
    from reviews.models import Attempt, Prediction, Scan, TriageRecord

    user = get_user_model().objects.create_user("bench")
    dataset = actions.create_dataset(actor=user, slug="bench", min_exposure_seconds=0)
    model = actions.register_model(
        actor=None, version="bench", render_version="1", class_order=["pass", "face", "brain", "both"]
    )
    cutoffs = actions.active_thresholds()
    output = defaced_file()
    for start in range(0, count, SUBJECTS_PER_CHUNK):
        numbers = range(start, min(count, start + SUBJECTS_PER_CHUNK))
        scans = Scan.objects.bulk_create(
            Scan(dataset=dataset, content_hash=f"{n:064x}", name=f"sub-{n}_T1w.nii.gz", subject=f"{n:06d}",
                 suffix="T1w", source_path=f"/data/{n}", original_path=f"/data/{n}", shape=[1, 2, 3])
            for n in numbers
        )  # fmt: skip
        attempts = Attempt.objects.bulk_create(
            Attempt(scan=scan, dataset=dataset, status=("verify" if n % 10 == 0 else "refer" if n % 25 == 1 else "passed"),
                    engine="niimath", plan="standard", confidence=0.95 + (n * 7919 % 1000) / 20000, triaged_under=cutoffs,
                    **output)
            for n, scan in zip(numbers, scans, strict=True)
        )  # fmt: skip
        predictions = Prediction.objects.bulk_create(
            Prediction(attempt=attempt, model_version=model, p_pass=0.97, p_face=0.01, p_brain=0.01, p_both=0.01,
                       in_distribution=True, render_version="1")
            for attempt in attempts
        )  # fmt: skip
        TriageRecord.objects.bulk_create(
            TriageRecord(attempt=attempt, prediction=said, threshold_set=cutoffs, route="verify", reason="confident_pass")
            for attempt, said in zip(attempts, predictions, strict=True)
        )  # fmt: skip
    return dataset, user


def defaced_file() -> dict[str, str]:
    """One small file for all attempts: what is passed has a file that was taken in."""
    from django.conf import settings

    from inference.opening import stamp_of
    from inference.volumes import content_hash

    path = settings.DATA_DIR / "bench.nii.gz"
    path.write_bytes(b"defaced")
    with path.open("rb") as file:
        stamp = stamp_of(file, own=True)
    return {"output_path": str(path), "output_sha256": content_hash(path), "output_stamp": stamp}


def measure(dataset, user, rounds: int) -> None:
    """Pages of twelve as the verification grid asks for them, verdicts one by one and as a page."""
    from reviews import actions

    times: dict[str, list[float]] = {name: [] for name in ("lease of 12", "verdict", "undo", "page of 12")}
    number = 0

    def page():
        return timed(
            times["lease of 12"],
            lambda: actions.lease_batch(actor=user, dataset=dataset, mode="verify", count=12),
        )

    while len(times["verdict"]) < rounds:
        for attempt in page():
            number += 1
            klass = "face" if number % 20 == 0 else "pass"
            verdict = timed(
                times["verdict"], lambda a=attempt, k=klass, n=number: one(actions, user, a, k, n)
            )
            if number % 10 == 5:
                timed(
                    times["undo"],
                    lambda v=verdict, n=number: actions.undo_verdict(
                        actor=user, verdict_id=v.pk, nonce=f"u{n}"
                    ),
                )
        actions.release_leases(actor=user)
        items = [actions.Judgement(a.pk, "pass", f"p{number}-{a.pk}", **CLAIMED) for a in page()]
        timed(times["page of 12"], lambda items=items: actions.accept_page(actor=user, items=items))
    for name, found in times.items():
        ordered = sorted(found)
        p95 = ordered[int(len(ordered) * 0.95)]
        say(
            f"{name:12} n={len(ordered):4} median {statistics.median(ordered):6.1f} ms   p95 {p95:6.1f} ms   "
            f"worst {ordered[-1]:6.1f} ms"
        )


def one(actions, user, attempt, klass: str, number: int):
    return actions.record_verdict(
        actor=user, attempt_id=attempt.pk, klass=klass, mode="verify", nonce=f"v{number}", **CLAIMED
    )


def timed(into: list[float], work: Callable):
    start = time.perf_counter()
    result = work()
    into.append(1000 * (time.perf_counter() - start))
    return result


def say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
