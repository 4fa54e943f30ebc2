"""The code in the project's documents."""

import re
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[3]
_BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def blocks(document, language):
    """Return each block of code in this language, and what it is said to print, if that is said."""
    found = _BLOCK.findall((REPOSITORY / document).read_text(encoding="utf-8"))
    after = [*found[1:], ("", "")]
    return [
        (code, following if kind == "text" else None)
        for (spoken, code), (kind, following) in zip(found, after, strict=True)
        if spoken == language
    ]
