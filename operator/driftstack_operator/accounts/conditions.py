"""What an account's condition Ready says, and the status that carries it. Pure."""

from __future__ import annotations

from datetime import datetime

import msgspec

from driftstack_common.kinds import Account, Condition
from driftstack_common.kube.client import Body
from driftstack_common.names import ANNOTATION_ID
from driftstack_common.times import format_time


class Ready(msgspec.Struct, frozen=True):
    """The condition in the making; `limit` is how many sessions the account may have, None while none is kept."""

    status: bool
    reason: str
    message: str
    limit: int | None = None


def counted(limit: int, *, suspended: bool = False) -> Ready:
    """The quota limits and counts; nothing is amiss with a suspended account, but no session can begin."""
    if suspended:
        return Ready(True, "Suspended", "no session can be created while spec.suspended is true", limit)
    return Ready(True, "QuotaInForce", "sessions can be created", limit)


def miscounting(limit: int) -> Ready:
    """The quota limits, but its count stays wrong however often it is asked to count anew."""
    message = "the API server's count of sessions is wrong and stays so: does kube-controller-manager run?"
    return Ready(True, "QuotaMiscounted", message, limit)


def not_counted(*, stuck: bool) -> Ready:
    """The quota is not in force; `stuck` when asking for it has not helped so far."""
    message = "the API server does not count sessions yet"
    return Ready(False, "QuotaNotInForce", f"{message}: does kube-controller-manager run?" if stuck else message)


def namespace_goes(namespace: str, held: str) -> Ready:
    """The account's namespace was deleted; it is made anew when it has gone."""
    message = f"namespace {namespace} is being deleted; it will be made anew"
    return Ready(False, "NamespaceTerminating", _with(message, held))


def namespace_taken(namespace: str) -> Ready:
    """Somebody else's namespace has the account's name."""
    # Labelling it is no way out: only the operator may set our label.
    message = f"namespace {namespace} belongs to somebody else: delete it, or choose another name"
    return Ready(False, "NamespaceTaken", message)


def id_taken(account_id: str, elder: str) -> Ready:
    """An account that is older has the same id: this one is a copy of it."""
    message = f"account {elder} has the id {account_id}"
    return Ready(False, "IdTaken", f"{message}: delete this one and make it without the annotation {ANNOTATION_ID}")


def leaving(held: str) -> Ready:
    """The account is being deleted, and something holds that up."""
    return Ready(False, "Deleting", held)


def uninstalled() -> Ready:
    """Nobody is there any more to run the account's sessions."""
    message = "Driftstack was uninstalled: install it again, or delete the account and its namespace"
    return Ready(False, "Uninstalled", message, 0)


def status_of(account: Account, ready: Ready, moment: datetime) -> Body | None:
    """Return the status that says so, None when the account's says it already."""
    status, generation = account.status, account.metadata.generation
    old = next((c for c in status.conditions if c.type == "Ready"), None)
    word = "True" if ready.status else "False"
    new = (word, ready.reason, ready.message, generation)
    same = old is not None and (old.status, old.reason, old.message, old.observed_generation) == new
    if same and status.limit == ready.limit and status.namespace == account.namespace:
        return None
    condition = Condition(
        type="Ready",
        status=word,
        reason=ready.reason,
        message=ready.message,
        last_transition_time=(
            old.last_transition_time if old is not None and old.status == word else format_time(moment)
        ),
        observed_generation=generation,
    )
    return {
        "namespace": account.namespace,
        "limit": ready.limit,
        "observedGeneration": generation,
        "conditions": [msgspec.to_builtins(condition)],
    }


def _with(message: str, held: str) -> str:
    return f"{message}: {held}"[:1000] if held else message
