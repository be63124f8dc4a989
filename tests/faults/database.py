"""Taking the database away for a while, as a backup or a careless console does."""

import os
import random
import sqlite3
from collections.abc import Callable

TABLES = ("reviews_attempt", "reviews_auditevent", "reviews_audithead", "reviews_lease", "reviews_verdict")


def locked(drawn: random.Random) -> Callable[[], None] | None:
    """Lock it and return what releases it; None when somebody else has it."""
    from django.db import connection

    return _postgres(drawn) if connection.vendor == "postgresql" else _sqlite()


def _sqlite() -> Callable[[], None] | None:
    from django.conf import settings

    held = sqlite3.connect(settings.DATABASES["default"]["NAME"], timeout=0.5, isolation_level=None)
    try:
        held.execute("BEGIN EXCLUSIVE")
    except sqlite3.OperationalError:
        held.close()
        return None

    def release() -> None:
        held.execute("ROLLBACK")
        held.close()

    return release


def _postgres(drawn: random.Random) -> Callable[[], None] | None:
    import psycopg

    held = psycopg.connect(os.environ["QC_DATABASE_URL"])
    try:
        held.execute("SET lock_timeout = '500ms'")
        held.execute(f"LOCK TABLE {drawn.choice(TABLES)} IN ACCESS EXCLUSIVE MODE")
    except psycopg.OperationalError:
        held.close()
        return None

    def release() -> None:
        held.rollback()
        held.close()

    return release
