"""The capture step: what comes back is a real image, document or snapshot."""

from __future__ import annotations

import io
import json

import pytest
from PIL import Image

from driftstack_common.protocol import DOCUMENT_LIMIT, SCREENSHOT_LIMIT, CaptureKind, ProblemCode
from tests.integration.agent.pod import SESSION, Driver
from tests.integration.agent.site import Site
from tests.integration.agent.steps import capture, capture_fails, navigate, navigate_fails


def image(data: bytes) -> Image.Image:
    picture = Image.open(io.BytesIO(data))
    picture.load()
    return picture


async def test_a_screenshot_shows_the_page_at_the_devices_size(session: Driver, site: Site) -> None:
    await navigate(session, f"{site.base}/red")
    shot = await capture(session, "screenshot")
    picture = image(shot.data)
    assert (picture.format, picture.size) == ("PNG", (800, 600))
    assert picture.convert("RGB").getpixel((400, 300)) == (255, 0, 0)
    assert shot.duration_ms > 0


async def test_a_full_page_screenshot_is_as_tall_as_the_page(session: Driver, site: Site) -> None:
    await navigate(session, f"{site.base}/tall")
    picture = image((await capture(session, "screenshot", full_page=True)).data)
    assert picture.size == (800, 3000)
    assert picture.convert("RGB").getpixel((400, 2990)) == (0, 0, 255)
    assert image((await capture(session, "screenshot")).data).size == (800, 600)


async def test_a_dom_snapshot_is_json_with_the_pages_text(session: Driver, site: Site) -> None:
    await navigate(session, f"{site.base}/hello")
    snapshot = json.loads((await capture(session, "dom_snapshot")).data)
    assert len(snapshot["documents"]) == 1
    assert {"Hello", "H1"} <= set(snapshot["strings"])


async def test_a_pdf_is_one(session: Driver, site: Site) -> None:
    await navigate(session, f"{site.base}/hello")
    data = (await capture(session, "pdf")).data
    assert data.startswith(b"%PDF-")
    assert data.rstrip().endswith(b"%%EOF")


@pytest.mark.parametrize("kind", ["screenshot", "dom_snapshot", "pdf"])
async def test_a_capture_right_after_a_failed_load_shows_the_error_page(
    session: Driver, site: Site, kind: CaptureKind
) -> None:
    for _ in range(3):  # the moment in which Chromium refuses is short
        await navigate(session, f"{site.base}/red")
        await navigate_fails(session, "http://no-such-host.test/")
        shot = await capture(session, kind)
        if kind == "screenshot":
            assert image(shot.data).convert("RGB").getpixel((400, 300)) != (255, 0, 0)
        elif kind == "dom_snapshot":
            assert "chrome-error://chromewebdata/" in json.loads(shot.data)["strings"]


@pytest.mark.parametrize(
    ("kind", "content_type"),
    [("screenshot", "image/png"), ("dom_snapshot", "application/json"), ("pdf", "application/pdf")],
)
async def test_the_content_type_names_the_bytes(session: Driver, site: Site, kind: str, content_type: str) -> None:
    await navigate(session, f"{site.base}/hello")
    url = f"http://{session.pod.address}/sessions/{SESSION}/capture"
    headers = {"Authorization": f"Bearer {session.pod.token}"}
    async with session.http.post(url, json={"kind": kind}, headers=headers) as response:
        assert response.content_type == content_type
        assert int(response.headers["X-Driftstack-Duration-Ms"]) >= 0


async def test_a_screenshot_over_the_limit_names_both_sizes(session: Driver, site: Site) -> None:
    await navigate(session, f"{site.base}/noise")
    step = {"kind": "screenshot", "full_page": True}
    status, problem = await session.call("POST", f"/sessions/{SESSION}/capture", json.dumps(step).encode())
    assert (status, problem["code"]) == (413, "too-large")
    assert problem["details"]["limit_bytes"] == SCREENSHOT_LIMIT < problem["details"]["size_bytes"]


async def test_a_snapshot_over_the_limit_names_both_sizes(session: Driver, site: Site) -> None:
    await navigate(session, f"{site.base}/huge")
    problem = await capture_fails(session, "dom_snapshot")
    assert problem.code is ProblemCode.TOO_LARGE
    assert problem.details["limit_bytes"] == DOCUMENT_LIMIT
    assert problem.details["size_bytes"] > 7 * 1024 * 1024


async def test_a_capture_of_a_stuck_page_times_out(session: Driver, site: Site) -> None:
    await navigate(session, f"{site.base}/loop")
    problem = await capture_fails(session, "dom_snapshot", timeout_ms=300)
    assert (problem.code, problem.details) == (ProblemCode.TIMEOUT, {"timeout_ms": 300})
    assert (await navigate(session, f"{site.base}/hello")).status == 200
