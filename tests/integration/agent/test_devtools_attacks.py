"""What the holder of raw DevTools must not get: the token, the agent's calls, other clients' DevTools sessions."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable

import pytest

from driftstack_common.protocol_devtools import devtools_path
from tests.integration.agent.devtools import Client, Refused
from tests.integration.agent.pod import SESSION, Driver
from tests.integration.agent.site import Site
from tests.integration.agent.steps import navigate

Read = Callable[[Client, str, str], Awaitable[str]]
UPGRADE = {
    "Connection": "Upgrade",
    "Upgrade": "websocket",
    "Sec-WebSocket-Version": "13",
    "Sec-WebSocket-Key": "AAAAAAAAAAAAAAAAAAAAAA==",
}


@pytest.mark.parametrize(
    ("headers", "code"),
    [
        ({"Authorization": ""}, "unauthorized"),
        ({"Authorization": "Bearer wrong"}, "unauthorized"),
        ({"Origin": "http://evil.test"}, "unauthorized"),
        ({"Origin": "null"}, "unauthorized"),
        ({"Sec-Fetch-Mode": "websocket"}, "unauthorized"),
        ({"Host": "evil.test:8300"}, "unauthorized"),
        ({"Sec-WebSocket-Version": "8"}, "invalid"),
        ({"Upgrade": "h2c"}, "invalid"),
    ],
)
async def test_an_upgrade_is_a_call_like_others(session: Driver, headers: dict[str, str], code: str) -> None:
    _, problem = await session.call("GET", devtools_path(SESSION), headers={**UPGRADE, **headers})
    assert problem["code"] == code


async def test_it_is_the_holders(session: Driver) -> None:
    status, problem = await session.call("GET", devtools_path("other"), headers=UPGRADE)
    assert (status, problem["code"]) == (409, "holder-conflict")
    status, problem = await session.call("GET", devtools_path(SESSION))
    assert (status, problem["code"]) == (400, "invalid")


async def read_by_navigating(client: Client, page: str, path: str) -> str:
    """Return what the browser shows of a file."""
    await client.send("Page.enable", page)
    client.events.clear()
    failed = (await client.send("Page.navigate", page, url=f"file://{path}")).get("errorText")
    if failed:
        return f"failed: {failed}"
    await client.event("Page.loadEventFired")
    return str(await client.evaluate("document.documentElement.outerHTML", page))


async def read_by_choosing(client: Client, page: str, path: str) -> str:
    """Return what a page may read of a file that is put into its file input."""
    found = await client.send("Runtime.evaluate", page, expression="document.querySelector('input[type=file]')")
    await client.send("DOM.setFileInputFiles", page, files=[path], objectId=found["result"]["objectId"])
    read = (
        "(async () => { const file = document.querySelector('input[type=file]').files[0];"
        "try { return await new Response(file.stream()).text() } catch (error) { return 'failed: ' + error } })()"
    )
    answer = await client.send("Runtime.evaluate", page, expression=read, awaitPromise=True, returnByValue=True)
    return str(answer["result"]["value"])


@pytest.mark.parametrize("way", [read_by_navigating, read_by_choosing])
async def test_files_hold_no_secret(session: Driver, site: Site, way: Read) -> None:
    token, pid = session.pod.token, session.pod.pid
    (session.pod.folder / "plain.txt").write_text("readable")
    await navigate(session, f"{site.base}/asks")
    async with Client(session) as client:
        page = await client.page()
        assert "readable" in await way(client, page, str(session.pod.folder / "plain.txt")), "the way works"
        for name in ("environ", "mem", "maps", "fd/0", "root/etc/passwd"):
            text = await way(client, page, f"/proc/{pid}/{name}")
            assert text == "" or text.startswith("failed: "), (name, text[:200])
        others = ["/proc/self/environ", "/proc/self/cmdline", f"/proc/{pid}/cmdline"]
        for path in [*others, str(session.pod.log), str(session.pod.folder)]:
            assert token not in await way(client, page, path)


CALLS = ("http://{pod}/healthz", "http://127.0.0.1:8300/healthz", "ws://{pod}{path}", "ws://127.0.0.1:8300{path}")
REACH = (
    "(async url => { if (url.startsWith('http')) return await fetch(url, {mode: 'no-cors'})"
    ".then(() => 'answered', () => 'failed');"
    "return await new Promise(done => { const socket = new WebSocket(url);"
    "socket.onopen = () => done('answered'); socket.onerror = () => done('failed') }) })"
)


@pytest.mark.parametrize("call", CALLS)
async def test_no_page_reaches_the_agent(session: Driver, site: Site, call: str) -> None:
    url = call.format(pod=session.pod.address, path=devtools_path(SESSION))
    await navigate(session, f"{site.base}/hello")
    async with Client(session) as client:
        page = await client.page()
        await client.send("Network.enable", page)
        stolen = {"Authorization": f"Bearer {session.pod.token}"}  # were it known
        await client.send("Network.setExtraHTTPHeaders", page, headers=stolen)
        await client.send("Page.setBypassCSP", page, enabled=True)
        reach = f"{REACH}({json.dumps(url)})"
        answer = await client.send("Runtime.evaluate", page, expression=reach, awaitPromise=True)
        assert answer["result"]["value"] == "failed"
        same = f"{REACH}({json.dumps(site.base + '/hello')})"
        answer = await client.send("Runtime.evaluate", page, expression=same, awaitPromise=True)
        assert answer["result"]["value"] == "answered"


@pytest.mark.parametrize("proxy", ["http://127.0.0.1:8300", "http://{pod}"])
async def test_the_agent_is_no_proxy(session: Driver, site: Site, proxy: str) -> None:
    async with Client(session) as client:
        server = proxy.format(pod=session.pod.address)
        context = (await client.send("Target.createBrowserContext", proxyServer=server))["browserContextId"]
        target = (await client.send("Target.createTarget", url="about:blank", browserContextId=context))["targetId"]
        page = (await client.send("Target.attachToTarget", targetId=target, flatten=True))["sessionId"]
        for url in (f"{site.base}/hello", f"http://{session.pod.address}/healthz"):
            shown = await client.send("Page.navigate", page, url=url)
            text = str(await client.evaluate("document.documentElement.innerText", page))
            assert shown.get("errorText") or "unauthorized" in text, (url, shown, text)
            assert "claimed" not in text


async def test_no_session_of_another_client_is_reached(session: Driver, site: Site) -> None:
    await navigate(session, f"{site.base}/hello")
    async with Client(session) as first, Client(session) as second:
        page = await first.page()
        for method, params, at in (
            ("Runtime.evaluate", {"expression": "1"}, page),
            ("Target.detachFromTarget", {"sessionId": page}, ""),
            ("Target.sendMessageToTarget", {"sessionId": page, "message": '{"id":1,"method":"Page.close"}'}, ""),
        ):
            with pytest.raises(Refused, match=r"[Nn]o session|not found"):
                await second.send(method, at, **params)
        await second.socket.send_str('{"id":1,"method":"Browser.getVersion","params":{"x":"\0{}"}}')
        assert (await second.event("error"))["error"]["code"] == -32600
        await first.send("Page.enable", page)
        await first.send("Page.reload", page)
        await first.event("Page.loadEventFired")
        await second.send("Browser.getVersion")
        assert list(second.events) == []


async def test_what_a_client_hears_names_no_token(session: Driver) -> None:
    async with Client(session) as client:
        heard = [json.dumps(await client.send(method)) for method in ("Target.getTargets", "Browser.getVersion")]
        for method in ("SystemInfo.getInfo", "SystemInfo.getProcessInfo", "Browser.getBrowserCommandLine"):
            try:
                heard.append(json.dumps(await client.send(method)))
            except Refused as error:
                heard.append(str(error))
    assert session.pod.token not in "".join(heard) + session.pod.log.read_text()
