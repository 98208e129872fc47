"""`python -m house.card`: draws the pictures of the model card from the model as it lies here."""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path

import torch
from diffusers import LCMScheduler, StableDiffusionPipeline
from PIL import Image, ImageDraw, ImageFont

from house.measure import generate
from house.recipe import ADAPTERS, HERE
from house.training.frozen import load_base

IMAGES = HERE.parent / "docs" / "images"
# Nothing is picked: seed n is the number of the prompt.
PROMPTS = (
    "photo of a red mug on a wooden table",
    "a blue car on a beach",
    "a glossy 3d render of a green apple on a white background",
    "flat icon of a yellow star at night",
    "photo of a purple chair in a gray studio",
    "pencil sketch of an orange fish on a blue background",
    "photo of a white house in the snow",
    "ink sketch of a black hat on a pink background",
    "a pink balloon under a starry night sky",
    "flat illustration of a green boat at sunset",
    "studio shot of a brown shoe in a gray studio",
    "hand drawn sketch of a red umbrella on grass",
    "a purple vase with flowers on a wooden table",
    "flat vector art of an orange tree in the snow",
    "photo of a yellow lamp on a pink background",
    "line drawing of a green bottle on a beach",
    "a small red heart on the left on a blue background",
    "photo of a large brown mushroom in a green meadow",
    "a tiny yellow car on the right at the seaside",
    "flat illustration of a big blue mug on a pink background",
    "a red mug and a blue star on a wooden table",
    "a yellow boat and a green umbrella on a beach",
    "flat illustration of a purple house and an orange tree on grass",
    "pencil sketch of a pink hat next to a brown shoe on a white background",
)
COLUMNS, SIDE, MARGIN, CAPTION = 6, 192, 12, 56
PAPER, INK, FAINT = (250, 250, 248), (40, 40, 46), (214, 214, 210)


def main() -> None:
    """Write the contact sheet, the adapters' sheet and the curves."""
    parser = argparse.ArgumentParser(prog="python -m house.card", description=__doc__)
    parser.add_argument("--work", type=Path, default=Path(".state/house"))
    work = parser.parse_args().work
    IMAGES.mkdir(parents=True, exist_ok=True)
    pipeline = load_base()
    made = generate(pipeline, PROMPTS, range(len(PROMPTS)))
    sheet(made, PROMPTS).save(IMAGES / "house-sheet.png", optimize=True)
    strip(made).save(IMAGES / "house-strip.png", optimize=True)
    adapters_sheet(pipeline).save(IMAGES / "house-adapters.png", optimize=True)
    curves = [work / stage / "curve.jsonl" for stage in ("autoencoder", "unet")]
    if all(path.exists() for path in curves):
        curve_chart(curves).save(IMAGES / "house-curves.png", optimize=True)


def sheet(pictures: torch.Tensor, captions: Sequence[str], columns: int = COLUMNS) -> Image.Image:
    """Pictures `[n, 3, h, w]` of -1 to 1 in rows, each with its caption below."""
    wide, high = SIDE + MARGIN, SIDE + CAPTION
    rows = -(-len(captions) // columns)
    whole = Image.new("RGB", (columns * wide + MARGIN, rows * high + MARGIN), PAPER)
    pen, font = ImageDraw.Draw(whole), ImageFont.load_default(12)
    for number, caption in enumerate(captions):
        left, top = MARGIN + number % columns * wide, MARGIN + number // columns * high
        picture = as_image(pictures[number]).resize((SIDE, SIDE), Image.Resampling.LANCZOS)
        whole.paste(picture, (left, top))
        for line, words in enumerate(_lines(caption, font)):
            pen.text((left, top + SIDE + 4 + 15 * line), words, fill=INK, font=font)
    return whole


def strip(pictures: torch.Tensor, rows: int = 2, side: int = 96) -> Image.Image:
    """The same pictures, small and without words."""
    columns = -(-len(pictures) // rows)
    whole = Image.new("RGB", (columns * side, rows * side), PAPER)
    for number, picture in enumerate(pictures):
        small = as_image(picture).resize((side, side), Image.Resampling.LANCZOS)
        whole.paste(small, (number % columns * side, number // columns * side))
    return whole


def adapters_sheet(pipeline: StableDiffusionPipeline) -> Image.Image:
    """What the adapters do: four steps, neon, a learnt word."""
    usual = pipeline.scheduler
    fast = ("photo of a red mug on a wooden table", "a blue car on a beach")
    pipeline.load_lora_weights(str(ADAPTERS / "fast"), adapter_name="fast")
    pipeline.scheduler = LCMScheduler.from_config(usual.config)
    rows = [generate(pipeline, fast, (0, 1), steps=4, guidance_scale=1.0)]
    pipeline.scheduler = usual
    pipeline.unload_lora_weights()
    neon = ("neon sign of a pink heart", "neon sign of a green mug")
    pipeline.load_lora_weights(str(ADAPTERS / "neon"), adapter_name="neon")
    rows.append(generate(pipeline, neon, (2, 3)))
    pipeline.unload_lora_weights()
    pipeline.load_textual_inversion(str(ADAPTERS / "teal"))
    teal = ("photo of a <teal> mug on a wooden table", "photo of a <teal> car on a beach")
    rows.append(generate(pipeline, teal, (4, 5)))
    captions = [*(f"four steps: {words}" for words in fast), *neon, *teal]
    return sheet(torch.cat(rows), captions)


def as_image(picture: torch.Tensor) -> Image.Image:
    """A picture `[3, h, w]` of -1 to 1 as one that can be saved."""
    values = ((picture.clamp(-1, 1) + 1) * 127.5).round().byte().permute(1, 2, 0)
    return Image.fromarray(values.numpy())


def curve_chart(paths: Sequence[Path], size: tuple[int, int] = (560, 300)) -> Image.Image:
    """The loss of each run over its steps, side by side."""
    whole = Image.new("RGB", (size[0] * len(paths), size[1]), PAPER)
    for number, path in enumerate(paths):
        points = [json.loads(line) for line in path.read_text().splitlines()]
        whole.paste(_chart(path.parent.name, points, size), (number * size[0], 0))
    return whole


def _chart(name: str, points: Sequence[dict[str, float]], size: tuple[int, int]) -> Image.Image:
    image = Image.new("RGB", size, PAPER)
    pen, font = ImageDraw.Draw(image), ImageFont.load_default(12)
    left, top, right, bottom = 50, 34, size[0] - 20, size[1] - 34
    last = max(point["step"] for point in points)
    # The first reports tower above the rest.
    highest = sorted(point["loss"] for point in points)[int(0.95 * len(points)) - 1]
    pen.text((left, 10), f"{name}: loss over {last:,} steps", fill=INK, font=font)
    for part in range(5):
        level = bottom - part / 4 * (bottom - top)
        pen.line((left, level, right, level), fill=FAINT)
        pen.text((8, level - 7), f"{highest * part / 4:.3f}", fill=INK, font=font)
    line = [
        (
            left + point["step"] / last * (right - left),
            bottom - min(1.0, point["loss"] / highest) * (bottom - top),
        )
        for point in points
    ]
    pen.line(line, fill=(40, 96, 200), width=2)
    return image


def _lines(caption: str, font: ImageFont.ImageFont | ImageFont.FreeTypeFont) -> list[str]:
    lines = [""]
    for word in caption.split():
        longer = f"{lines[-1]} {word}".strip()
        if font.getlength(longer) > SIDE and lines[-1]:
            lines.append(word)
        else:
            lines[-1] = longer
    return lines


if __name__ == "__main__":
    main()
