"""Database triggers that keep history: rows of these tables are only ever added, whatever the SQL.

They need no setting of the connection. SQLite's REPLACE deletes what is in the way without firing a delete
trigger, so a row that would take the key of another is refused before it comes to that. PostgreSQL's fire
in replication mode too.
"""

from django.db import transaction

TABLES = ("reviews_auditevent", "reviews_verdict", "reviews_triagerecord", "reviews_prediction")
FROZEN = ("reviews_frozenset", "reviews_frozencase")  # these came later: each migration protects its own
LOOKS = ("reviews_accesslog",)
NAMES = ("reviews_formername",)
PARTLY = {"reviews_thresholdset": ("active",)}  # rows stay, and so do all columns but these
HEAD = "reviews_audithead"  # one row that goes forward by one event at a time
ALL = (*TABLES, *FROZEN, *LOOKS, *NAMES, *PARTLY, HEAD)
VERBS = ("update", "delete", "truncate", "replace", "take")
FUNCTIONS = """
CREATE OR REPLACE FUNCTION reviews_refuse_change() RETURNS trigger AS $$
BEGIN RAISE EXCEPTION '% is append-only', TG_TABLE_NAME; END; $$ LANGUAGE plpgsql;
CREATE OR REPLACE FUNCTION reviews_refuse_most_change() RETURNS trigger AS $$
BEGIN
IF to_jsonb(NEW) - TG_ARGV IS DISTINCT FROM to_jsonb(OLD) - TG_ARGV THEN
RAISE EXCEPTION '% is append-only', TG_TABLE_NAME; END IF;
RETURN NEW; END; $$ LANGUAGE plpgsql;
CREATE OR REPLACE FUNCTION reviews_refuse_backwards() RETURNS trigger AS $$
BEGIN
IF NEW.id <> OLD.id OR NEW.seq <> OLD.seq + 1 OR NEW.digest = OLD.digest THEN
RAISE EXCEPTION '% is append-only', TG_TABLE_NAME; END IF;
RETURN NEW; END; $$ LANGUAGE plpgsql;
"""


def protect(connection, tables: tuple[str, ...] = ALL) -> None:
    """Create the triggers, in place of earlier ones; tables that a migration is yet to make are left out."""
    if connection.vendor not in MAKERS:
        raise RuntimeError(
            f"no append-only triggers are known for {connection.vendor}: use SQLite or PostgreSQL"
        )
    with connection.cursor() as cursor:
        there = set(connection.introspection.table_names(cursor))
    for table in tables:
        if table in there:
            with transaction.atomic(using=connection.alias), connection.cursor() as cursor:
                MAKERS[connection.vendor](cursor, table)


def unprotect(connection, tables: tuple[str, ...] = ALL) -> None:
    """Drop the triggers; for a migration backwards and for emptying a test database."""
    with connection.cursor() as cursor:
        for table in tables:
            tail = f" ON {table}" if connection.vendor == "postgresql" else ""
            for verb in VERBS:
                cursor.execute(f"DROP TRIGGER IF EXISTS {table}_no_{verb}{tail}")


def _make_on_sqlite(cursor, table: str) -> None:
    """Nothing is written where the triggers are as they should be: this runs at every start."""
    cursor.execute("SELECT name, sql FROM sqlite_master WHERE type = 'trigger' AND tbl_name = %s", [table])
    found, wanted = dict(cursor.fetchall()), _on_sqlite(cursor, table)
    for name, statement in wanted.items():
        if found.get(name) != statement:
            cursor.execute(f"DROP TRIGGER IF EXISTS {name}")
            cursor.execute(statement)


def _on_sqlite(cursor, table: str) -> dict[str, str]:
    """Nothing deleted, nothing changed, and no row put in the place of another; by trigger name."""
    keys = _sqlite_keys(cursor, table)
    rules = [
        ("delete", "DELETE", ""),
        ("replace", "INSERT", " OR ".join(_taken(table, columns, only) for columns, only in keys)),
    ]
    if table == HEAD:
        wrong = "NEW.id <> OLD.id OR NEW.seq <> OLD.seq + 1 OR NEW.digest = OLD.digest"
        rules.append(("update", "UPDATE", wrong))
    elif table in PARTLY:
        fixed = [name for name in _sqlite_columns(cursor, table) if name not in PARTLY[table]]
        rules.append(("update", "UPDATE", _differs(fixed)))
        moves = [f"({_taken(table, columns, only)} AND ({_differs(columns)}))" for columns, only in keys]
        rules.append(("take", "UPDATE", " OR ".join(moves)))
    else:
        rules.append(("update", "UPDATE", ""))
    return {f"{table}_no_{verb}": _refusal(table, verb, fires, when) for verb, fires, when in rules}


def _refusal(table: str, verb: str, fires: str, when: str) -> str:
    condition = f"WHEN {when} " if when else ""
    return (
        f"CREATE TRIGGER {table}_no_{verb} BEFORE {fires} ON {table} {condition}"
        f"BEGIN SELECT RAISE(ABORT, '{table} is append-only'); END"
    )


def _taken(table: str, columns: list[str], only: str) -> str:
    """Whether a row with the key of the new one is there. A key with a condition has it on its own columns."""
    same = " AND ".join(f'"{name}" = NEW."{name}"' for name in columns)
    return f"EXISTS (SELECT 1 FROM {table} WHERE {same}{f' AND ({only})' if only else ''})"


def _differs(columns: list[str]) -> str:
    return " OR ".join(f'NEW."{name}" IS NOT OLD."{name}"' for name in columns)


def _sqlite_columns(cursor, table: str) -> list[str]:
    cursor.execute(f"PRAGMA table_info({table})")
    return [row[1] for row in cursor.fetchall()]


def _sqlite_keys(cursor, table: str) -> list[tuple[list[str], str]]:
    """The primary key and every unique index: its columns, and the condition of a partial one."""
    cursor.execute(f"PRAGMA index_list({table})")
    found: list[tuple[list[str], str]] = [(["id"], "")]
    for _, name, unique, *_ in cursor.fetchall():
        if unique:
            cursor.execute(f'PRAGMA index_info("{name}")')
            columns = [row[2] for row in cursor.fetchall()]
            cursor.execute("SELECT sql FROM sqlite_master WHERE type = 'index' AND name = %s", [name])
            text = (cursor.fetchone() or [None])[0] or ""
            found.append((columns, text.partition(" WHERE ")[2]))
    return found


def _make_on_postgresql(cursor, table: str) -> None:
    """A taken key is refused by the table itself; upserts and MERGE are updates."""
    refusal = on_update = "reviews_refuse_change()"
    if table == HEAD:
        on_update = "reviews_refuse_backwards()"
    elif table in PARTLY:
        on_update = "reviews_refuse_most_change({})".format(", ".join(f"'{name}'" for name in PARTLY[table]))
    cursor.execute(FUNCTIONS)
    for verb, level, function in (
        ("update", "ROW", on_update),
        ("delete", "ROW", refusal),
        ("truncate", "STATEMENT", refusal),
    ):
        cursor.execute(
            f"CREATE OR REPLACE TRIGGER {table}_no_{verb} BEFORE {verb.upper()} ON {table} "
            f"FOR EACH {level} EXECUTE FUNCTION {function}"
        )
        cursor.execute(f"ALTER TABLE {table} ENABLE ALWAYS TRIGGER {table}_no_{verb}")


MAKERS = {"sqlite": _make_on_sqlite, "postgresql": _make_on_postgresql}
