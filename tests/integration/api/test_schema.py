"""The published description is true: generated requests get only what it declares."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, settings

from tests.integration.api.world import Facade, World, facade, surroundings

OPERATIONS = [
    ("POST", "/v1/sessions"),
    ("GET", "/v1/sessions"),
    ("GET", "/v1/sessions/{session_id}"),
    ("DELETE", "/v1/sessions/{session_id}"),
    ("POST", "/v1/sessions/{session_id}/navigate"),
    ("POST", "/v1/sessions/{session_id}/capture"),
    ("GET", "/v1/whoami"),
    ("GET", "/healthz"),
    ("GET", "/readyz"),
]
