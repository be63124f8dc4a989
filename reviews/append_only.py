"""Database triggers that keep history: rows of these tables are only ever added."""

TABLES = ("reviews_auditevent", "reviews_verdict", "reviews_triagerecord", "reviews_prediction")
FROZEN = ("reviews_frozenset", "reviews_frozencase")  # these came later: each migration protects its own
FUNCTION = """
CREATE OR REPLACE FUNCTION reviews_refuse_change() RETURNS trigger AS $$
BEGIN RAISE EXCEPTION '% is append-only', TG_TABLE_NAME; END; $$ LANGUAGE plpgsql
"""


def protect(connection, tables: tuple[str, ...] = TABLES + FROZEN) -> None:
    """Create the triggers."""
    for statement in _creation(connection.vendor, tables):
        with connection.cursor() as cursor:
            cursor.execute(statement)


def unprotect(connection, tables: tuple[str, ...] = TABLES + FROZEN) -> None:
    """Drop the triggers; for a migration backwards and for emptying a test database."""
    for table in tables:
        for verb in ("update", "delete", "truncate"):
            tail = f" ON {table}" if connection.vendor == "postgresql" else ""
            with connection.cursor() as cursor:
                cursor.execute(f"DROP TRIGGER IF EXISTS {table}_no_{verb}{tail}")


def _creation(vendor: str, tables: tuple[str, ...]) -> list[str]:
    if vendor == "sqlite":
        return [
            f"CREATE TRIGGER IF NOT EXISTS {table}_no_{verb} BEFORE {verb.upper()} ON {table} "
            f"BEGIN SELECT RAISE(ABORT, '{table} is append-only'); END"
            for table in tables
            for verb in ("update", "delete")
        ]
    if vendor == "postgresql":
        return [FUNCTION] + [
            f"CREATE OR REPLACE TRIGGER {table}_no_{verb} BEFORE {verb.upper()} ON {table} "
            f"FOR EACH {level} EXECUTE FUNCTION reviews_refuse_change()"
            for table in tables
            for verb, level in (("update", "ROW"), ("delete", "ROW"), ("truncate", "STATEMENT"))
        ]
    raise RuntimeError(f"no append-only triggers are known for {vendor}: use SQLite or PostgreSQL")
