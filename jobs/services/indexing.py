"""Making jobs findable that were submitted before there was a search."""

from __future__ import annotations

from collections.abc import Iterator

from gpuagent.protocol.recipe import RecipeInvalidError
from gpuagent.protocol.sealing import SealBrokenError
from jobs.models import Job
from jobs.recipes import open_recipe
from jobs.search import index_terms

BATCH = 200


def index_prompts() -> tuple[int, int]:
    """Index every job that is not yet; how many were, and how many do not open.

    It can be broken off and run again, also beside another: what is indexed stays so.
    """
    indexed = unreadable = 0
    for job in _unindexed():
        try:
            recipe = open_recipe(job)
        except (SealBrokenError, RecipeInvalidError):
            unreadable += 1
            continue
        terms = index_terms(job.workspace, recipe.prompt, recipe.negative_prompt)
        indexed += Job.objects.filter(pk=job.pk, search_terms=[]).update(search_terms=terms)
    return indexed, unreadable


def _unindexed() -> Iterator[Job]:
    last = ""
    # A deleted workspace is about to lose its key; what comes back is indexed by the next run.
    jobs = Job.objects.filter(search_terms=[], workspace__deleted_at=None)
    while batch := list(
        jobs.filter(pk__gt=last).select_related("workspace").order_by("pk")[:BATCH]
    ):
        yield from batch
        last = batch[-1].pk
