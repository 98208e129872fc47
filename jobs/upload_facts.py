"""What the page's scripts are told of a picture that was added."""

from __future__ import annotations

from workspaces.services.uploads import Upload
from workspaces.signing import media_url


def upload_facts(upload: Upload) -> dict[str, object]:
    """A starting picture that was added, for the page's scripts."""
    picture, mask = upload.picture, upload.mask
    return {
        "id": picture.pk,
        "sha256": picture.sha256,
        "width": picture.width,
        "height": picture.height,
        "url": media_url(picture),
        "mask": mask.sha256 if mask is not None else None,
        "mask_url": media_url(mask) if mask is not None else None,
    }
