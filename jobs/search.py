"""Searching prompts without reading them: words become keyed hashes, and hashes are compared.

The key is the workspace's own, so the same word is another number in another workspace. Who has
the database, but no key, sees which jobs of a workspace share words and how often; not the words.
"""

from __future__ import annotations

import hmac
import re
import unicodedata

from workspaces.models import Workspace
from workspaces.services.keys import search_key

_WORD = re.compile(r"[^\W_]+")
# Stands in every indexed job: so a prompt without words is not taken for one not yet indexed.
_INDEXED = ""


def words_of(text: str) -> set[str]:
    """The words of a text as they are compared: without case, accents and plural."""
    apart = unicodedata.normalize("NFKD", text.casefold())
    bare = "".join(letter for letter in apart if not unicodedata.combining(letter))
    return {_singular(word) for word in _WORD.findall(bare.casefold())}


def _singular(word: str) -> str:
    """Plain English plurals alone; what is cut wrongly is cut the same way in the query."""
    if len(word) > 4 and word.endswith("ies"):
        return word[:-3] + "y"
    if len(word) > 4 and word.endswith(("sses", "xes", "ches", "shes")):
        return word[:-2]
    if len(word) > 3 and word.endswith("s") and not word.endswith(("ss", "us", "is")):
        return word[:-1]
    return word


def index_terms(workspace: Workspace, *texts: str) -> list[int]:
    """What a job with these texts is found by."""
    words = set().union(*(words_of(text) for text in texts))
    return _terms(workspace, {*words, _INDEXED})


def query_terms(workspace: Workspace, query: str) -> list[int]:
    """What a job must have, all of it; empty if the query has no word in it."""
    return _terms(workspace, words_of(query))


def _terms(workspace: Workspace, words: set[str]) -> list[int]:
    if not words:
        return []
    key = search_key(workspace)
    return sorted({_term(key, word) for word in words})


def _term(key: bytes, word: str) -> int:
    """63 bits: as much as a signed column of the database takes."""
    digest = hmac.digest(key, word.encode(), "sha256")
    return int.from_bytes(digest[:8], "big") >> 1
