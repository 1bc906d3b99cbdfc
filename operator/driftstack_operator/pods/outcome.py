"""What a pod's state says about its session: has it ended, why, or can it not start. Pure.

The agent's own word (its termination message) comes first; then Kubernetes' (reason, disruption, exit code).
"""

from __future__ import annotations

from typing import Final

import msgspec

from driftstack_common.kinds import StepCounts
from driftstack_common.protocol import EndReason, Termination
from driftstack_operator.pods.view import PodView, Terminated
from driftstack_operator.reasons import End, Reason, end

AGENT_REASONS: Final = {
    EndReason.IDLE: Reason.IDLE_TIMEOUT,
    EndReason.DURATION: Reason.MAX_DURATION,
    EndReason.TERMINATED: Reason.TERMINATED,
    EndReason.BROWSER_CRASHED: Reason.BROWSER_CRASHED,
    EndReason.OUT_OF_MEMORY: Reason.OUT_OF_MEMORY,
    EndReason.SANDBOX_MISSING: Reason.SANDBOX_MISSING,
    EndReason.START_FAILED: Reason.START_FAILED,
}
DISRUPTIONS: Final = {
    "EvictionByEvictionAPI": Reason.EVICTED,
    "PreemptionByScheduler": Reason.EVICTED,
    "TerminationByKubelet": Reason.EVICTED,
    "DeletionByTaintManager": Reason.NODE_LOST,
    "DeletionByPodGC": Reason.NODE_LOST,
}
"""Reasons of the DisruptionTarget condition."""
POD_REASONS: Final = {
    "Evicted": Reason.EVICTED,
    "Preempting": Reason.EVICTED,
    "Terminated": Reason.EVICTED,  # the kubelet's word for a node's graceful shutdown
    "NodeShutdown": Reason.EVICTED,
    "DeadlineExceeded": Reason.MAX_DURATION,
    "NodeLost": Reason.NODE_LOST,
    "NodeAffinity": Reason.UNSCHEDULABLE,
    "UnexpectedAdmissionError": Reason.UNSCHEDULABLE,
}
"""Reasons of pod.status; `OutOf…` (the kubelet had no room after all) is Unschedulable too."""
HOPELESS_WAITING: Final = {
    "ImagePullBackOff": Reason.IMAGE_UNAVAILABLE,
    "InvalidImageName": Reason.IMAGE_UNAVAILABLE,
    "ErrImageNeverPull": Reason.IMAGE_UNAVAILABLE,
}
"""The container waits for something that a session's start can't wait for."""
STUCK_WAITING: Final = {
    "ErrImagePull": Reason.IMAGE_UNAVAILABLE,
    "ImageInspectError": Reason.IMAGE_UNAVAILABLE,
    "RegistryUnavailable": Reason.IMAGE_UNAVAILABLE,
    # A node whose seccomp profile arrives late recovers from this by itself.
    "CreateContainerError": Reason.START_FAILED,
    "CreateContainerConfigError": Reason.START_FAILED,
    "RunContainerError": Reason.START_FAILED,
}
"""The container waits for something that may pass."""
RUNTIME_REASONS: Final = frozenset({"ContainerCannotRun", "StartError"})
"""The container never ran: the message is the runtime's, not the end of the agent's log."""
SIGTERM_EXIT: Final = 143
LONGEST_LOG: Final = 2048
"""Most bytes of an agent's log that are kept."""


def outcome(pod: PodView, *, node_lost: bool = False) -> End | None:
    """Return how the pod ended, or None while it may still serve (or start)."""
    if pod.terminated is not None and (own := _termination(pod.terminated)) is not None:
        return _told(pod, pod.terminated, own)
    if pod.deleting or pod.gone:
        return _deleted(pod, node_lost=node_lost)
    if pod.terminated is not None or pod.phase in ("Failed", "Succeeded"):
        return _failed(pod)
    if DISRUPTIONS.get(pod.disruption) is Reason.NODE_LOST:
        return end(Reason.NODE_LOST, _lost(pod))
    return end(Reason.NODE_LOST, _lost(pod)) if node_lost else None


def hopeless(pod: PodView) -> End | None:
    """Return why the pod will not start, when waiting longer is pointless."""
    return _waits_for(pod, HOPELESS_WAITING)


def stuck(pod: PodView) -> End | None:
    """Return why the pod has not started yet, when that may still pass."""
    if pod.unschedulable is not None:
        return end(Reason.UNSCHEDULABLE, pod.unschedulable or "no node can take the pod")
    return _waits_for(pod, STUCK_WAITING)


def _waits_for(pod: PodView, reasons: dict[str, Reason]) -> End | None:
    if pod.waiting is None or pod.waiting.reason not in reasons:
        return None
    return end(reasons[pod.waiting.reason], f"{pod.waiting.reason}: {pod.waiting.message}".removesuffix(": "))


def agent_log(pod: PodView | None) -> str:
    """Return the last lines of the agent's log, of at most LONGEST_LOG bytes; empty when it left none.

    They are what the agent put into its termination message, or, when it was killed, what the kubelet took from
    the container's log. Either may come from a browser that was taken over, hence no control characters.
    """
    if pod is None or pod.terminated is None or pod.terminated.reason in RUNTIME_REASONS:
        return ""
    own = _termination(pod.terminated)
    text = own.log if own is not None else pod.terminated.message
    printable = "".join(
        sign if sign.isprintable() or sign == "\n" else "\N{REPLACEMENT CHARACTER}" for sign in text
    )
    whole = printable.encode("utf-8", "replace").strip()
    kept = whole[-LONGEST_LOG:]
    if len(kept) < len(whole):
        kept = kept.partition(b"\n")[2] or kept
    return kept.decode("utf-8", "ignore")


def agent_usage(pod: PodView | None) -> dict[str, StepCounts] | None:
    """Return the steps that the agent counted, by date; None when it left no word."""
    own = _termination(pod.terminated) if pod is not None and pod.terminated is not None else None
    return own.usage if own is not None else None


def _termination(state: Terminated) -> Termination | None:
    try:
        return msgspec.json.decode(state.message, type=Termination)
    except msgspec.DecodeError:
        return None


def _told(pod: PodView, state: Terminated, own: Termination) -> End:
    """SIGTERM is only how the pod went, and a crash may be the kernel's doing: the cause behind it counts."""
    if own.reason is EndReason.BROWSER_CRASHED and state.reason == "OOMKilled":
        return end(Reason.OUT_OF_MEMORY, f"the browser ran out of memory: {own.message}")
    if own.reason is not EndReason.TERMINATED:
        return end(AGENT_REASONS[own.reason], own.message)
    if pod.deleting or pod.gone:
        return _disrupted(pod) or _removed(pod)
    return _disrupted(pod) or end(Reason.TERMINATED, own.message or "the agent was told to stop")


def _disrupted(pod: PodView) -> End | None:
    """Return what Kubernetes itself did to the pod, if it did anything."""
    if pod.reason in POD_REASONS or pod.reason.startswith("OutOf"):
        return end(POD_REASONS.get(pod.reason, Reason.UNSCHEDULABLE), pod.message or pod.reason)
    if pod.disruption in DISRUPTIONS:
        return end(DISRUPTIONS[pod.disruption], f"pod {pod.name} was removed: {pod.disruption}")
    return None


def _removed(pod: PodView) -> End:
    return end(Reason.POD_DELETED, f"pod {pod.name} was deleted")


def _deleted(pod: PodView, *, node_lost: bool) -> End:
    if node_lost and pod.disruption not in DISRUPTIONS:
        return end(Reason.NODE_LOST, _lost(pod))
    if pod.terminated is not None and pod.terminated.reason == "OOMKilled":
        return end(Reason.OUT_OF_MEMORY, "the pod reached its memory limit")
    return _disrupted(pod) or _removed(pod)


def _failed(pod: PodView) -> End:
    disrupted = _disrupted(pod)
    if disrupted is not None:
        return disrupted
    state = pod.terminated
    if state is None:
        return end(Reason.POD_FAILED, pod.message or f"pod {pod.name} is {pod.phase}")
    return end(_exit_reason(state), _said(state))


def _exit_reason(state: Terminated) -> Reason:
    if state.reason == "OOMKilled":
        return Reason.OUT_OF_MEMORY
    if state.reason in RUNTIME_REASONS:
        return Reason.START_FAILED
    return Reason.TERMINATED if state.exit_code == SIGTERM_EXIT else Reason.POD_FAILED


def _said(state: Terminated) -> str:
    said = f"the container ended with exit code {state.exit_code}" + (f" ({state.reason})" if state.reason else "")
    return f"{said}: {state.message}" if state.reason in RUNTIME_REASONS else said


def _lost(pod: PodView) -> str:
    return f"node {pod.node} stopped reporting" if pod.node else "the pod's node is gone"
