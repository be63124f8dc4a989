"""Kept rows stay as they are for everybody who has SQL but may not change the tables, on both databases."""

import pytest
from django.db import DatabaseError, connection, transaction

from reviews import actions, append_only
from reviews.models import AuditHead, FrozenCase, FrozenSet, ThresholdSet, Verdict
from tests.conftest import judge

pytestmark = pytest.mark.django_db

KEPT = [*append_only.TABLES, *append_only.FROZEN, *append_only.PARTLY, append_only.HEAD]
ON_SQLITE = pytest.mark.skipif("connection.vendor != 'sqlite'", reason="SQLite's own SQL")
ON_POSTGRESQL = pytest.mark.skipif("connection.vendor != 'postgresql'", reason="PostgreSQL's own SQL")


@pytest.fixture
def kept(make, cast, dataset):
    """Two rows in every kept table but the head."""
    for klass in ("face", "pass"):
        attempt = make()
        judge(cast.reviewer, attempt, klass)
        frozen = FrozenSet.objects.create(dataset=dataset, share=0.1, ears_required=False, digest=klass)
        FrozenCase.objects.create(frozen_set=frozen, attempt=attempt, truth=klass, adjudicated=True)
    ThresholdSet.objects.create(version=2, policy={})
    connection.check_constraints()  # PostgreSQL changes no table that waits for a check


def rows_of(table: str) -> list:
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT * FROM {table} ORDER BY id")
        return cursor.fetchall()


def columns_of(table: str) -> list[str]:
    with connection.cursor() as cursor:
        return [column.name for column in connection.introspection.get_table_description(cursor, table)]


def refused(table: str, statement: str) -> None:
    """The statement is refused for the table's sake and changes nothing."""
    before = rows_of(table)
    assert before
    with (
        pytest.raises(DatabaseError, match=r"append-only|unique constraint"),
        transaction.atomic(),
        connection.cursor() as cursor,
    ):
        cursor.execute(statement)
    assert rows_of(table) == before


def text_column(table: str) -> str:
    """A column of the table that any text can be written to."""
    for name in ("digest", "note", "reason", "render_version", "output_sha256"):
        if name in columns_of(table):
            return name
    raise AssertionError(table)


@pytest.mark.parametrize("table", KEPT)
@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE {table} SET {column} = 'forged'",
        "UPDATE {table} SET id = id + 1000",
        "DELETE FROM {table}",
        "DELETE FROM {table} WHERE id = (SELECT MIN(id) FROM {table})",
        "INSERT INTO {table} SELECT * FROM {table} WHERE id = (SELECT MIN(id) FROM {table})",
        "INSERT INTO {table} SELECT * FROM {table} WHERE true ON CONFLICT (id) DO UPDATE SET {column} = 'forged'",
    ],
)
def test_plain_sql_is_refused(kept, table, statement):
    refused(table, statement.format(table=table, column=text_column(table)))


@ON_SQLITE
@pytest.mark.parametrize("table", KEPT)
@pytest.mark.parametrize("verb", ["INSERT OR REPLACE", "REPLACE", "INSERT OR IGNORE"])
def test_no_row_is_put_in_the_place_of_another(kept, table, verb):
    column, names = text_column(table), columns_of(table)
    values = ", ".join("'forged'" if name == column else f'"{name}"' for name in names)
    refused(table, f"{verb} INTO {table} SELECT {values} FROM {table} LIMIT 1")


@ON_SQLITE
@pytest.mark.parametrize("table", KEPT)
@pytest.mark.parametrize("change", ["id = (SELECT MAX(id) FROM {table}) + 0", "{column} = 'forged'"])
def test_no_update_replaces(kept, table, change):
    change = change.format(table=table, column=text_column(table))
    if table == append_only.HEAD:
        change = "seq = seq - 1"
    refused(table, f"UPDATE OR REPLACE {table} SET {change} WHERE id = (SELECT MIN(id) FROM {table})")


@ON_SQLITE
def test_no_row_is_replaced_by_another_of_its_keys(kept, cast):
    names = [name for name in columns_of("reviews_verdict") if name != "id"]
    values = ", ".join(f'"{name}"' for name in names)
    refused(
        "reviews_verdict",
        f"INSERT OR REPLACE INTO reviews_verdict (id, {values}) SELECT 9000, {values} FROM reviews_verdict LIMIT 1",
    )
    refused(
        "reviews_auditevent",
        "INSERT OR REPLACE INTO reviews_auditevent (seq, at, actor, action, object_kind, content_digest, "
        "previous_digest, digest) VALUES (3, '', 'user:1', 'x', 'x', '', '', '')",
    )


@ON_SQLITE
def test_the_cutoffs_in_force_are_not_replaced(kept):
    table = "reviews_thresholdset"
    refused(table, f"UPDATE OR REPLACE {table} SET active = 1 WHERE version = 2")
    refused(
        table,
        f"INSERT OR REPLACE INTO {table} (version, policy, evidence, note, created_at, active) "
        "VALUES (9, '{}', '{}', '', '2026-01-01', 1)",
    )


@ON_POSTGRESQL
@pytest.mark.parametrize("table", KEPT)
def test_nothing_of_postgresql_gets_round_it(kept, table):
    column = text_column(table)
    refused(table, f"TRUNCATE {table} CASCADE")
    merge = f"MERGE INTO {table} t USING {table} s ON t.id = s.id WHEN MATCHED THEN "
    refused(table, f"{merge} UPDATE SET {column} = 'forged'")
    refused(table, f"{merge} DELETE")
    with connection.cursor() as cursor:
        cursor.execute("SET LOCAL session_replication_role = replica")
    refused(table, f"DELETE FROM {table}")
    refused(table, f"UPDATE {table} SET {column} = 'forged'")


def test_the_head_goes_forward_only(kept):
    table, head = append_only.HEAD, AuditHead.objects.get(pk=1)
    for seq in (head.seq - 1, head.seq, head.seq + 2):
        refused(table, f"UPDATE {table} SET seq = {seq}, digest = 'x'")
    refused(table, f"UPDATE {table} SET seq = seq + 1")


def test_work_goes_on(kept, cast, make):
    old = ThresholdSet.objects.get(version=1)
    new = actions.save_thresholds(actor=cast.root, policy=old.cutoffs)
    actions.activate_thresholds(actor=cast.root, threshold_set=old)
    assert not ThresholdSet.objects.get(pk=new.pk).active
    verdict = judge(cast.reviewer, make(), nonce="same")
    assert judge(cast.reviewer, verdict.attempt, nonce="same", lease=False) == verdict
    assert Verdict.objects.filter(nonce="same").count() == 1


def test_older_triggers_are_made_anew(kept):
    table = "reviews_verdict"
    with connection.cursor() as cursor:
        append_only.unprotect(connection, (table,))
        if connection.vendor == "sqlite":
            cursor.execute(f"CREATE TRIGGER {table}_no_replace BEFORE INSERT ON {table} BEGIN SELECT 1; END")
    append_only.protect(connection)
    refused(table, f"INSERT INTO {table} SELECT * FROM {table}")
    refused(table, f"DELETE FROM {table}")
