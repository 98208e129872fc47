"""Prompts to embeddings."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from gpuagent.cache.errors import AttemptFailedError
from gpuagent.pipelines.encode import Pixels
from gpuagent.pipelines.prompts import EmbeddingCache, Embeddings
from gpuagent.pipelines.sd15 import StableDiffusion15
from gpuagent.protocol.failures import FailureCode
from gpuagent.protocol.recipe import Recipe

MUG = Recipe(model="a" * 64, prompt="a red mug", num_inference_steps=4, seed=3)
LONG = ", ".join(["a small red mug on a wooden table in front of a hill"] * 12)


def test_long_prompt_is_read_to_its_end(house: StableDiffusion15) -> None:
    one = house.encode_prompts(replace(MUG, prompt=LONG))
    other = house.encode_prompts(replace(MUG, prompt=f"{LONG}, blue"))
    assert one.prompt.shape[1] > 77
    assert one.prompt.shape[1] % 77 == 0
    assert one.negative.shape == one.prompt.shape
    assert not one.prompt.equal(other.prompt)


def test_windows_of_a_long_prompt_are_those_of_its_parts(house: StableDiffusion15) -> None:
    # 75 tokens of one word fill a window exactly.
    word = "mug "
    full = house.encode_prompts(replace(MUG, prompt=word * 75)).prompt
    assert full.shape[1] == 77
    double = house.encode_prompts(replace(MUG, prompt=word * 150)).prompt
    assert double.shape[1] == 154
    assert double[:, :77].equal(full)
    assert double[:, 77:].equal(full)


def test_long_prompt_makes_a_picture(house: StableDiffusion15) -> None:
    recipe = replace(MUG, prompt=LONG, negative_prompt="blurry", num_inference_steps=8)
    pixels = house.decode(house.denoise(recipe, 0, house.encode_prompts(recipe)))
    assert pixels.std() > 30


def test_long_negative_prompt_lengthens_the_prompt(house: StableDiffusion15) -> None:
    embeddings = house.encode_prompts(replace(MUG, negative_prompt=LONG))
    assert embeddings.prompt.shape == embeddings.negative.shape
    assert embeddings.prompt.shape[1] > 77


def test_negative_prompt_changes_the_picture(house: StableDiffusion15) -> None:
    def make(recipe: Recipe) -> Pixels:
        return house.decode(house.denoise(recipe, 0, house.encode_prompts(recipe)))

    assert not np.array_equal(make(MUG), make(replace(MUG, negative_prompt="red")))


def test_clip_skip_takes_an_earlier_layer(house: StableDiffusion15) -> None:
    whole, early = (house.encode_prompts(replace(MUG, clip_skip=n)).prompt for n in (0, 1))
    assert whole.shape == early.shape
    assert not whole.equal(early)


def test_clip_skip_beyond_the_model_is_refused_with_its_limit(house: StableDiffusion15) -> None:
    with pytest.raises(AttemptFailedError) as caught:
        house.encode_prompts(replace(MUG, clip_skip=2))
    assert caught.value.code is FailureCode.RECIPE_INVALID
    assert caught.value.data == {"field": "clip_skip", "value": 2, "limit": 1}


def test_embeddings_are_kept_for_one_organization_only(house: StableDiffusion15) -> None:
    cache = EmbeddingCache()
    embeddings = house.encode_prompts(MUG)
    cache.put(EmbeddingCache.key("org_1", "d", MUG), embeddings)
    assert cache.get(EmbeddingCache.key("org_1", "d", MUG)) is embeddings
    assert cache.get(EmbeddingCache.key("org_2", "d", MUG)) is None
    assert cache.get(EmbeddingCache.key("org_1", "e", MUG)) is None


def test_key_of_embeddings_holds_no_text_and_confuses_nothing() -> None:
    first = replace(MUG, prompt="ab", negative_prompt="c")
    second = replace(MUG, prompt="a", negative_prompt="bc")
    keys = {
        EmbeddingCache.key("org_1", "d", r) for r in (first, second, replace(first, clip_skip=1))
    }
    assert len(keys) == 3
    assert all("ab" not in part for key in keys for part in key[:2])


def test_seed_and_size_do_not_change_the_key() -> None:
    key = EmbeddingCache.key("org_1", "d", MUG)
    assert key == EmbeddingCache.key("org_1", "d", replace(MUG, seed=99, width=256))


def test_oldest_embeddings_go_first() -> None:
    import torch

    cache = EmbeddingCache(size=2)
    value = Embeddings(prompt=torch.zeros(1), negative=torch.zeros(1))
    keys = [EmbeddingCache.key("org_1", "d", replace(MUG, prompt=p)) for p in "abc"]
    cache.put(keys[0], value)
    cache.put(keys[1], value)
    cache.get(keys[0])
    cache.put(keys[2], value)
    assert [cache.get(k) is not None for k in keys] == [True, False, True]


def test_large_embeddings_are_kept_while_there_is_room() -> None:
    import torch

    cache = EmbeddingCache(most_bytes=100)
    keys = [EmbeddingCache.key("org_1", "d", replace(MUG, prompt=p)) for p in "abc"]
    for key in keys:
        value = torch.zeros(10)  # forty bytes; it stands for the negative one, too
        cache.put(key, Embeddings(prompt=value, negative=value))
    assert [cache.get(k) is not None for k in keys] == [False, True, True]
    whole = torch.zeros(1000)
    cache.put(keys[0], Embeddings(prompt=whole, negative=whole))
    assert [cache.get(k) is not None for k in keys] == [True, False, False]


def test_a_weight_of_one_and_brackets_taken_literally_change_nothing(
    house: StableDiffusion15,
) -> None:
    plain = house.encode_prompts(MUG).prompt
    assert house.encode_prompts(replace(MUG, prompt="a (red:1.0) mug")).prompt.equal(plain)


def test_a_weighted_token_is_moved_from_the_empty_prompt_and_others_stay(
    house: StableDiffusion15,
) -> None:
    def read(prompt: str) -> np.ndarray:
        return house.encode_prompts(replace(MUG, prompt=prompt)).prompt[0].numpy()

    plain, empty, heavy = read("a red mug"), read(""), read("a (red:2) mug")
    assert np.array_equal(np.delete(heavy, 2, axis=0), np.delete(plain, 2, axis=0))
    assert np.allclose(heavy[2] - empty[2], 2 * (plain[2] - empty[2]), atol=1e-4)
    assert np.allclose(read("a (red:0) mug")[2], empty[2], atol=1e-5)
