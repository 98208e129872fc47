"""Pictures that jobs start from, each in its role: a job may have several."""

import django.db.models.deletion
from django.db import migrations, models

from studio.core.row_security import guard
from studio.core.scoping import system_scope

COPY = """
    INSERT INTO jobs_jobinput (organization_id, job_id, artifact_id, role)
    SELECT organization_id, id, input_artifact_id, 'image'
    FROM jobs_job WHERE input_artifact_id IS NOT NULL
"""
COPY_BACK = """
    UPDATE jobs_job SET input_artifact_id = given.artifact_id
    FROM jobs_jobinput given WHERE given.job_id = jobs_job.id AND given.role = 'image'
"""


def _in_every_organization(sql):
    def run(apps, schema_editor):
        with system_scope(), schema_editor.connection.cursor() as cursor:
            cursor.execute(sql)
            # What is checked at the end only would keep the tables from being altered.
            cursor.execute("SET CONSTRAINTS ALL IMMEDIATE")

    return run


class Migration(migrations.Migration):

    dependencies = [
        ('accounts', '0007_sign_on'),
        ('jobs', '0006_queueux_paused_seconds'),
        ('workspaces', '0006_unused_inputs'),
    ]

    operations = [
        migrations.CreateModel(
            name='JobInput',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('role', models.CharField(choices=[('image', 'Image'), ('mask', 'Mask')], max_length=16)),
                ('artifact', models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name='+', to='workspaces.artifact')),
                ('job', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='inputs', to='jobs.job')),
                ('organization', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='+', to='accounts.organization')),
            ],
            options={
                'constraints': [models.UniqueConstraint(fields=('job', 'role'), name='job_input_once')],
            },
        ),
        guard('jobs_jobinput'),
        migrations.RunPython(
            _in_every_organization(COPY), _in_every_organization(COPY_BACK)
        ),
        migrations.RemoveField(
            model_name='job',
            name='input_artifact',
        ),
    ]
