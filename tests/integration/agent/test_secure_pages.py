"""The site by HTTPS: certificates, service workers, and what a browser would ask its person for."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from driftstack_cluster.certificates import Authority, Subject
from driftstack_common.protocol import ProblemCode
from driftstack_common.protocol_steps import SelectorShown, Tap
from tests.integration.agent.conftest import StartPod
from tests.integration.agent.pod import CHROMIUM, Driver, Network, new_http
from tests.integration.agent.site import Site
from tests.integration.agent.steps import interact, navigate, navigate_fails, page_title, state, text, wait

REFUSALS = [
    "location: 1",
    "notes: default",
    "camera: NotFoundError",
    "screen: NotSupportedError",
    "clipboard: NotAllowedError",
    "midi: NotAllowedError",
    "files: AbortError",
    "usb: NotFoundError",
]


@pytest.fixture(scope="module")
def secure_site(network: Network, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """The site by HTTPS, with a certificate that no browser trusts."""
    authority = Authority(tmp_path_factory.mktemp("authority"))
    secure = Site(network.host, authority.issue(Subject("site", "site", names=(network.host,))))
    yield secure
    secure.stop()


async def test_a_certificate_that_nobody_trusts(driver: Driver, site: Site, secure_site: Site) -> None:
    await driver.claim()
    problem = await navigate_fails(driver, f"{secure_site.base}/hello")
    assert problem.code is ProblemCode.PAGE_FAILED
    assert "net::ERR_CERT_AUTHORITY_INVALID" in problem.message
    error = (await state(driver)).page_state.error
    assert error is not None
    assert error.kind == "tls"
    assert (await navigate(driver, f"{site.base}/hello")).status == 200


async def test_what_only_secure_pages_may(start_pod: StartPod, secure_site: Site, tmp_path: Path) -> None:
    trusting = tmp_path / "trusting"
    trusting.write_text(f'#!/bin/sh\nexec {CHROMIUM} --ignore-certificate-errors "$@"\n')
    trusting.chmod(0o755)
    async with new_http() as http:
        driver = Driver(start_pod(CHROMIUM=str(trusting)), http)
        await driver.claim()
        await _meet_a_service_worker(driver, secure_site)
        await navigate(driver, f"{secure_site.base}/asks-rights")
        await interact(driver, Tap(selector="#b"))
        assert (await wait(driver, SelectorShown(selector="#told"))).satisfied
        assert (await text(driver, "#told")).split(", ") == REFUSALS
        assert (await navigate(driver, f"{secure_site.base}/hello")).status == 200


async def _meet_a_service_worker(driver: Driver, site: Site) -> None:
    await navigate(driver, f"{site.base}/worker", wait_until="networkidle", timeout_ms=8000)
    assert await page_title(driver) == "served"
    made = await navigate(driver, f"{site.base}/made-up")
    assert (made.status, await text(driver, "h1")) == (418, "Made up")
    problem = await navigate_fails(driver, f"{site.base}/never", timeout_ms=500)
    assert problem.code is ProblemCode.TIMEOUT
