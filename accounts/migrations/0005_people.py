"""Which letter carried an invitation, to say when it could not be sent."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("accounts", "0004_walls_security")]
    operations = [
        migrations.AddField(
            model_name="invitation",
            name="mail_id",
            field=models.CharField(blank=True, default="", max_length=30),
            preserve_default=False,
        ),
    ]
