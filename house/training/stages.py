"""The stages of training the base model, in the order they depend on one another."""

from __future__ import annotations

import numpy as np
import torch
from diffusers import AutoencoderKL
from transformers import CLIPTextModel, CLIPTokenizer

from house import dataset
from house.dataset import Dataset
from house.drawing.captions import caption
from house.drawing.specs import random_spec
from house.networks import build_text_encoder, build_tokenizer
from house.questions import answer_numbers, reading_loss
from house.recipe import Work
from house.training import denoiser
from house.training.loop import Plan, Run, fast_math
from house.training.text import Reader, hidden_states, tokens


def draw_data(work: Work) -> Dataset:
    """Draw the training set, once."""
    data = work.recipe["data"]
    dataset.build(work.data, seed=data["seed"], count=data["pictures"])
    return dataset.load(work.data, data["held_out"])


def learn_tokenizer(work: Work) -> CLIPTokenizer:
    """Learn the tokenizer on captions, once."""
    folder = work.folder / "tokenizer"
    if (folder / "tokenizer.json").exists():
        return CLIPTokenizer.from_pretrained(folder)
    rng = np.random.default_rng(work.recipe["data"]["seed"])
    corpus = (caption(random_spec(rng), rng) for _ in range(work.recipe["tokenizer"]["captions"]))
    return build_tokenizer(folder, corpus, work.recipe["tokenizer"]["merges"])


def read_captions(work: Work) -> None:
    """Teach the text encoder to read captions, without pictures."""
    plan = work.recipe["text"]
    tokenizer = learn_tokenizer(work)
    torch.manual_seed(0)
    text = build_text_encoder(
        tokenizer, width=plan["width"], layers=plan["layers"], heads=plan["heads"]
    )
    reader = Reader(plan["width"])
    groups = [
        (text.parameters(), plan["learning_rate"]),
        (reader.parameters(), 10 * plan["learning_rate"]),
    ]
    run = Run(
        work.run("text"),
        {"text": text, "reader": reader},
        groups,
        Plan(plan["steps"], average=0.995),
    )
    run.resume()
    while not run.done:
        rng = np.random.default_rng((work.recipe["data"]["seed"], 0x7E, run.step))
        specs = [random_spec(rng) for _ in range(plan["batch"])]
        ids = tokens(tokenizer, [caption(spec, rng) for spec in specs])
        with fast_math():
            read = reader(hidden_states(text, ids))
        run.learn(reading_loss(read, answer_numbers(specs)), len(specs))
    run.save()
    run.averaged()
    text.save_pretrained(work.folder / "text_read")
    _report_reading(work, tokenizer, text, reader)


def train_denoiser(work: Work) -> None:
    """Train the U-Net; needs the stages before it."""
    text = CLIPTextModel.from_pretrained(work.folder / "text_read", dtype=torch.float32)
    vae = AutoencoderKL.from_pretrained(work.folder / "vae").eval()
    denoiser.train(work, learn_tokenizer(work), text, vae)


@torch.inference_mode()
def _report_reading(
    work: Work, tokenizer: CLIPTokenizer, text: torch.nn.Module, reader: Reader
) -> None:
    rng = np.random.default_rng((work.recipe["data"]["seed"], 0x7F))
    specs = [random_spec(rng, unseen=True) for _ in range(400)]
    said = [caption(spec, rng, complete=True) for spec in specs]
    read = reader(hidden_states(text, tokens(tokenizer, said)))
    truth = answer_numbers(specs)
    right = {name: (read[name].argmax(1) == truth[name]).float().mean().item() for name in read}
    print(
        "captions read right:", {name: round(share, 3) for name, share in right.items()}, flush=True
    )
