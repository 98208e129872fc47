"""The documentation against the code: links, settings, permissions, recipe, API, keys."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest
from django.urls import URLPattern, URLResolver, get_resolver

from accounts.permissions import ANY_TOKEN
from accounts.render_permissions import render_page
from gpuagent.protocol import parts, tuning
from gpuagent.protocol import recipe as limits
from gpuagent.protocol.controls import CONTROLS_MAX
from gpuagent.protocol.cutouts import EDGE_MAX, CutoutResult
from gpuagent.protocol.failures import RETRYABLE, FailureCode
from gpuagent.protocol.loras import EMBEDDINGS_MAX, LORAS_MAX
from gpuagent.protocol.recipe import FieldProblem, Recipe, RecipeInvalidError
from gpuagent.protocol.recipe_parsing import parse_recipe
from gpuagent.protocol.references import REFERENCES_MAX
from gpuagent.protocol.taxonomy import MAPPED, SAMPLERS, InpaintArea
from gpuagent.protocol.tuning import SIGMAS
from studio.core import errors

ROOT = Path(__file__).resolve().parent.parent
DOCS = ROOT / "docs"
PAGES = sorted([*ROOT.glob("*.md"), *DOCS.rglob("*.md")])
CODE = ("studio", "accounts", "workspaces", "library", "jobs", "gpuagent", "launcher")
_LINK = re.compile(r"!?\[[^\]]*\]\(([^)\s]+)\)")
_FENCE = re.compile(r"^```.*?^```", re.MULTILINE | re.DOTALL)
_SETTING = re.compile(r'["\'](STUDIO_[A-Z_]+|[A-Z]+_URL)["\']')
_ENV_CALL = re.compile(r'env\.(\w+)\(\s*"([A-Z_]+)"')
_BINDING = re.compile(r'keys: "([^"]+)", label: "([^"]+)"')
_LISTED = re.compile(r'\["([a-z]+)", "([^"]+)"\]')


def read(path: str) -> str:
    return (ROOT / path).read_text(encoding="utf-8")


def row_of(page: str, first_cell: str) -> str:
    """The table row that begins with a cell."""
    rows = [line for line in page.splitlines() if line.startswith(f"| {first_cell} |")]
    assert rows, f"there is no row for {first_cell}"
    return rows[0]


def anchors(page: Path) -> set[str]:
    """The anchors of a page's headings, as Git hosts make them."""
    text = _FENCE.sub("", page.read_text(encoding="utf-8"))
    titles = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


def links(page: Path) -> Iterator[str]:
    text = _FENCE.sub("", page.read_text(encoding="utf-8"))
    for target in _LINK.findall(text):
        if not re.match(r"[a-z]+:", target):
            yield unquote(target)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_relative_link_leads_somewhere(page: Path) -> None:
    for link in links(page):
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.is_relative_to(ROOT), link
        assert target.exists(), link
        if anchor:
            assert anchor in anchors(target), link


def test_every_page_stands_in_the_index() -> None:
    listed = {(DOCS / link.partition("#")[0]).resolve() for link in links(DOCS / "index.md")}
    unlisted = set(DOCS.rglob("*.md")) - listed - {DOCS / "index.md"}
    assert not unlisted


def settings_in_code() -> set[str]:
    """Names of environment variables in the code of the product and its tests."""
    found: set[str] = set()
    for file in (file for room in CODE for file in (ROOT / room).rglob("*.py")):
        text = file.read_text(encoding="utf-8")
        found |= set(_SETTING.findall(text))
        for kind, name in _ENV_CALL.findall(text):
            found |= {name, f"{name}_FILE"} if kind == "secret" else {name}
    return found - {"STUDIO_AGENT", "STATIC_URL", "LOGIN_URL"}


def test_every_setting_of_the_code_is_described_once_and_no_other() -> None:
    page = read("docs/reference/settings.md")
    described = set(re.findall(r"^\| `(STUDIO_[A-Z_]+|[A-Z]+_URL)` \|", page, re.MULTILINE))
    in_tests = {"STUDIO_WRITE_GOLDEN"}
    assert described == settings_in_code() | in_tests


def test_the_permissions_page_is_what_the_code_says() -> None:
    page = read("docs/reference/permissions.md")
    assert page == render_page(), "run python -m accounts.render_permissions"


# Of each field: what the page must say of its limits.
LIMITS: dict[str, tuple[float | str, ...]] = {
    "model": ("64 hexadecimal",),
    "prompt": (limits.PROMPT_MAX_CHARACTERS,),
    "negative_prompt": (limits.PROMPT_MAX_CHARACTERS,),
    "num_inference_steps": (limits.STEPS_MIN, limits.STEPS_MAX),
    "guidance_scale": (limits.GUIDANCE_MIN, limits.GUIDANCE_MAX),
    "width": (limits.SIDE_MIN, limits.SIDE_MAX, limits.SIDE_MULTIPLE),
    "height": (limits.SIDE_MIN, limits.SIDE_MAX, limits.SIDE_MULTIPLE),
    "seed": (0, limits.SEED_MAX),
    "sampler": (),
    "num_images_per_prompt": (1, limits.PICTURES_MAX),
    "clip_skip": (0, limits.CLIP_SKIP_MAX),
    "image": ("sha256",),
    "strength": (limits.STRENGTH_MIN, limits.STRENGTH_MAX),
    "mask": ("sha256",),
    "mask_blur": (0, limits.MASK_BLUR_MAX),
    "inpaint_area": tuple(InpaintArea),
    "mask_padding": (0, limits.MASK_PADDING_MAX),
    **{f"outpaint_{side}": (0, limits.SIDE_MAX, limits.SIDE_MULTIPLE) for side in limits.SIDES},
    "loras": (LORAS_MAX,),
    "embeddings": (EMBEDDINGS_MAX,),
    "controls": (CONTROLS_MAX,),
    "vae": ("vae",),
    "refiner": ("sdxl",),
    "refiner_start": (parts.REFINER_START_MIN, parts.REFINER_START_MAX),
    "references": (REFERENCES_MAX,),
    "scale": limits.SCALES,
    "cutout": (),
    "cutout_edge": (0, EDGE_MAX),
    "cutout_result": tuple(result.value for result in CutoutResult),
    "map_kind": tuple({kind.value for kind in MAPPED.values()}),
    "sigmas": tuple(SIGMAS),
    "guidance_end": (tuning.GUIDANCE_END_MIN, 1),
    "variation_seed": (0, limits.SEED_MAX),
    "variation_strength": (0, 1),
    "hires_scale": (tuning.HIRES_SCALE_MIN, tuning.HIRES_SCALE_MAX),
    "hires_strength": (tuning.HIRES_STRENGTH_MIN, 1),
    "hires_steps": (0, tuning.HIRES_STEPS_MAX),
    "hires_upscaler": (tuning.LANCZOS, tuning.LATENT),
    "hires_tile": (0, tuning.HIRES_TILE_MAX, tuning.HIRES_TILE_MULTIPLE),
}


def in_words(value: object) -> str:
    """A number as the page writes it."""
    if isinstance(value, float):
        return f"{value:g}"
    return f"{value:,}" if isinstance(value, int) else str(value)


@pytest.mark.parametrize("field", Recipe.__dataclass_fields__)
def test_every_field_of_the_recipe_is_described_with_its_limit(field: str) -> None:
    cells = row_of(read("docs/reference/recipe.md"), f"`{field}`").strip("|").split("|")
    for limit in LIMITS[field]:
        assert re.search(rf"(?<![\d.,]){re.escape(in_words(limit))}(?![\d]|,\d)", cells[3])


@pytest.mark.parametrize("field", ["num_inference_steps", "guidance_scale", "width", "strength"])
def test_defaults_of_the_recipe_are_described(field: str) -> None:
    default = Recipe.__dataclass_fields__[field].default
    assert row_of(read("docs/reference/recipe.md"), f"`{field}`").split("|")[3].strip() == str(
        default
    )


def test_every_sampler_is_listed_by_its_name() -> None:
    page = read("docs/reference/recipe.md")
    for sampler in SAMPLERS.values():
        assert sampler.label in row_of(page, f"`{sampler.id}`")


WRONG: tuple[dict[str, object], ...] = (
    {},
    {"prompt": 1, "width": "x", "height": 65, "seed": -1, "sampler": "x", "image": "x", "y": 1},
    {"prompt": "\x00" + "x" * 5_000, "version": 2},
    {"mask": "a" * 64, "outpaint_left": 120, "inpaint_area": "x"},
    {"inpaint_area": "masked"},
    {"scale": 2, "outpaint_left": 8},
    {"cutout": "maybe", "mask": "a" * 64, "cutout_result": "x"},
    {"map_kind": "x", "mask": "a" * 64},
    {"sigmas": "x", "hires_scale": 2, "hires_upscaler": "x", "mask": "a" * 64},
    {"sigmas": "beta", "sampler": "ddim"},
)


def problems(raw: dict[str, object]) -> tuple[FieldProblem, ...]:
    with pytest.raises(RecipeInvalidError) as caught:
        parse_recipe(raw)
    return caught.value.problems


@pytest.mark.parametrize("raw", WRONG)
def test_every_code_of_a_wrong_field_is_described(raw: dict[str, object]) -> None:
    page = read("docs/reference/recipe.md")
    for problem in problems(raw):
        assert f"`{problem.code}`" in page


def api_patterns() -> Iterator[URLPattern]:
    """Every address of the API, in whatever room."""
    for resolver in get_resolver().url_patterns:
        if isinstance(resolver, URLResolver) and str(resolver.pattern) == "api/v1/":
            yield from (p for p in resolver.url_patterns if isinstance(p, URLPattern))


def api_calls() -> list[tuple[str, str, str]]:
    """Method, address and permission of every call."""
    calls = []
    for pattern in api_patterns():
        assert isinstance(pattern, URLPattern)
        view: Any = pattern.callback
        address = re.sub(r"<str:(\w+)>", r"{\1}", str(pattern.pattern))
        for method, permission in view.view_class.permissions.items():
            needed = "any token" if permission is ANY_TOKEN else f"`{permission}`"
            calls.append((method, address, needed))
    return calls


@pytest.mark.parametrize(("method", "address", "permission"), api_calls())
def test_every_call_is_listed_with_its_permission(
    method: str, address: str, permission: str
) -> None:
    assert f"| {permission} |" in row_of(read("docs/reference/api.md"), f"`{method} {address}`")


def all_errors(base: type[errors.StudioError]) -> Iterator[type[errors.StudioError]]:
    for kind in base.__subclasses__():
        yield kind
        yield from all_errors(kind)


def test_every_error_code_is_listed_with_its_status() -> None:
    page = read("docs/reference/api.md")
    for kind in all_errors(errors.StudioError):
        if kind.code != errors.StudioError.code:
            assert f"| {kind.status} |" in row_of(page, f"`{kind.code}`")


@pytest.mark.parametrize("code", FailureCode)
def test_every_failure_of_a_job_is_listed(code: FailureCode) -> None:
    row = row_of(read("docs/reference/api.md"), f"`{code}`")
    assert ("| yes |" if code in RETRYABLE else "| no |") in row


def key_labels() -> set[str]:
    """What the room's own list of keys can say."""
    found: set[str] = set()
    for file in (ROOT / "frontend" / "elements").glob("*.ts"):
        if file.name.endswith(".test.ts"):
            continue
        text = file.read_text(encoding="utf-8")
        found |= {label for _keys, label in _BINDING.findall(text)}
        if file.name == "key-list.ts":
            found |= {label for _keys, label in _LISTED.findall(text)}
    assert len(found) > 10
    return found


def test_every_key_is_described() -> None:
    page = read("docs/reference/keyboard.md")
    assert not {label for label in key_labels() if f"| {label} |" not in page}


def test_readme_fits_two_screens() -> None:
    assert len(read("README.md").splitlines()) <= 80


def test_decisions_have_their_headings() -> None:
    wanted = ("Context and Problem Statement", "Considered Options", "Decision Outcome")
    for page in sorted((DOCS / "decisions").glob("*.md")):
        text = page.read_text(encoding="utf-8")
        assert text.startswith("---\nstatus: "), page.name
        assert all(f"\n## {title}\n" in text for title in wanted), page.name
        assert "\n### Consequences\n" in text, page.name
