"""What somebody with a share link's address gets to see. Reads, and counting of visits and tries.

Who opens a link is nobody to the studio: visits and wrong passwords are counted in Redis under
keyed hashes of the network address, and forgotten after an hour at most.
"""

from __future__ import annotations

from functools import lru_cache

from django.conf import settings
from django.contrib.auth.hashers import check_password
from django.core import signing
from django.db.models import F, QuerySet
from django.utils import timezone
from django.utils.crypto import salted_hmac
from redis import Redis
from redis.exceptions import RedisError

from jobs.models import Output
from jobs.services.sharing import hash_of
from studio.core.errors import NotFoundError
from studio.core.scoping import system_scope
from workspaces.models import ShareLink, Workspace

PAGE_SIZE = 60
VISIT_SECONDS = 30 * 60
PASS_SECONDS = 8 * 60 * 60
# Wrong passwords: by one network address, and by everybody together.
TRIES_BY_ONE, TRIES_BY_ONE_SECONDS = 5, 5 * 60
TRIES_BY_ALL, TRIES_BY_ALL_SECONDS = 100, 60 * 60
_PASS_SALT = "studio.share.pass"  # noqa: S105  # a purpose, not a password


def find_share(token: str) -> ShareLink | None:
    """The link at an address, if it still leads anywhere; before any scope is open."""
    with system_scope():
        return (
            ShareLink.objects.select_related("workspace__organization", "project")
            .filter(
                token_hash=hash_of(token),
                revoked_at=None,
                expires_at__gt=timezone.now(),
                workspace__deleted_at=None,
            )
            .first()
        )


def shares_of(workspace: Workspace, *, limit: int = 200) -> list[ShareLink]:
    """The newest links of a workspace, ended ones too."""
    links = ShareLink.objects.select_related("workspace", "project__workspace", "created_by")
    return list(links.filter(workspace=workspace).order_by("-id")[:limit])


def shared_outputs(link: ShareLink) -> QuerySet[Output]:
    """The pictures of a link, newest first. What lies in the trash is not among them."""
    outputs = Output.objects.filter(workspace_id=link.workspace_id, trashed_at=None)
    if link.project_id is not None:
        outputs = outputs.filter(project_id=link.project_id)
    else:
        outputs = outputs.filter(pk__in=link.output_ids)
    return outputs.select_related(
        "picture__workspace", "thumbnail__workspace", "job__model_version"
    ).order_by("-id")


def get_shared_output(link: ShareLink, output_id: str) -> Output:
    """A picture of the link.

    Raises:
        NotFoundError: it is not among those.
    """
    output = (
        shared_outputs(link)
        .select_related("workspace", "job__workspace", "job__model_version__asset")
        .filter(pk=output_id)
        .first()
    )
    if output is None:
        raise NotFoundError(noun="picture")
    return output


def shared_page(
    link: ShareLink, *, before: str | None, size: int = PAGE_SIZE
) -> tuple[list[Output], str | None]:
    """A page of the link's pictures, and the key the next one starts before."""
    outputs = shared_outputs(link)
    if before:
        outputs = outputs.filter(pk__lt=before)
    page = list(outputs[: size + 1])
    return page[:size], page[size - 1].pk if len(page) > size else None


def neighbors_of(link: ShareLink, output: Output) -> tuple[str | None, str | None]:
    """The newer and the older picture of the link."""
    ids = shared_outputs(link).values_list("pk", flat=True)
    newer = ids.filter(pk__gt=output.pk).order_by("id").first()
    return newer, ids.filter(pk__lt=output.pk).first()


def note_visit(link: ShareLink, *, address: str, browser: str) -> None:
    """Count a visit, unless it is the same browser's of a moment ago."""
    visitor = _hashed("visit", link.pk, address, browser)
    try:
        is_new = _redis(settings.REDIS_URL).set(visitor, 1, nx=True, ex=VISIT_SECONDS)
    except RedisError:
        return
    if is_new:
        ShareLink.objects.filter(pk=link.pk).update(
            opens=F("opens") + 1, last_opened_at=timezone.now()
        )


def may_try(link: ShareLink, *, address: str) -> bool:
    """Note one more try at the password; False if there were too many, or none can be counted."""
    limits = (
        (_hashed("tries", link.pk, address), TRIES_BY_ONE, TRIES_BY_ONE_SECONDS),
        (_hashed("tries", link.pk), TRIES_BY_ALL, TRIES_BY_ALL_SECONDS),
    )
    try:
        return all(_count(key, seconds) <= most for key, most, seconds in limits)
    except RedisError:
        return False


def is_right(link: ShareLink, password: str) -> bool:
    """Whether the password opens the link."""
    return bool(link.password_hash) and check_password(password, link.password_hash)


def pass_for(link: ShareLink) -> str:
    """What a browser keeps once the password was right: of this link and this password alone."""
    return signing.dumps(_pass_content(link), salt=_PASS_SALT)


def has_passed(link: ShareLink, kept: str) -> bool:
    """Whether a browser was let in: no password is asked for, or its pass is good."""
    if not link.password_hash:
        return True
    try:
        content = signing.loads(kept, salt=_PASS_SALT, max_age=PASS_SECONDS)
    except signing.BadSignature:
        return False
    return bool(content == _pass_content(link))


def _pass_content(link: ShareLink) -> list[str]:
    return [link.pk, salted_hmac(_PASS_SALT, link.password_hash).hexdigest()[:16]]


def _count(key: str, seconds: int) -> int:
    pipeline = _redis(settings.REDIS_URL).pipeline()
    pipeline.incr(key)
    pipeline.expire(key, seconds, nx=True)
    return int(pipeline.execute()[0])


def _hashed(purpose: str, *parts: str) -> str:
    digest = salted_hmac(f"studio.share.{purpose}", "\n".join(parts)).hexdigest()
    return f"studio:share:{purpose}:{digest}"


@lru_cache(maxsize=2)
def _redis(url: str) -> Redis:
    return Redis.from_url(url, socket_timeout=1, socket_connect_timeout=1)
