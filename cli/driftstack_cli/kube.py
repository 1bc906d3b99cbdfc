"""The cluster of the user's kubeconfig, and the API server's refusals as what they mean to a user."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final, NamedTuple, TypeVar

from driftstack_cli.errors import CliError, ExitCode
from driftstack_cli.progress import Waiting, waiting
from driftstack_common.kinds.meta import Kind
from driftstack_common.kube.client import Body, KubeClient
from driftstack_common.kube.errors import (
    AlreadyExists,
    Conflict,
    Forbidden,
    Invalid,
    KindGone,
    KubeError,
    NamespaceTerminating,
    NotFound,
    QuotaExceeded,
    Unreachable,
)

INSTALL: Final = "helm install driftstack charts/driftstack --namespace driftstack-system --create-namespace"
PAGE: Final = 500
"""Objects a request when all are listed."""

_CODES: Final[dict[type[KubeError], ExitCode]] = {
    Unreachable: ExitCode.UNAVAILABLE,
    KindGone: ExitCode.UNAVAILABLE,
    NotFound: ExitCode.NOT_FOUND,
    AlreadyExists: ExitCode.CONFLICT,
    Conflict: ExitCode.CONFLICT,
    NamespaceTerminating: ExitCode.CONFLICT,
    QuotaExceeded: ExitCode.LIMIT,
    Forbidden: ExitCode.NOT_ALLOWED,
    Invalid: ExitCode.USAGE,
}
T = TypeVar("T")


class Where(NamedTuple):
    """Which cluster: None stands for kubectl's own choice."""

    kubeconfig: str | None
    context: str | None


def run(where: Where, title: str, work: Callable[[KubeClient, Waiting], Awaitable[T]]) -> T:
    """Do something in the cluster, telling of the wait; return what it returns.

    Raises:
        CliError: no cluster, or what the API server refused.
    """
    with waiting(title) as wait:
        return asyncio.run(_run(where, wait, work))


async def _run(where: Where, wait: Waiting, work: Callable[[KubeClient, Waiting], Awaitable[T]]) -> T:
    try:
        client = await KubeClient.connect(_kubeconfig(where.kubeconfig), context=where.context)
    except Unreachable as error:
        hint = "`kubectl config get-contexts` lists what there is; KUBECONFIG and --kubeconfig name the file."
        raise CliError(str(error), ExitCode.NOT_ALLOWED, hint=hint) from error
    try:
        return await work(client, wait)
    except KubeError as error:
        raise explain(error, client.host) from error
    finally:
        await client.close()


def _kubeconfig(chosen: str | None) -> Path | None:
    """Return the file (or files, with the separator of KUBECONFIG); None inside a pod that has none."""
    told = chosen or os.environ.get("KUBECONFIG") or str(Path("~/.kube/config"))
    if any(Path(path).expanduser().exists() for path in told.split(os.pathsep) if path):
        return Path(told)
    if not chosen and "KUBERNETES_SERVICE_HOST" in os.environ:
        return None
    raise CliError(
        f"no kubeconfig: {told} does not exist",
        ExitCode.NOT_ALLOWED,
        hint="Set KUBECONFIG, or give --kubeconfig: the file that kubectl uses.",
    )


def explain(error: KubeError, host: str) -> CliError:
    """Return what an answer of the API server means to a user."""
    if isinstance(error, KindGone):
        hint = f"Install it: {INSTALL}"
        return CliError(f"Driftstack isn't installed in the cluster at {host}", ExitCode.UNAVAILABLE, hint=hint)
    if isinstance(error, Unreachable):
        return CliError(
            f"the Kubernetes API server at {host} does not answer",
            ExitCode.UNAVAILABLE,
            details=[error.message],
            hint="Does `kubectl version` reach it? Is it the context you mean (--context)?",
        )
    if error.status == 401:
        hint = "Log in to the cluster again; `kubectl auth whoami` tells whether it knows you."
        return CliError(f"the API server at {host} does not know you", ExitCode.NOT_ALLOWED, hint=hint)
    if isinstance(error, Invalid) and error.causes:
        what = error.message.partition(" is invalid:")[0].partition(" is forbidden:")[0]
        return CliError(f"{what} is not valid", ExitCode.USAGE, details=[_told(cause) for cause in error.causes])
    code = _CODES.get(type(error), ExitCode.FAILED)
    if error.status in (429, 503):
        code = ExitCode.UNAVAILABLE
    hint = "Ask the cluster's administrator for the right." if isinstance(error, Forbidden) else ""
    return CliError(error.message, code, hint=hint, retry_after=error.retry_after)


def _told(cause: Body) -> str:
    field, message = cause.get("field", "<nil>"), str(cause.get("message", ""))
    return message if field == "<nil>" else f"{field}: {message}"  # rules of the whole object name no field


@contextmanager
def unless_missing(error: CliError) -> Iterator[None]:
    """Raise this error when the object isn't there; a kind that isn't there is another matter."""
    try:
        yield
    except KindGone:
        raise
    except NotFound as cause:
        raise error from cause


async def list_all(client: KubeClient, kind: Kind, namespace: str | None = None) -> list[Body]:
    """Return all objects of a kind."""
    found: list[Body] = []
    query: dict[str, str | int] = {"limit": PAGE}
    while True:
        page = await client.list_objects(kind, namespace, **query)
        # Items of a list come without their kind.
        found += [{"apiVersion": kind.api_version, "kind": kind.name, **item} for item in page["items"]]
        token = page["metadata"].get("continue")
        if not token:
            return found
        query["continue"] = token


def trimmed(body: Body) -> Body:
    """Return an object as JSON and YAML show it: without what only Kubernetes itself needs."""
    metadata = {name: body["metadata"][name] for name in _METADATA if body["metadata"].get(name)}
    parts: Body = {name: body[name] for name in ("spec", "status") if name in body}
    return {"apiVersion": body["apiVersion"], "kind": body["kind"], "metadata": metadata, **parts}


def listed(bodies: list[Body]) -> Body:
    """Return several objects as one, in Kubernetes' own form."""
    return {"apiVersion": "v1", "kind": "List", "items": [trimmed(body) for body in bodies]}


_METADATA: Final = (
    "name",
    "namespace",
    "uid",
    "creationTimestamp",
    "deletionTimestamp",
    "labels",
    "annotations",
)
