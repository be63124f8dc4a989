"""Every lease goes by a random handle; what was given to whom is remembered."""

import django.db.models.deletion
import django.utils.timezone
from django.conf import settings
from django.db import migrations, models

import reviews.models.decisions

MODES = [("verify", "Verification"), ("visual", "Visual QC"), ("practice", "Practice")]


def end_leases(apps, schema_editor) -> None:
    """Leases last minutes and have no handle yet: open pages fetch their scans anew."""
    apps.get_model("reviews", "Lease").objects.all().delete()


class Migration(migrations.Migration):
    dependencies = [("reviews", "0015_former_names"), migrations.swappable_dependency(settings.AUTH_USER_MODEL)]

    operations = [
        migrations.RunPython(end_leases, migrations.RunPython.noop),
        migrations.AddField(
            model_name="lease",
            name="known",
            field=models.BooleanField("slipped in as a known case", default=False),
        ),
        migrations.AddField(
            model_name="lease",
            name="handle",
            field=models.CharField(
                max_length=32, unique=True, default=reviews.models.decisions.random_handle
            ),
        ),
        migrations.CreateModel(
            name="Given",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("handle", models.CharField(max_length=32, unique=True)),
                ("mode", models.CharField(max_length=8, choices=MODES)),
                ("known", models.BooleanField("slipped in as a known case", default=False)),
                ("at", models.DateTimeField(default=django.utils.timezone.now)),
                (
                    "attempt",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="given_as",
                        to="reviews.attempt",
                    ),
                ),
                (
                    "beside",
                    models.ForeignKey(
                        editable=False,
                        null=True,
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="+",
                        to="reviews.attempt",
                    ),
                ),
                (
                    "user",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="given",
                        to=settings.AUTH_USER_MODEL,
                    ),
                ),
            ],
            options={
                "indexes": [
                    models.Index(fields=["user", "attempt"], name="given_to_user"),
                    models.Index(
                        fields=["user"], condition=models.Q(("known", True)), name="given_known_to_user"
                    ),
                ]
            },
        ),
    ]
