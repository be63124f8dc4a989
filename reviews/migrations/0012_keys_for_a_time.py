from datetime import timedelta

from django.db import migrations, models
from django.utils import timezone


def ninety_days():
    """Keys made before are not cut off without a warning."""
    return timezone.now() + timedelta(days=90)


class Migration(migrations.Migration):

    dependencies = [
        ("reviews", "0011_originals"),
    ]

    operations = [
        migrations.AddField(
            model_name="apitoken",
            name="expires_at",
            field=models.DateTimeField(default=ninety_days),
            preserve_default=False,
        ),
        migrations.AddField(
            model_name="apitoken",
            name="minute",
            field=models.BigIntegerField(
                default=0, editable=False, verbose_name="minute that the uses were counted in"
            ),
        ),
        migrations.AddField(
            model_name="apitoken",
            name="calls",
            field=models.PositiveIntegerField(default=0, editable=False, verbose_name="uses in that minute"),
        ),
    ]
