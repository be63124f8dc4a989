"""'Gold' is called 'known case'. The column of the kept verdicts keeps its name: their digests and triggers stay."""

import django.core.validators
import django.db.models.deletion
from django.db import migrations, models
from django.db.models import Q

CLASSES = ("pass", "face", "brain", "both")
LIMITS = [django.core.validators.MinValueValidator(0.0), django.core.validators.MaxValueValidator(0.5)]


def column(**more):
    return models.BooleanField("on a hidden known case", default=False, **more)


class Migration(migrations.Migration):
    dependencies = [("reviews", "0017_stored_roots")]
    operations = [
        migrations.AlterField("verdict", "gold", column(db_column="gold")),
        migrations.RenameField("verdict", "gold", "on_known_case"),
        migrations.RenameField("dataset", "gold_share", "known_share"),
        migrations.RemoveConstraint("golditem", "gold_truth_known"),
        migrations.RenameModel("GoldItem", "KnownCase"),
        migrations.AlterField(
            "knowncase",
            "attempt",
            models.OneToOneField(
                on_delete=django.db.models.deletion.PROTECT, related_name="known_case", to="reviews.attempt"
            ),
        ),
        migrations.AddConstraint(
            "knowncase", models.CheckConstraint(condition=Q(truth__in=CLASSES), name="known_case_has_class")
        ),
    ]
