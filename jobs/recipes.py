"""Sealing a job's recipe and opening it again."""

from __future__ import annotations

import json

from gpuagent.protocol.recipe import Recipe
from gpuagent.protocol.recipe_parsing import parse_recipe
from jobs.alternatives import escaped
from jobs.models import Job, Output
from workspaces.models import Workspace
from workspaces.services.keys import open_in, seal_in

RECIPE_KIND = "recipe"
MANIFEST_KIND = "manifest"


def seal_recipe(workspace: Workspace, recipe: Recipe, *, job_id: str) -> bytes:
    """The recipe for the job's column."""
    plaintext = json.dumps(recipe.to_wire()).encode()
    return seal_in(workspace, plaintext, kind=RECIPE_KIND, object_id=job_id)


def open_recipe(job: Job) -> Recipe:
    """The job's recipe.

    Raises:
        SealBrokenError: the row was tampered with, or its key is gone.
    """
    sealed = bytes(job.sealed_recipe)
    plaintext = open_in(job.workspace, sealed, kind=RECIPE_KIND, object_id=job.pk)
    return parse_recipe(json.loads(plaintext))


def exactly(recipe: Recipe) -> dict[str, object]:
    """A request for this recipe and nothing else: words that call an embedding by now call none."""
    said = {key: value for key, value in recipe.to_wire().items() if value is not None}
    return {**said, "embeddings": list(recipe.embeddings)}


def for_form(recipe: Recipe) -> dict[str, object]:
    """The recipe as the form takes it: what looks like an alternative stays as it is written."""
    said = recipe.to_wire()
    for name in ("prompt", "negative_prompt"):
        if name in said:
            said[name] = escaped(str(said[name]))
    return said


def seal_manifest(workspace: Workspace, manifest: dict[str, object], *, output_id: str) -> bytes:
    """The manifest for the output's column."""
    plaintext = json.dumps(manifest).encode()
    return seal_in(workspace, plaintext, kind=MANIFEST_KIND, object_id=output_id)


def open_manifest(output: Output) -> dict[str, object]:
    """The output's manifest.

    Raises:
        SealBrokenError: the row was tampered with, or its key is gone.
    """
    sealed = bytes(output.sealed_manifest)
    plaintext = open_in(output.workspace, sealed, kind=MANIFEST_KIND, object_id=output.pk)
    manifest: dict[str, object] = json.loads(plaintext)
    return manifest
