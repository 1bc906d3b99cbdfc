from __future__ import annotations

import pytest

from driftstack_agent.navigation import MainFrame
from driftstack_agent.state import loading
from driftstack_common.protocol_steps import LoadError, Loading


@pytest.mark.parametrize(
    ("failure", "kind"),
    [
        ("net::ERR_NAME_NOT_RESOLVED", "dns"),
        ("net::ERR_DNS_TIMED_OUT", "dns"),
        ("net::ERR_CERT_AUTHORITY_INVALID", "tls"),
        ("net::ERR_SSL_PROTOCOL_ERROR", "tls"),
        ("net::ERR_CONNECTION_TIMED_OUT", "timeout"),
        ("net::ERR_CONNECTION_REFUSED", "net"),
    ],
)
def test_failures_by_kind(failure: str, kind: str) -> None:
    frame = MainFrame("F")
    frame.document.failure = failure
    found = loading(frame)
    assert found.state == "errored"
    assert found.error is not None
    assert (found.error.kind, found.error.message) == (kind, failure)


def test_progress() -> None:
    frame = MainFrame("F")
    assert loading(frame) == Loading(state="loading")
    frame.document.milestones.add("load")
    assert loading(frame) == Loading(state="loaded")
    frame.document.status = 404
    error = LoadError(kind="http", message="HTTP 404", http_status=404)
    assert loading(frame) == Loading(state="errored", error=error)
