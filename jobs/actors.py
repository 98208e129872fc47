"""Background work of the web side. Every actor may run twice."""

from __future__ import annotations

import dramatiq

from jobs.services.deletion import stop_jobs_of_deleted
from jobs.services.destruction import destroy_due
from jobs.services.inputs import sweep_inputs
from jobs.services.outputs import purge_trash
from library.services.importing import check_upload, fetch_upload
from library.services.uploads import QUEUE as MODELS_QUEUE
from library.services.uploads import sweep_uploads
from studio.core import mail
from studio.core.queue import DEFAULT_QUEUE, WEB_NAMESPACE, broker
from studio.core.scoping import system_scope
from workspaces.services.artifacts import sweep_expected
from workspaces.services.rotation import retire_keys

web_broker = broker(WEB_NAMESPACE)
# Large files take long, and have threads of their own (`manage.py work`).
MODELS_MILLISECONDS = 8 * 3_600 * 1_000


@dramatiq.actor(broker=web_broker, queue_name=DEFAULT_QUEUE, max_retries=3)
def sweep() -> None:
    """Remove what lay in the trash or unused for too long, and bytes that nobody committed.

    Deleted workspaces come last: destroying a large one takes its time.
    """
    with system_scope():
        purge_trash()
        sweep_inputs()
        sweep_expected()
        sweep_uploads()
        retire_keys()
        stop_jobs_of_deleted()
    mail.resend_waiting()
    with system_scope():
        destroy_due()


@dramatiq.actor(broker=web_broker, queue_name=DEFAULT_QUEUE, max_retries=len(mail.WAITS))
def send_mail(mail_id: str) -> None:
    """Send one mail; when that fails, again a little later."""
    wait = mail.deliver(mail_id)
    if wait is not None:
        raise dramatiq.errors.Retry(delay=wait * 1_000)


@dramatiq.actor(
    broker=web_broker, queue_name=MODELS_QUEUE, max_retries=20, time_limit=MODELS_MILLISECONDS
)
def check_model_upload(upload_id: str) -> None:
    """Recognise and register a file that was added to the library."""
    with system_scope():
        wait = check_upload(upload_id)
    if wait is not None:
        raise dramatiq.errors.Retry(delay=wait * 1_000)


@dramatiq.actor(
    broker=web_broker, queue_name=MODELS_QUEUE, max_retries=20, time_limit=MODELS_MILLISECONDS
)
def fetch_model_upload(upload_id: str) -> None:
    """Fetch a file that is to be added to the library."""
    with system_scope():
        wait = fetch_upload(upload_id)
    if wait is not None:
        raise dramatiq.errors.Retry(delay=wait * 1_000)
