"""kopf's side: what is watched, how it logs in, and that events are only passed on."""

from __future__ import annotations

from typing import Any

import kopf
import pytest
from kubernetes.aio.client import Configuration

from driftstack_common.kube.client import KubeClient
from driftstack_common.names import ACCOUNT_FINALIZER, FINALIZER
from driftstack_operator.handlers import browser_handlers, cluster_handlers, configure, login_of, registry_of
from driftstack_operator.intake import Intake
from driftstack_operator.sessions.tracks import Tracks
from driftstack_operator.store import Store
from tests.unit.operator.builders import UID, session_body


class Credentials(KubeClient):
    """A client that has nothing but its configuration."""

    def __init__(self, token: str | None) -> None:
        self._configuration = Configuration(host="https://10.96.0.1:443")
        if token is not None:
            self._configuration.api_key["BearerToken"] = token


class Touched:
    """Notes what is touched."""

    def __init__(self) -> None:
        self.sessions: list[str] = []

    def touch_session(self, uid: str) -> None:
        self.sessions.append(uid)

    def touch_account(self, name: str) -> None:
        raise AssertionError(name)

    def touch_quota(self, name: str) -> None:
        raise AssertionError(name)

    def touch_waiting(self, namespace: str | None = None) -> None:
        raise AssertionError(namespace)

    def session_gone(self, session: Any) -> None:
        self.sessions.append(f"gone {session.uid}")


def intake(touched: Touched) -> Intake:
    return Intake(Store(), Tracks(), touched)


@pytest.mark.parametrize("token", ["Bearer abc.def", "bearer abc.def"], ids=["kubeconfig", "service account"])
async def test_login_gives_kopf_the_bare_token(token: str) -> None:
    connection = await login_of(Credentials(token))()
    assert (connection.server, connection.scheme, connection.token) == (
        "https://10.96.0.1:443",
        "Bearer",
        "abc.def",
    )


async def test_login_with_certificates_has_no_token() -> None:
    connection = await login_of(Credentials(None))()
    assert (connection.scheme, connection.token) == (None, None)


async def test_kopf_never_takes_our_finalizers_for_its_own() -> None:
    settings = kopf.OperatorSettings()
    await configure(settings)
    assert settings.persistence.finalizer not in (FINALIZER, ACCOUNT_FINALIZER)
    assert settings.peering.standalone is True
    assert settings.posting.enabled is False
    assert settings.scanning.disabled is True


def test_every_kind_has_a_handler_that_writes_nothing() -> None:
    touched = intake(Touched())
    registry = registry_of(cluster_handlers(touched) + browser_handlers(touched), Credentials(None))
    watched = {handler.id for handler in registry._watching.get_all_handlers()}
    assert watched == {
        "browsersessions",
        "accounts",
        "archetypes",
        "resourcequotas",
        "nodes",
        "pods",
        "browserpools",
    }
    assert list(registry._changing.get_all_handlers()) == []


def test_events_end_in_the_work_queue() -> None:
    touched = Touched()
    observed = intake(touched)
    observed.session(session_body(), deleted=False)
    observed.session(session_body(), deleted=False)
    observed.session(session_body(), deleted=True)
    observed.session(session_body(), deleted=True)
    assert touched.sessions == [UID, UID, f"gone {UID}"]
