"""One attempt: a signed POST to the very addresses that were checked.

Each attempt resolves, checks and connects anew. A kept connection would go to an address that was allowed once, and
one that the receiver has just closed would fail a delivery for nothing.
"""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import os
import socket
import ssl
from collections.abc import Sequence
from typing import Any, Final

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult
from aiohttp.connector import AddrInfoType

from driftstack_common.kinds import WebhookDelivery
from driftstack_common.times import now
from driftstack_common.webhooks.signing import EVENT_ID_HEADER, EVENT_TYPE_HEADER, SIGNATURE_HEADER, sign
from driftstack_common.webhooks.targets import (
    Lookup,
    Rules,
    TargetRefused,
    TargetUnknown,
    check_address,
    look_up,
    parse_target,
    resolve,
)
from driftstack_operator.webhooks.schedule import LONGEST_EXCERPT, REFUSED, Answer

ATTEMPT_SECONDS: Final = 10.0
"""From the look-up of the name to the answer's headers."""
EXCERPT_SECONDS: Final = 1.0
"""How long the beginning of a body is waited for: the status alone decides."""
EXCERPT_BYTES: Final = 4 * LONGEST_EXCERPT
"""Most of a body that is read; a character of UTF-8 has at most 4 bytes."""
AGENT: Final = "Driftstack-Webhooks/1"


class Sender:
    """Sends deliveries; close it.

    Args:
        rules: where they may go.
        lookup: resolves names.
        trust: certificates that receivers are checked by; None is the system's.
        seconds: most that an attempt may take.
    """

    def __init__(
        self,
        rules: Rules,
        *,
        lookup: Lookup = look_up,
        trust: ssl.SSLContext | None = None,
        seconds: float = ATTEMPT_SECONDS,
    ) -> None:
        self._rules = rules
        self._seconds = seconds
        connector = aiohttp.TCPConnector(
            limit=0,  # the courier bounds attempts
            force_close=True,
            use_dns_cache=False,
            resolver=_Resolver(rules, lookup),
            socket_factory=self._open_socket,
            ssl=trust or ssl.create_default_context(),
        )
        self._session = aiohttp.ClientSession(
            connector=connector,
            trust_env=False,  # a proxy would resolve the name itself
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,
            headers={"User-Agent": AGENT, "Accept": "*/*", "Accept-Encoding": "identity"},
        )

    async def close(self) -> None:
        """Close what is open."""
        await self._session.close()

    async def send(self, url: str, delivery: WebhookDelivery, keys: Sequence[str]) -> Answer:
        """Make one attempt; an answer comes whatever happens."""
        try:
            async with asyncio.timeout(self._seconds):
                target = parse_target(url, self._rules)
                response = await self._post(target.url, delivery, keys)
        except TargetRefused as error:
            return Answer(error=f"{REFUSED}: {error}")
        except TargetUnknown as error:
            return Answer(error=str(error))
        except TimeoutError:
            return Answer(error=f"no answer within {self._seconds:g} s")
        except (aiohttp.ClientError, OSError) as error:
            return Answer(error=_cause(error))
        try:
            if response.status < 100:  # no HTTP, and the kind of deliveries takes none such
                return Answer(error=f"no valid answer: status {response.status}")
            excerpt = await _excerpt(response)
        finally:
            response.close()
        return Answer(status=response.status, excerpt=excerpt, error=_verdict(response.status))

    async def _post(self, url: str, delivery: WebhookDelivery, keys: Sequence[str]) -> aiohttp.ClientResponse:
        body = delivery.spec.payload.encode()
        headers = {
            "Content-Type": "application/json",
            SIGNATURE_HEADER: sign(body, keys, int(now().timestamp())),
            EVENT_ID_HEADER: delivery.spec.event_id,
            EVENT_TYPE_HEADER: delivery.spec.event_type.value,
        }
        timeout = aiohttp.ClientTimeout(total=None)  # ours is around all of it
        return await self._session.post(url, data=body, headers=headers, allow_redirects=False, timeout=timeout)

    def _open_socket(self, address: AddrInfoType) -> socket.socket:
        """The last gate: nothing is connected to that was not checked, however the client came by it."""
        family, kind, protocol, _, where = address
        check_address(ipaddress.ip_address(str(where[0])), self._rules)
        return socket.socket(family, kind, protocol)


class _Resolver(AbstractResolver):
    """Gives the client the addresses that were checked."""

    def __init__(self, rules: Rules, lookup: Lookup) -> None:
        self._rules = rules
        self._lookup = lookup

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        addresses = await resolve(host, port, self._rules, self._lookup)
        return [
            ResolveResult(
                hostname=host,
                host=str(address),
                port=port,
                family=socket.AF_INET6 if address.version == 6 else socket.AF_INET,
                proto=socket.IPPROTO_TCP,
                flags=socket.AI_NUMERICHOST,
            )
            for address in addresses
        ]

    async def close(self) -> None:
        """Nothing is open."""


async def _excerpt(response: aiohttp.ClientResponse) -> str:
    """Return the beginning of the body, as far as it comes."""
    read = bytearray()
    with contextlib.suppress(aiohttp.ClientError, TimeoutError, OSError):
        async with asyncio.timeout(EXCERPT_SECONDS):
            while len(read) < EXCERPT_BYTES and (chunk := await response.content.read(EXCERPT_BYTES - len(read))):
                read += chunk
    return read.decode("utf-8", "replace").replace("\0", "\N{REPLACEMENT CHARACTER}")[:LONGEST_EXCERPT]


def _verdict(status: int) -> str | None:
    if 200 <= status < 300:
        return None
    return f"answered {status}" + (": redirects are not followed" if 300 <= status < 400 else "")


def _cause(error: Any) -> str:
    """Return what went wrong, in words that hold neither path nor query of the URL."""
    if isinstance(error, aiohttp.ClientConnectorCertificateError):
        return f"the certificate is not trusted: {error.certificate_error}"
    if isinstance(error, aiohttp.ClientSSLError):
        return "TLS failed"
    if isinstance(error, aiohttp.ClientConnectorError):
        return f"can't connect: {os.strerror(error.errno) if error.errno else error.os_error}"
    if isinstance(error, aiohttp.ServerDisconnectedError):
        return "the connection was closed before an answer"
    return f"no valid answer: {type(error).__name__}"
