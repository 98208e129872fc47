"""Pictures for people outside: made anew from their pixels, with a text over them if wanted.

What comes out holds pixels alone: no text chunks, EXIF, XMP or color profile. A large picture
takes half a gigabyte while it is made, so only so many pixels are at work at once.
"""

from __future__ import annotations

import io
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import lru_cache

from django.conf import settings
from PIL import Image, ImageDraw, ImageFont

from studio.core.errors import BusyError

TEXT_MAX = 60
PIXELS_AT_ONCE = 80_000_000  # one picture of the largest size, or many small ones
WAITING_MAX = 8  # each keeps one of the threads that answer people
WAIT_SECONDS = 20.0
TEXT_SIZE_MIN = 11
TEXT_SHARE = 17  # the text is so many times lower than the picture's shorter side
ANGLE = 24
HALO, INK = 105, 125  # of 255: how much of a pixel the dark edge and the light letters take
WEBP_QUALITY = 82
PNG_LEVEL = 1
SMALL_PIXELS = 1_000_000  # thumbnails do not queue
# Typefaces of the machine that know more letters than ours; which are there differs.
SYSTEM_FACES = ("DejaVuSans.ttf", "NotoSans-Regular.ttf", "NotoSansCJK-Regular.ttc")
_UNKNOWN = "\U000fffff"  # drawn as the sign for a letter that the typeface lacks
Face = ImageFont.FreeTypeFont


_BUSY = "Many pictures are being prepared right now."


class PixelBudget:
    """Lets pictures through while their pixels fit together; a few more may wait."""

    def __init__(self, pixels: int, *, waiting: int, seconds: float) -> None:
        self._pixels, self._free = pixels, pixels
        self._waiting, self._seconds = threading.BoundedSemaphore(waiting), seconds
        self._changed = threading.Condition()

    @contextmanager
    def hold(self, pixels: int) -> Iterator[None]:
        """Hold so many pixels.

        Raises:
            BusyError: others held theirs for too long, or too many wait already.
        """
        if pixels <= SMALL_PIXELS:
            yield
            return
        wanted = min(pixels, self._pixels)  # a larger one goes alone
        if not self._waiting.acquire(blocking=False):
            raise BusyError(what=_BUSY)
        try:
            self._take(wanted)
        finally:
            self._waiting.release()
        try:
            yield
        finally:
            with self._changed:
                self._free += wanted
                self._changed.notify_all()

    def _take(self, wanted: int) -> None:
        end = time.monotonic() + self._seconds
        with self._changed:
            while self._free < wanted:
                if not self._changed.wait(end - time.monotonic()):
                    raise BusyError(what=_BUSY)
            self._free -= wanted


budget = PixelBudget(PIXELS_AT_ONCE, waiting=WAITING_MAX, seconds=WAIT_SECONDS)


def make_anew(content: bytes, *, watermark: str = "") -> bytes:
    """The picture in its format, with nothing of its file but the pixels, and the text over them.

    Raises:
        BusyError: too much is being made at this moment.
    """
    with Image.open(io.BytesIO(content)) as opened, budget.hold(opened.width * opened.height):
        picture = opened.convert("RGBA" if opened.has_transparency_data else "RGB")
        picture.info = {}
        if watermark:
            _write_over(picture, watermark)
        buffer = io.BytesIO()
        if opened.format == "WEBP":
            picture.save(buffer, "WEBP", quality=WEBP_QUALITY)
        else:
            picture.save(buffer, "PNG", compress_level=PNG_LEVEL)
        return buffer.getvalue()


def undrawable(text: str) -> list[str]:
    """Letters that no typeface at hand has."""
    return min((_missing(face, text) for face in _faces(24)), key=len)


def _missing(face: Face, text: str) -> list[str]:
    unknown = bytes(face.getmask(_UNKNOWN))
    return [
        letter
        for letter in dict.fromkeys(text)
        if not letter.isspace() and bytes(face.getmask(letter)) == unknown
    ]


@lru_cache(maxsize=32)
def _faces(size: int) -> tuple[Face, ...]:
    """Typefaces at hand: the studio's own, the machine's, and the one that comes with Pillow."""
    assets = settings.FRONTEND_MANIFEST.parent / "assets"
    ours = sorted(str(path) for path in assets.glob("mona-sans-latin*.woff2"))
    found = []
    for path in (*ours, *SYSTEM_FACES):
        with suppress(OSError):
            found.append(_semibold(ImageFont.truetype(path, size)))
    last = ImageFont.load_default(size)
    if not isinstance(last, Face):
        raise TypeError("Pillow was built without FreeType: watermarks need it.")
    return (*found, last)


def _semibold(face: Face) -> Face:
    """A face of many weights at one that stands out; others are as they are."""
    with suppress(OSError):
        axes = face.get_variation_axes()
        values = [640 if axis["name"] == b"Weight" else axis["default"] or 0 for axis in axes]
        face.set_variation_by_axes([float(value) for value in values])
    return face


def _face_for(text: str, size: int) -> Face:
    """The first typeface that lacks the fewest letters of the text."""
    return min(_faces(size), key=lambda face: len(_missing(face, text)))


@lru_cache(maxsize=16)
def _stamp(text: str, size: int) -> tuple[Image.Image, Image.Image]:
    """Masks of the text: its dark edge and its light letters, turned."""
    font, edge = _face_for(text, size), max(1, size // 12)
    left, top, right, bottom = font.getbbox(text, stroke_width=edge)
    side = (round(right - left) + 4, round(bottom - top) + 4)
    at = (2 - left, 2 - top)
    halo, ink = Image.new("L", side), Image.new("L", side)
    draw = ImageDraw.Draw(halo)
    draw.text(at, text, fill=HALO, font=font, stroke_width=edge)
    draw.text(at, text, fill=0, font=font)
    ImageDraw.Draw(ink).text(at, text, fill=INK, font=font)
    turned = [mask.rotate(ANGLE, Image.Resampling.BICUBIC, expand=True) for mask in (halo, ink)]
    return turned[0], turned[1]


def _write_over(picture: Image.Image, text: str) -> None:
    """The text again and again, in rows that do not line up; dark edge and light letters."""
    size = max(TEXT_SIZE_MIN, min(picture.size) // TEXT_SHARE)
    halo, ink = _stamp(text, size)
    across, down = halo.width + size, halo.height // 2 + size * 3
    opaque = (255,) if picture.mode == "RGBA" else ()
    rows = range(-down, picture.height + down, down)
    for number, y in enumerate(rows):
        start = (picture.width - halo.width) // 2 - across * (number % 2) // 2
        start -= across * (start // across + 2)
        for x in range(start, picture.width, across):
            box = (x, y)
            picture.paste((0, 0, 0, *opaque), (*box, x + halo.width, y + halo.height), halo)
            picture.paste((255, 255, 255, *opaque), (*box, x + ink.width, y + ink.height), ink)
