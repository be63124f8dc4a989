"""Originals are a right of their own, which nobody has before it is given; looks at them are kept."""

import django.db.models.deletion
from django.conf import settings
from django.db import migrations, models

from reviews import append_only


def forward(apps, schema_editor):
    append_only.protect(schema_editor.connection, append_only.LOOKS)


def backward(apps, schema_editor):
    append_only.unprotect(schema_editor.connection, append_only.LOOKS)


class Migration(migrations.Migration):

    dependencies = [
        ('reviews', '0010_spent_time'),
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    operations = [
        migrations.AddField(
            model_name='membership',
            name='downloads_originals',
            field=models.BooleanField(default=False, verbose_name='downloads originals'),
        ),
        migrations.AddField(
            model_name='membership',
            name='sees_originals',
            field=models.BooleanField(default=False, verbose_name='sees originals'),
        ),
        migrations.AddConstraint(
            model_name='membership',
            constraint=models.CheckConstraint(condition=models.Q(('downloads_originals', False), ('sees_originals', True), _connector='OR'), name='membership_downloads_what_it_sees'),
        ),
        migrations.CreateModel(
            name='AccessLog',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('what', models.CharField(max_length=64, verbose_name='picture, plane with layer, or volume')),
                ('how', models.CharField(choices=[('shown', 'Shown'), ('downloaded', 'Downloaded')], max_length=16)),
                ('at', models.CharField(max_length=32, verbose_name='UTC time, ISO 8601')),
                ('attempt', models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name='looks', to='reviews.attempt')),
                ('dataset', models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name='looks', to='reviews.dataset')),
                ('user', models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name='+', to=settings.AUTH_USER_MODEL)),
            ],
            options={
                'ordering': ['id'],
                'indexes': [models.Index(fields=['dataset', 'id'], name='looks_by_dataset')],
            },
        ),
        migrations.RunPython(forward, backward),
    ]
