from __future__ import annotations

import pytest

from driftstack_agent.errors import StepError
from driftstack_agent.urls import check_url
from driftstack_common.protocol import ProblemCode
from tests.unit.agent.urls_table import NO_URL, OF_THE_POD, TAKEN

OWN = {"127.0.0.1", "10.244.0.7", "fd00::7"}
HOSTNAME = "browser-1"


@pytest.mark.parametrize("url", TAKEN)
def test_takes_http(url: str) -> None:
    assert check_url(url, OWN, HOSTNAME) == url


@pytest.mark.parametrize(
    ("url", "given"),
    [("about:blank", "about:blank"), (" ABOUT:blank\n", "about:blank"), (" http://a.test/\n", "http://a.test/")],
)
def test_cleans(url: str, given: str) -> None:
    assert check_url(url, OWN, HOSTNAME) == given


@pytest.mark.parametrize("url", OF_THE_POD, ids=ascii)
def test_refuses_the_pod_itself(url: str) -> None:
    with pytest.raises(StepError, match="is the browser's own pod") as caught:
        check_url(url, OWN, HOSTNAME)
    assert caught.value.problem.code is ProblemCode.INVALID


@pytest.mark.parametrize("url", NO_URL, ids=lambda url: ascii(url)[:40])
def test_refuses_what_is_no_url_to_browse(url: str) -> None:
    with pytest.raises(StepError) as caught:
        check_url(url, OWN, HOSTNAME)
    assert caught.value.problem.code is ProblemCode.INVALID


def test_a_message_never_repeats_the_password() -> None:
    with pytest.raises(StepError) as caught:
        check_url("http://user:secret@127.0.0.1/?secret", OWN, HOSTNAME)
    assert "secret" not in str(caught.value)
