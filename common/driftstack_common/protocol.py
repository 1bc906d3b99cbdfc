"""The agent's protocol: what operator and facade say to the agent in a browser pod, and what it answers.

JSON over HTTP on AGENT_PORT. Every call but `GET /healthz` carries `Authorization: Bearer <token>` (agent_token)
and no `Origin`. People read `docs/reference/agent-protocol.md`; all parts decode with this module.

    GET  /healthz                          -> Health            200 when a browser answers, else 503 with Health too
    POST /claim            Claim           -> Claimed           409 holder-conflict names the holder
    GET  /claim                            -> Holder            503 starting
    POST /prepare          Prepare         -> Holder            503 starting
    GET  /sessions/{uid}                   -> Activity
    POST /sessions/{uid}/navigate Navigate -> Navigated
    POST /sessions/{uid}/capture  Capture  -> raw bytes, X-Driftstack-Duration-Ms
    POST /sessions/{uid}/interact Interact -> Interacted
    POST /sessions/{uid}/wait     Wait     -> Waited
    POST /sessions/{uid}/extract  Extract  -> Extracted
    POST /sessions/{uid}/state    State    -> PageState
    GET  /sessions/{uid}/cdp                  WebSocket of DevTools messages, see `protocol_devtools`

Any other answer is a Problem. The messages of interact, wait, extract and state are in `protocol_steps`.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Any, Final, Literal

import msgspec
from msgspec import Meta

from driftstack_common.kinds.archetype import Device
from driftstack_common.kinds.usage import StepCounts

HEALTH_PATH: Final = "/healthz"
CLAIM_PATH: Final = "/claim"
PREPARE_PATH: Final = "/prepare"
DURATION_HEADER: Final = "X-Driftstack-Duration-Ms"

SCREENSHOT_LIMIT: Final = 4 * 1024 * 1024
"""Most bytes of a screenshot, before base64."""
DOCUMENT_LIMIT: Final = 6 * 1024 * 1024
"""Most bytes of any other capture, before base64."""
URL_LIMIT: Final = 8192
"""Most characters of a URL to navigate to."""
NOTICE_LIMIT: Final = 20
"""Most notices of an answer; what happens beyond is dealt with all the same, but not told."""

TimeoutMs = Annotated[int, Meta(ge=100, le=120_000)]
WaitUntil = Literal["load", "domcontentloaded", "networkidle"]
CaptureKind = Literal["screenshot", "dom_snapshot", "pdf"]
Pace = Literal["casual", "regular", "power_user"]


class Message(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Base of what is sent to the agent: unknown fields are refused."""


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """Base of what the agent answers: unknown fields are ignored, so that an older caller understands it."""


class AgentState(StrEnum):
    """starting: no browser yet. warm: a browser, no session. claimed: serves one. ending: shutting down."""

    STARTING = "starting"
    WARM = "warm"
    CLAIMED = "claimed"
    ENDING = "ending"


class Sandbox(Answer, frozen=True, kw_only=True):
    """Proof, read from /proc at start, that Chromium confines its renderers.

    Attributes:
        user_namespace: the renderer's user namespace differs from the browser's.
        seccomp_filters: filters on the renderer; the browser has one fewer.
    """

    user_namespace: bool
    seccomp_filters: int
    browser_seccomp_filters: int

    @property
    def proven(self) -> bool:
        """Whether both layers are there."""
        return self.user_namespace and self.seccomp_filters > self.browser_seccomp_filters


class Health(Answer, frozen=True, kw_only=True):
    """Answer of /healthz; browser is e.g. `HeadlessChrome/156.0.8078.79`."""

    state: AgentState
    browser: str = ""
    sandbox: Sandbox | None = None


class Limits(Message, frozen=True, kw_only=True):
    """The session's clocks, whole seconds; None runs no clock."""

    idle_seconds: Annotated[int, Meta(ge=1)] | None = None
    duration_seconds: Annotated[int, Meta(ge=1)] | None = None


class Claim(Message, frozen=True, kw_only=True):
    """Give this pod to a session: compare-and-set on the uid, idempotent, irrevocable.

    duration_seconds runs from the claim.
    """

    session: str
    device: Device
    limits: Limits = Limits()
    pace: Pace = "regular"


class Reached(Answer, frozen=True, kw_only=True):
    """How long ago the pod's start reached each of its stages, seconds; None is not known.

    Attributes:
        sandbox: the pod has its network, and the kubelet goes on to its container.
        container: the agent's process began.
        agent: it has loaded its code and asks Chromium, which it had started before.
        chromium: Chromium answered.
        page: its first page is open, and the sandbox of its renderers proven.
    """

    sandbox: float | None = None
    container: float | None = None
    agent: float | None = None
    chromium: float | None = None
    page: float | None = None


class Claimed(Answer, frozen=True, kw_only=True):
    """The pod is this session's and its page shows the device."""

    session: str
    browser: str
    sandbox: Sandbox | None
    reached: Reached = Reached()


class Prepare(Message, frozen=True, kw_only=True):
    """Show a device while the pod waits warm: a claim of the same device then finds it shown."""

    device: Device


class Holder(Answer, frozen=True, kw_only=True):
    """Whose pod this is: the uid of its session, None while it waits warm."""

    session: str | None


class Activity(Answer, frozen=True, kw_only=True):
    """What a claimed agent does now, and has done.

    Attributes:
        step: name of the running step, if any.
        usage: steps that succeeded, by date (UTC).
    """

    session: str
    step: str | None
    idle_seconds: float
    usage: dict[str, StepCounts] = {}


class Navigate(Message, frozen=True, kw_only=True):
    """Load a URL in the session's page."""

    url: str
    wait_until: WaitUntil = "load"
    timeout_ms: TimeoutMs = 30_000


NoticeKind = Literal["alert", "confirm", "prompt", "beforeunload", "popup", "download", "file_chooser"]
Outcome = Literal["accepted", "dismissed", "front", "background", "closed", "refused", "cancelled"]


class Notice(Answer, frozen=True, kw_only=True):
    """Something a page wanted of a person during a step, and what became of it, so that no step waits for one.

    Dialogs are dismissed (beforeunload: accepted), downloads refused, file choosers cancelled. A popup comes to the
    front, stays in the background or is closed.

    Attributes:
        text: a dialog's message or a download's file name; at most 500 characters.
        url: a popup's or download's; at most 500 characters.
    """

    kind: NoticeKind
    outcome: Outcome
    text: str = ""
    url: str = ""


class Navigated(Answer, frozen=True, kw_only=True):
    """Status is the HTTP status of the main document (200 for about:blank), after redirects."""

    url: str
    final_url: str
    status: int
    duration_ms: int
    notices: list[Notice] = []


class Capture(Message, frozen=True, kw_only=True):
    """Capture the session's page as PNG, DOM snapshot (JSON) or PDF."""

    kind: CaptureKind
    full_page: bool = False
    timeout_ms: TimeoutMs = 30_000


class ProblemCode(StrEnum):
    """Why the agent did not do it; the HTTP status of each is in STATUS."""

    INVALID = "invalid"
    UNAUTHORIZED = "unauthorized"
    NOT_FOUND = "not-found"
    HOLDER_CONFLICT = "holder-conflict"
    STEP_RUNNING = "step-running"
    TOO_MANY_CLIENTS = "too-many-clients"
    ENDED = "ended"
    TOO_LARGE = "too-large"
    PAGE_FAILED = "page-failed"
    BROWSER_FAILED = "browser-failed"
    STARTING = "starting"
    TIMEOUT = "timeout"


STATUS: Final[dict[ProblemCode, int]] = {
    ProblemCode.INVALID: 400,
    ProblemCode.UNAUTHORIZED: 401,
    ProblemCode.NOT_FOUND: 404,
    ProblemCode.HOLDER_CONFLICT: 409,
    ProblemCode.STEP_RUNNING: 409,
    ProblemCode.ENDED: 410,
    ProblemCode.TOO_LARGE: 413,
    ProblemCode.TOO_MANY_CLIENTS: 429,
    ProblemCode.PAGE_FAILED: 502,
    ProblemCode.BROWSER_FAILED: 502,
    ProblemCode.STARTING: 503,
    ProblemCode.TIMEOUT: 504,
}


class Problem(Answer, frozen=True, kw_only=True):
    """Any answer that is not a success; details by code.

    `invalid`: {path}, where it is a field of a step; `holder-conflict`: {holder}; `step-running`: {step};
    `ended`: {reason}; `page-failed`: {error}, Chromium's text; `too-large`: {limit_bytes, size_bytes};
    `timeout`: {timeout_ms}; `too-many-clients`: {limit}.
    """

    code: ProblemCode
    message: str
    details: dict[str, Any] = {}


class EndReason(StrEnum):
    """Why the agent ended; first word of the termination message.

    idle, duration: the session's own clocks, exit 0. terminated: SIGTERM, exit 143.
    browser-crashed, out-of-memory, sandbox-missing, start-failed: exit 1.
    """

    IDLE = "idle"
    DURATION = "duration"
    TERMINATED = "terminated"
    BROWSER_CRASHED = "browser-crashed"
    OUT_OF_MEMORY = "out-of-memory"
    SANDBOX_MISSING = "sandbox-missing"
    START_FAILED = "start-failed"


class Termination(Answer, frozen=True, kw_only=True):
    """What the agent writes to the container's termination message: JSON, at most 4 KiB.

    log is the end of its log, whole lines; usage as in Activity.
    """

    reason: EndReason
    message: str = ""
    log: str = ""
    usage: dict[str, StepCounts] = {}
