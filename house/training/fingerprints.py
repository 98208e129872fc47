"""Short names for what something was made from, to tell stale leftovers from fresh ones."""

from __future__ import annotations

import hashlib
import json

import torch
from torch import nn
from transformers import CLIPTokenizer

from house.recipe import Work


def of_weights(module: nn.Module) -> str:
    """A fingerprint of all weights of a module, in half precision as they are released."""
    total = hashlib.sha256()
    for name, weight in sorted(module.state_dict().items()):
        total.update(name.encode())
        total.update(weight.detach().to(torch.float16).contiguous().numpy().tobytes())
    return total.hexdigest()[:16]


def of_words(tokenizer: CLIPTokenizer) -> str:
    """A fingerprint of a tokenizer's vocabulary."""
    return _digest(sorted(tokenizer.get_vocab().items()))


def of_drawings(work: Work) -> str:
    """A fingerprint of the set of drawings and of what of it training may see."""
    return _digest([json.loads((work.data / "recipe.json").read_text()), work.recipe["data"]])


def _digest(value: object) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:16]
