"""State folders for the launcher's tests: like a user's, and gone afterwards."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from launcher.pghome import forget_outside


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder that other users can pass through, as a clone in /srv or /home would be."""
    folder = Path(tempfile.mkdtemp(prefix="studio-launcher-"))
    folder.chmod(0o711)
    yield folder
    forget_outside(folder / "state")
    shutil.rmtree(folder, ignore_errors=True)
