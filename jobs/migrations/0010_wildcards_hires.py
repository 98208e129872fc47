"""Lists of words for prompts, and grids of pictures, behind row-level security."""

import django.db.models.deletion
import studio.core.ids
from django.conf import settings
from django.db import migrations, models

from studio.core.row_security import guard


class Migration(migrations.Migration):

    dependencies = [
        ('accounts', '0007_sign_on'),
        ('jobs', '0009_batch'),
        ('workspaces', '0006_unused_inputs'),
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    operations = [
        migrations.CreateModel(
            name='Grid',
            fields=[
                ('id', studio.core.ids.IdField(prefix='grd')),
                ('sealed_axes', models.BinaryField()),
                ('idempotency_key', models.CharField(max_length=255, null=True)),
                ('created_at', models.DateTimeField(auto_now_add=True)),
                ('created_by', models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name='+', to=settings.AUTH_USER_MODEL)),
                ('organization', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='+', to='accounts.organization')),
                ('workspace', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='grids', to='workspaces.workspace')),
            ],
        ),
        migrations.CreateModel(
            name='GridCell',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('place', models.PositiveIntegerField()),
                ('grid', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='cells', to='jobs.grid')),
                ('job', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='cells', to='jobs.job')),
                ('organization', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='+', to='accounts.organization')),
            ],
        ),
        migrations.CreateModel(
            name='Wildcard',
            fields=[
                ('id', studio.core.ids.IdField(prefix='wld')),
                ('sealed_list', models.BinaryField()),
                ('created_at', models.DateTimeField(auto_now_add=True)),
                ('updated_at', models.DateTimeField(auto_now=True)),
                ('created_by', models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name='+', to=settings.AUTH_USER_MODEL)),
                ('organization', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='+', to='accounts.organization')),
                ('workspace', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='wildcards', to='workspaces.workspace')),
            ],
        ),
        migrations.AddConstraint(
            model_name='grid',
            constraint=models.UniqueConstraint(fields=('workspace', 'created_by', 'idempotency_key'), name='grid_idempotency_once'),
        ),
        migrations.AddConstraint(
            model_name='gridcell',
            constraint=models.UniqueConstraint(fields=('grid', 'place'), name='grid_cell_once'),
        ),
        guard('jobs_wildcard'),
        guard('jobs_grid'),
        guard('jobs_gridcell'),
    ]
