"""kopf's handlers: each passes one event on.

Nothing is decided or awaited here: kopf drops a failed `on.event` handler, and holds an object's next event back
while one runs.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import kopf

from driftstack_common.kinds import Account, Archetype, Pool, Session
from driftstack_common.kinds.meta import Kind
from driftstack_common.kube.client import NODE, POD, QUOTA, KubeClient
from driftstack_common.names import APP_BROWSER, GROUP, LABEL_ACCOUNT, LABEL_APP
from driftstack_operator.intake import Intake

Take = Callable[..., None]
Handlers = list[tuple[Kind, Take]]

POD_SELECTOR: Final = f"{LABEL_APP}={APP_BROWSER}"
QUOTA_SELECTOR: Final = LABEL_ACCOUNT


def cluster_handlers(intake: Intake) -> Handlers:
    """Return what is watched in all namespaces."""
    return [
        (Session.KIND, intake.session),
        (Account.KIND, intake.account),
        (Archetype.KIND, intake.archetype),
        (QUOTA, intake.quota),
        (NODE, intake.node),
    ]


def browser_handlers(intake: Intake) -> Handlers:
    """Return what is watched in the browser namespace alone, where the operator's rights on pods end."""
    return [(POD, intake.pod), (Pool.KIND, intake.pool)]


def registry_of(handlers: Handlers, kube: KubeClient) -> kopf.OperatorRegistry:
    """Return a registry with one handler per kind, the start-up settings, and our own way to log in."""
    registry = kopf.OperatorRegistry()
    for kind, take in handlers:
        kopf.on.event(kind.group, kind.version, kind.plural, registry=registry, id=kind.plural)(_handler(take))
    kopf.on.startup(registry=registry, id="settings")(configure)
    kopf.on.login(registry=registry, id="login")(login_of(kube))
    return registry


def _handler(take: Take) -> Any:
    async def handle(event: Any, **_: Any) -> None:
        take(event["object"], deleted=event["type"] == "DELETED")

    return handle


async def configure(settings: kopf.OperatorSettings, **_: Any) -> None:
    """Set kopf up as a watcher and nothing else (a start-up handler)."""
    settings.posting.enabled = False
    settings.peering.standalone = True
    settings.scanning.disabled = True
    settings.watching.server_timeout = 300
    settings.watching.client_timeout = 310
    settings.watching.connect_timeout = 10
    settings.watching.chunk_size = 500
    settings.watching.label_selectors[POD.version, POD.plural] = POD_SELECTOR
    settings.watching.label_selectors[QUOTA.version, QUOTA.plural] = QUOTA_SELECTOR
    settings.networking.request_timeout = 30
    settings.networking.connect_timeout = 5
    settings.process.ultimate_exiting_timeout = None  # the kubelet's grace period is the last resort
    # kopf removes its own finalizer wherever no handler needs one: it must never take ours for it.
    settings.persistence.finalizer = f"{GROUP}/kopf"


def _bare(token: str | None) -> str | None:
    """Return the token alone: a kubeconfig's comes as `Bearer …`, a service account's as `bearer …`."""
    return token.rsplit(" ", 1)[-1] if token else None


def login_of(kube: KubeClient) -> Any:
    """Return kopf's login handler, with the credentials that this client uses."""

    async def login(**_: Any) -> kopf.ConnectionInfo:
        # Called again whenever the API server answers 401, as it does when a token has expired.
        configuration = kube.configuration
        token = await configuration.get_api_key_with_prefix("BearerToken", alias="authorization")
        return kopf.ConnectionInfo(
            server=configuration.host,
            ca_path=configuration.ssl_ca_cert,
            insecure=not configuration.verify_ssl,
            scheme="Bearer" if token else None,
            token=_bare(token),
            certificate_path=configuration.cert_file,
            private_key_path=configuration.key_file,
        )

    return login
