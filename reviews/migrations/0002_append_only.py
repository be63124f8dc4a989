"""Triggers that refuse to change or delete an audit event or a verdict, for SQLite and PostgreSQL."""

from django.db import migrations

from reviews import append_only


def forward(apps, schema_editor):
    append_only.protect(schema_editor.connection, append_only.TABLES)


def backward(apps, schema_editor):
    append_only.unprotect(schema_editor.connection, append_only.TABLES)


class Migration(migrations.Migration):
    dependencies = [("reviews", "0001_initial")]
    operations = [migrations.RunPython(forward, backward)]
