"""A grid as its page and as one picture: cells in their places, with labels."""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import Any

from django.urls import reverse
from PIL import Image, ImageDraw, ImageFont

from gpuagent.protocol.sealing import SealBrokenError
from jobs.axes import Axis
from jobs.lifecycle import JOB_OPEN
from jobs.messages import failure_sentence
from jobs.models import Grid, GridCell, Output
from jobs.services.grids import axes_of, shown_value
from workspaces.models import Artifact
from workspaces.services.artifacts import read_range
from workspaces.signing import media_url

CELL_SIDE = 512
SHEET_SIDE_MAX = 12_000
LABEL = 34
GAP = 8
Font = ImageFont.ImageFont | ImageFont.FreeTypeFont
GROUND, INK = (24, 24, 24), (230, 230, 230)


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """A place in the grid, its job's state, and the picture once there is one."""

    job_id: str
    status: str
    output: Output | None
    note: str

    @property
    def is_open(self) -> bool:
        return self.status in JOB_OPEN


def cells_of(grid: Grid) -> list[Cell]:
    """In their places. Pictures in the trash are left out."""
    rows = list(GridCell.objects.filter(grid=grid).select_related("job").order_by("place"))
    jobs = [row.job_id for row in rows]
    related = ("picture__workspace", "thumbnail__workspace")
    outputs = Output.objects.filter(job_id__in=jobs, trashed_at=None).select_related(*related)
    made = {output.job_id: output for output in outputs}
    return [
        Cell(
            job_id=row.job_id,
            status=row.job.status,
            output=made.get(row.job_id),
            note=failure_sentence(row.job.error_code, row.job.error_data)
            if row.job.error_code
            else "",
        )
        for row in rows
    ]


def tables_of(grid: Grid) -> list[dict[str, Any]]:
    """One table for each value of z (or just one): columns are x, rows are y."""
    axes, found = axes_of(grid), cells_of(grid)
    x, y, z = (_values(axes, number) for number in range(3))
    tables = []
    for layer, deep in enumerate(z):
        rows = []
        for number, down in enumerate(y):
            start = (layer * len(y) + number) * len(x)
            row = found[start : start + len(x)]
            rows.append({"label": down, "cells": [_cell(grid, cell) for cell in row]})
        tables.append({"label": deep, "columns": x, "rows": rows})
    return tables


def grid_context(grid: Grid) -> dict[str, Any]:
    """What the page of a grid shows; where the key is gone, nothing of it."""
    try:
        axes, tables = axes_of(grid), tables_of(grid)
    except SealBrokenError:
        axes, tables = [], []
    every = [cell for table in tables for row in table["rows"] for cell in row["cells"]]
    return {
        "grid": grid,
        "axes": [axis.label for axis in axes],
        "tables": tables,
        "made": sum(bool(cell["url"]) for cell in every),
        "total": len(every),
        "is_open": any(cell["is_open"] for cell in every),
        "live_url": reverse("grid-live", args=[grid.workspace_id, grid.pk]),
        "sheet_url": reverse("grid-sheet", args=[grid.workspace_id, grid.pk]),
    }


def _values(axes: list[Axis], number: int) -> list[str]:
    if number >= len(axes):
        return [""]
    axis = axes[number]
    return [f"{axis.label} {shown_value(axis, value)}" for value in axis.values]


def _cell(grid: Grid, cell: Cell) -> dict[str, Any]:
    output = cell.output
    return {
        "status": cell.status,
        "is_open": cell.is_open,
        "note": cell.note,
        "output": output.pk if output else "",
        "url": reverse("output", args=[grid.workspace_id, output.pk]) if output else "",
        "thumbnail": media_url(output.thumbnail) if output else "",
        "width": output.picture.width if output else 1,
        "height": output.picture.height if output else 1,
    }


def make_sheet(grid: Grid) -> bytes:
    """All of it as one PNG; places without a picture stay empty.

    Raises:
        SealBrokenError: its key is gone.
    """
    axes, found = axes_of(grid), cells_of(grid)
    x, y, z = (_values(axes, number) for number in range(3))
    side = _cell_side(len(x), len(y) * len(z))
    step = side + GAP
    table = LABEL + len(y) * (step + LABEL)
    sheet = Image.new("RGB", (len(x) * step + GAP, len(z) * (table + LABEL)), GROUND)
    pen, font = ImageDraw.Draw(sheet), ImageFont.load_default(max(11, side // 24))
    for layer, deep in enumerate(z):
        top = layer * (table + LABEL)
        _write(pen, font, deep, (GAP, top + GAP), side * 2)
        for column, across in enumerate(x):
            _write(pen, font, across, (GAP + column * step, top + LABEL), side)
        for row, down in enumerate(y):
            at = top + 2 * LABEL + row * (step + LABEL)
            _write(pen, font, down, (GAP, at - GAP), side * 2)
            start = (layer * len(y) + row) * len(x)
            for column, cell in enumerate(found[start : start + len(x)]):
                if cell.output is not None:
                    place = (GAP + column * step, at + LABEL - 2 * GAP)
                    _paste(sheet, cell.output.picture, place, side)
    file = io.BytesIO()
    sheet.save(file, "PNG", compress_level=1)
    return file.getvalue()


def _cell_side(columns: int, rows: int) -> int:
    """As large as pictures are of use, and no larger than a sheet may become."""
    most = SHEET_SIDE_MAX // max(columns, rows)
    return max(32, min(CELL_SIDE, most - GAP - LABEL))


def _paste(sheet: Image.Image, artifact: Artifact, place: tuple[int, int], side: int) -> None:
    try:
        content = b"".join(read_range(artifact, 0, artifact.size_bytes))
        with Image.open(io.BytesIO(content)) as picture:
            picture.thumbnail((side, side), Image.Resampling.LANCZOS)
            sheet.paste(picture.convert("RGB"), place)
    except (FileNotFoundError, SealBrokenError):
        return  # the place stays empty


def _write(
    pen: ImageDraw.ImageDraw,
    font: Font,
    text: str,
    place: tuple[int, int],
    width: int,
) -> None:
    while text and pen.textlength(text, font) > width:
        text = text[:-2].rstrip() + "…" if len(text) > 2 else ""
    pen.text(place, text, INK, font)
