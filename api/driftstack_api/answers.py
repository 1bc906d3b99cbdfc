"""Answers in JSON, encoded by msgspec straight from what services return.

Endpoints that return them are described by `response_model`; FastAPI checks no answer at run time.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec
from starlette.responses import Response


def answer(content: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """Return a success; bytes in the content become base64."""
    return Response(msgspec.json.encode(content), status, headers, media_type="application/json")
