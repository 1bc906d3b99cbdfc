"""A small asynchronous client of the Kubernetes API on `kubernetes.aio`: plain bodies, our own exceptions.

`kubernetes.aio` brings configuration, authentication and connections; its typed models are left aside (they cost
a second of start-up, 100 MB, and reject fields they don't know).
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from copy import copy
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlencode

import aiohttp
import msgspec
from kubernetes.aio.client import Configuration
from kubernetes.aio.config import load_incluster_config, load_kube_config

from driftstack_common.guard import Guard
from driftstack_common.kinds.meta import Kind
from driftstack_common.kube.errors import KubeError, Unreachable, from_status
from driftstack_common.kube.transport import Transport
from driftstack_common.times import CLOCK

Body = dict[str, Any]

POD: Final = Kind("Pod", "pods", group="", version="v1")
NODE: Final = Kind("Node", "nodes", group="", version="v1", namespaced=False)
SECRET: Final = Kind("Secret", "secrets", group="", version="v1")
EVENT: Final = Kind("Event", "events", group="", version="v1")
NAMESPACE: Final = Kind("Namespace", "namespaces", group="", version="v1", namespaced=False)
DEPLOYMENT: Final = Kind("Deployment", "deployments", group="apps", version="v1")
LEASE: Final = Kind("Lease", "leases", group="coordination.k8s.io", version="v1")
QUOTA: Final = Kind("ResourceQuota", "resourcequotas", group="", version="v1")
BINDING: Final = Kind("RoleBinding", "rolebindings", group="rbac.authorization.k8s.io", version="v1")

JSON_PATCH: Final = "application/json-patch+json"
MERGE_PATCH: Final = "application/merge-patch+json"
APPLY_PATCH: Final = "application/apply-patch+yaml"
AUDIT_ID: Final = "Audit-Id"
"""The API server sets it in every answer; what stands between us and it has a clock of its own."""
UNCOMPRESSED: Final = {"Accept-Encoding": "identity"}
"""Compressing a large LIST costs the API server more than sending it does within a data centre."""
METADATA_ONLY: Final = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1"


def path(kind: Kind, namespace: str | None = None, name: str | None = None, subresource: str | None = None) -> str:
    """Return the API path of a collection, an object or one of its subresources."""
    parts = ["apis", kind.group, kind.version] if kind.group else ["api", kind.version]
    if namespace:
        parts += ["namespaces", namespace]
    parts += [kind.plural, *(part for part in (name, subresource) if part)]
    return "/" + "/".join(parts)


class KubeClient:
    """Requests to one API server. Make it with `connect`, and close it.

    Every method raises a subclass of KubeError; bodies are plain JSON objects.

    Args:
        configuration: of `kubernetes.aio`, with host and credentials.
        timeout: seconds that any request but a watch may take.

    Attributes:
        namespace: what the kubeconfig's context names, if it does.
    """

    namespace: str | None = None

    def __init__(self, configuration: Configuration, timeout: float = 10.0) -> None:
        self._configuration = configuration
        self._transport = Transport(configuration)
        # A dead path ends a connection long before (see transport); a slow server may take all of it.
        self._timeout = aiohttp.ClientTimeout(total=timeout)
        self._guard: Guard | None = None

    def guarded(self, guard: Guard) -> KubeClient:
        """Return a client on this one's connections with a guard before every write; close this one."""
        client = copy(self)
        client._guard = guard
        return client

    @property
    def host(self) -> str:
        """Where the API server is, as a URL."""
        return str(self._configuration.host)

    def open_session(self, *middlewares: aiohttp.ClientMiddlewareType) -> aiohttp.ClientSession:
        """Return a session for a library that makes its own requests to `host`; the caller closes it.

        Every request gets this client's credentials as they are at that moment.
        """
        return self._transport.open_session(self._authorize, *middlewares)

    @classmethod
    async def connect(
        cls, kubeconfig: Path | None = None, timeout: float = 10.0, context: str | None = None
    ) -> KubeClient:
        """Use this kubeconfig with its current context or the one named, or the pod's own service account.

        Raises:
            Unreachable: neither is there; the message says what was looked for.
        """
        configuration = Configuration()
        namespace = None
        try:
            if kubeconfig is None:
                load_incluster_config(client_configuration=configuration)
            else:
                loaded = await load_kube_config(str(kubeconfig), context, configuration, persist_config=False)
                namespace = loaded.current_context["context"].get("namespace")
        except Exception as error:  # the loader raises its own, OSError and yaml errors alike
            raise Unreachable(f"no usable Kubernetes configuration: {error}") from error
        client = cls(configuration, timeout)
        client.namespace = namespace
        return client

    async def close(self) -> None:
        """Close all connections."""
        await self._transport.close()

    async def get(self, kind: Kind, namespace: str | None, name: str) -> Body:
        """Return one object."""
        return await self._request("GET", path(kind, namespace, name))

    async def list_objects(self, kind: Kind, namespace: str | None = None, **query: str | int) -> Body:
        """Return a list object (`items`, `metadata.resourceVersion`, `metadata.continue`)."""
        return await self._request("GET", path(kind, namespace), query=query)

    async def list_metadata(self, kind: Kind, namespace: str | None = None, **query: str | int) -> Body:
        """Return a list whose items have nothing but their metadata."""
        return await self._request("GET", path(kind, namespace), query=query, accept=METADATA_ONLY)

    async def create(self, kind: Kind, namespace: str | None, body: Body) -> Body:
        """Create an object; return it as stored."""
        return await self._write("create", "POST", kind, namespace, body=body)

    async def json_patch(
        self, kind: Kind, namespace: str | None, name: str, operations: list[Body], subresource: str | None = None
    ) -> Body:
        """Apply RFC 6902 operations; a failed `test` is Invalid (422)."""
        where = (kind, namespace, name, subresource)
        return await self._write("patch", "PATCH", *where, body=operations, content_type=JSON_PATCH)

    async def merge_patch(
        self, kind: Kind, namespace: str | None, name: str, patch: Body, subresource: str | None = None
    ) -> Body:
        """Apply an RFC 7386 merge patch."""
        where = (kind, namespace, name, subresource)
        return await self._write("patch", "PATCH", *where, body=patch, content_type=MERGE_PATCH)

    async def apply(
        self,
        kind: Kind,
        namespace: str | None,
        name: str,
        body: Body,
        manager: str,
        subresource: str | None = None,
    ) -> Body:
        """Server-side apply as the named field manager, taking over conflicting fields."""
        query = {"fieldManager": manager, "force": "true"}
        where = (kind, namespace, name, subresource)
        return await self._write("apply", "PATCH", *where, body=body, query=query, content_type=APPLY_PATCH)

    async def delete(
        self,
        kind: Kind,
        namespace: str | None,
        name: str,
        *,
        uid: str | None = None,
        version: str | None = None,
        grace_seconds: int | None = None,
    ) -> Body:
        """Delete an object; with `uid`, only that very one, with `version` only as it was then (else Conflict)."""
        options: Body = {"kind": "DeleteOptions", "apiVersion": "v1", "propagationPolicy": "Background"}
        known = {"uid": uid, "resourceVersion": version}
        preconditions = {field: value for field, value in known.items() if value is not None}
        if preconditions:
            options["preconditions"] = preconditions
        if grace_seconds is not None:
            options["gracePeriodSeconds"] = grace_seconds
        return await self._write("delete", "DELETE", kind, namespace, name, body=options)

    async def watch(
        self,
        kind: Kind,
        namespace: str | None,
        resource_version: str,
        *,
        silence: float = 70.0,
        **query: str | int,
    ) -> AsyncIterator[Body]:
        """Yield watch events, bookmarks included, until the server ends the stream.

        Args:
            silence: seconds without a byte after which a stream that has begun counts as dead (Unreachable). It
                may take as long to begin as other requests to be answered: a slow server is no dead one.
        """
        params = {"watch": "1", "allowWatchBookmarks": "true", "resourceVersion": resource_version, **query}
        begin = self._timeout.total or silence
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=begin, sock_read=max(begin, silence))
        response = await self._send("GET", path(kind, namespace), query=params, timeout=timeout)
        try:
            if response.status != 200:
                raise await self._error(response)
            while line := await _line(response, silence):
                yield msgspec.json.decode(line)
        except (aiohttp.ClientError, TimeoutError, ValueError) as error:
            raise Unreachable(f"watch of {kind.plural} broke off: {error!r}") from error
        finally:
            response.close()

    async def _write(
        self,
        verb: str,
        method: str,
        kind: Kind,
        namespace: str | None,
        name: str | None = None,
        subresource: str | None = None,
        **options: Any,
    ) -> Body:
        target = path(kind, namespace, name, subresource)
        if self._guard is None:
            return await self._request(method, target, **options)
        write = "-".join(part for part in (verb, kind.plural, subresource) if part)
        self._guard.before(write)
        answer = await self._request(method, target, **options)
        self._guard.after(write)
        return answer

    async def _request(
        self,
        method: str,
        target: str,
        *,
        body: Any = None,
        query: dict[str, Any] | None = None,
        content_type: str = "application/json",
        accept: str = "application/json",
    ) -> Body:
        response = await self._send(
            method, target, body=body, query=query, content_type=content_type, accept=accept, timeout=self._timeout
        )
        try:
            if response.status >= 300:
                raise await self._error(response)
            result: Body = msgspec.json.decode(await response.read())
            return result
        except (
            aiohttp.ClientError,
            TimeoutError,
            ValueError,
        ) as error:  # ValueError: no JSON, so not the API server
            raise Unreachable(f"{method} {target}: {error!r}") from error
        finally:
            response.release()

    async def _send(
        self,
        method: str,
        target: str,
        *,
        body: Any = None,
        query: dict[str, Any] | None = None,
        content_type: str = "application/json",
        accept: str = "application/json",
        timeout: aiohttp.ClientTimeout,
    ) -> aiohttp.ClientResponse:
        headers = {"Accept": accept, "Content-Type": content_type, **UNCOMPRESSED}
        url = f"{self._configuration.host}{target}" + (f"?{urlencode(query)}" if query else "")
        try:
            headers |= await self._credentials()
            sent = time.time()
            answer = await self._transport.request(method, url, headers, body, _request_timeout=timeout)
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise Unreachable(f"{method} {target}: {error!r}") from error
        response: aiohttp.ClientResponse = answer.response
        if AUDIT_ID in response.headers:
            CLOCK.learn(response.headers.get("Date"), sent, time.time())
        return response

    async def _authorize(
        self, request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType
    ) -> aiohttp.ClientResponse:
        request.headers.update({**UNCOMPRESSED, **await self._credentials()})
        return await handler(request)

    async def _credentials(self) -> dict[str, str]:
        # A service account's token is read from its file again before it expires.
        token = await self._configuration.get_api_key_with_prefix("BearerToken", alias="authorization")
        return {"Authorization": token} if token else {}

    @staticmethod
    async def _error(response: aiohttp.ClientResponse) -> KubeError:
        text = await response.text(errors="replace")
        try:
            status = msgspec.json.decode(text)
        except ValueError:
            status = {"message": text[:500]}
        if not isinstance(status, dict):  # JSON of something between us and the API server
            status = {}
        wait = response.headers.get("Retry-After", "")
        return from_status(response.status, status, float(wait) if wait.isdigit() else None)


async def _line(response: aiohttp.ClientResponse, silence: float) -> bytes:
    async with asyncio.timeout(silence):
        return await response.content.readline()
