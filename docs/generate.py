# ruff: noqa: INP001 - a script, no package
"""Write what the facade says about its API, `/openapi.json`, into the reference."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Final

from driftstack_api.main import create_app
from driftstack_api.settings import Settings

PAGE: Final = Path(__file__).resolve().parent / "reference" / "openapi.json"


def text() -> str:
    """Return the document, in the order of the code."""
    return json.dumps(create_app(Settings()).openapi(), indent=2, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    PAGE.write_text(text(), encoding="utf-8")
