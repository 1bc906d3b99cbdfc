"""Which URLs navigate takes: http, https and about:blank, but neither loopback nor the pod itself.

Chromium's resolver rules (chromium.py) refuse the same addresses to pages and redirects; here the caller gets a
clear answer instead of a failed load.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from typing import Final

from driftstack_agent.errors import StepError
from driftstack_common.hosts import Address, InvalidHost, canonical_host, faces
from driftstack_common.protocol import URL_LIMIT, ProblemCode

BLANK: Final = "about:blank"
_TRIM: Final = "".join(map(chr, range(0x21)))
_IGNORED: Final = re.compile("[\t\n\r]")
_AUTHORITY: Final = re.compile(r"^(https?):[/\\]*([^/\\?#]*)", re.IGNORECASE)


def check_url(url: str, own: Collection[str], hostname: str) -> str:
    """Return the URL as it is given to Chromium: without the surrounding space and inner line breaks.

    Args:
        own: the pod's own addresses, canonical text.
        hostname: the pod's own name, which its hosts file resolves.

    Raises:
        StepError: invalid; the message says why.
    """
    if len(url) > URL_LIMIT:
        raise _invalid(f"the URL is longer than {URL_LIMIT} characters")
    text = _IGNORED.sub("", url.strip(_TRIM))
    if text.lower() == BLANK:
        return BLANK
    match = _AUTHORITY.match(text)
    if match is None:
        raise _invalid("only http://, https:// and about:blank can be navigated to")
    try:
        host = canonical_host(match.group(2))
    except InvalidHost as error:
        raise _invalid(str(error)) from error
    if isinstance(host, str):
        if host == "localhost" or host.endswith(".localhost") or host == hostname.lower():
            raise _invalid(f"{host} is the browser's own pod")
    elif is_own(host, own):
        raise _invalid(f"{host} is the browser's own pod")
    return text


def is_own(address: Address, own: Collection[str]) -> bool:
    """Whether an address is loopback, unspecified or the pod's, also when it is wrapped in an IPv6 one."""
    return any(one.is_loopback or _is_this_host(one) or str(one) in own for one in faces(address))


def _is_this_host(address: Address) -> bool:
    """Unspecified, or 0.0.0.0/8: "this host on this network"."""
    return address.is_unspecified or (address.version == 4 and address.packed[0] == 0)


def _invalid(message: str) -> StepError:
    return StepError(ProblemCode.INVALID, message)
