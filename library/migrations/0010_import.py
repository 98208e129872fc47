"""Models that people add: files on their way in, removed models, what agents measured."""

import django.db.models.deletion
import studio.core.ids
from django.conf import settings
from django.db import migrations, models

from studio.core.row_security import guard


class Migration(migrations.Migration):

    dependencies = [
        ('accounts', '0007_sign_on'),
        ('library', '0009_family_parts'),
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    operations = [
        migrations.AddField(
            model_name='modelasset',
            name='removed_at',
            field=models.DateTimeField(null=True),
        ),
        migrations.AddField(
            model_name='modelversion',
            name='memory',
            field=models.JSONField(default=dict),
        ),
        migrations.AddField(
            model_name='modelversion',
            name='source_sha256',
            field=models.CharField(blank=True, max_length=64),
        ),
        migrations.CreateModel(
            name='ModelUpload',
            fields=[
                ('id', studio.core.ids.IdField(prefix='mup')),
                ('state', models.CharField(choices=[('receiving', 'receiving'), ('fetching', 'fetching'), ('checking', 'checking'), ('done', 'done'), ('failed', 'failed')], max_length=12)),
                ('fingerprint', models.CharField(blank=True, max_length=64)),
                ('file_name', models.CharField(max_length=200)),
                ('size_bytes', models.BigIntegerField(default=0)),
                ('received_bytes', models.BigIntegerField(default=0)),
                ('checked_bytes', models.BigIntegerField(default=0)),
                ('details', models.JSONField(default=dict)),
                ('sealed_address', models.BinaryField(null=True)),
                ('problem', models.JSONField(default=dict)),
                ('claimed_at', models.DateTimeField(null=True)),
                ('created_at', models.DateTimeField(auto_now_add=True)),
                ('expires_at', models.DateTimeField()),
                ('created_by', models.ForeignKey(null=True, on_delete=django.db.models.deletion.SET_NULL, related_name='+', to=settings.AUTH_USER_MODEL)),
                ('organization', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='+', to='accounts.organization')),
                ('version', models.ForeignKey(null=True, on_delete=django.db.models.deletion.SET_NULL, related_name='+', to='library.modelversion')),
            ],
            options={
                'indexes': [models.Index(fields=['organization', '-id'], name='upload_newest'), models.Index(fields=['expires_at'], name='upload_expiry')],
                'constraints': [models.UniqueConstraint(condition=models.Q(('state', 'receiving'), models.Q(('fingerprint', ''), _negated=True)), fields=('organization', 'created_by', 'fingerprint'), name='upload_open_once')],
            },
        ),
        guard("library_modelupload"),
    ]
