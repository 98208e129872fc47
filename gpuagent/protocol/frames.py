"""The binary frames that carry previews: agent → web (sealed), web → browser (opened)."""

from __future__ import annotations

from dataclasses import dataclass

FRAME_VERSION = 1
ID_BYTES = 30
PREVIEW_MAX_BYTES = 20_480


class FrameInvalidError(ValueError):
    """The bytes are not a preview frame."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PreviewFrame:
    """A preview of picture `index` of the attempt or job called `subject_id` (30 characters).

    On the agent's socket `subject_id` is the attempt and `payload` an envelope (kind `preview`,
    object id = attempt id, the attempt's preview key); on the browser's, the job and a picture.
    """

    subject_id: str
    index: int
    payload: bytes

    def encode(self) -> bytes:
        """One version byte, one index byte, the id, the payload."""
        identifier = self.subject_id.encode("ascii")
        if len(identifier) != ID_BYTES:
            raise FrameInvalidError(f"id has {len(identifier)} bytes, not {ID_BYTES}")
        return bytes((FRAME_VERSION, self.index)) + identifier + self.payload

    @classmethod
    def decode(cls, frame: bytes) -> PreviewFrame:
        """Read a frame.

        Raises:
            FrameInvalidError: too short, too long, or of another version.
        """
        head = 2 + ID_BYTES
        if not head < len(frame) <= head + PREVIEW_MAX_BYTES + 256 or frame[0] != FRAME_VERSION:
            raise FrameInvalidError("not a preview frame of version 1")
        try:
            identifier = frame[2:head].decode("ascii")
        except UnicodeDecodeError as error:
            raise FrameInvalidError("the id is not ASCII") from error
        return cls(subject_id=identifier, index=frame[1], payload=frame[head:])
