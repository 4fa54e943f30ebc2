"""What `read` of deepagents makes of a file: pages of text, of a bounded size."""

from __future__ import annotations

from typing import Final

from deepagents.backends.protocol import ReadResult

from stigmer.types import FileContent

MOST_BYTES: Final = 500 * 1024
"""Bytes of one result: deepagents' own limit for sandboxes."""
_TRUNCATED: Final = (
    "\n\n[Output was truncated due to size limits. Continue reading with a larger offset or a "
    "smaller limit to inspect the rest of the file.]"
)


def page(path: str, found: FileContent, offset: int, limit: int) -> ReadResult:
    """Return lines without the last one's end, and with line ends of LF."""
    if limit <= 0:
        return ReadResult(file_data={"content": "", "encoding": "utf-8"})
    if offset >= found.total_lines:
        return ReadResult(
            error=f"File '{path}': Line offset {offset} exceeds file length "
            f"({found.total_lines} lines)"
        )
    text = found.text.replace("\r\n", "\n").removesuffix("\n")
    content = text.encode("utf-8")
    # Fewer lines than were asked for, although there are more: they are too large together.
    short = found.next_line is not None and found.end_line < offset + limit
    if short or len(content) > MOST_BYTES:
        kept = content[: MOST_BYTES - len(_TRUNCATED.encode("utf-8"))]
        text = kept.decode("utf-8", "ignore") + _TRUNCATED
    return ReadResult(file_data={"content": text, "encoding": "utf-8"})


def preview(path: str) -> ReadResult:
    """Refuse what is no text and too large to be shown."""
    return ReadResult(
        error=f"File '{path}': Binary file exceeds maximum preview size of {MOST_BYTES} bytes"
    )
