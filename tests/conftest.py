"""What all tests share: the cast and its house, for tests that use Django.

The tests of the agent and of the launcher have fixtures of their own and need nothing of this.
"""

from __future__ import annotations

import os
import sys

# Before torch is imported: see gpuagent.pipelines.engine.quiet_libraries.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

# Only where pytest-django has set Django up: `tests/gpuagent` runs without it, too.
_registry = sys.modules.get("django.apps")
if _registry is not None and _registry.apps.ready:
    pytest_plugins = ["tests.cast"]
