"""One DevTools client's share of the pipe: its own sessions, its own command ids, nothing of anybody else's.

A client sees a browser-level session as if it were alone: Chromium gives it one (Target.attachToBrowserTarget), and
all it attaches hangs below that. Commands are read and written anew, never passed on as they came, so what reaches
the pipe is one command to a session of the client's own. Contents are copied, not decoded: they may be megabytes.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, NamedTuple

import msgspec

from driftstack_agent.cdp import Connection, Message
from driftstack_agent.errors import MessageTooLarge

IN_FLIGHT: Final = 8192
"""Most commands of a client that await their answers; some never get one."""
BUSY: Final = 256
"""Commands that await their answers when a client has to be slowed down: a step's commands come after them."""
_CLOSE: Final = "Browser.close"
_INVALID: Final = -32600
_SERVER_ERROR: Final = -32000
_SESSION_NOT_FOUND: Final = -32001


class _Command(msgspec.Struct, rename="camel"):
    id: int
    method: str
    params: msgspec.Raw = msgspec.Raw(b"{}")
    session_id: str = ""


class _TargetInfo(msgspec.Struct, rename="camel"):
    target_id: str


class _Attached(msgspec.Struct, rename="camel"):
    session_id: str
    target_info: _TargetInfo


class _Detached(msgspec.Struct, rename="camel"):
    session_id: str


class _Refusal(msgspec.Struct):
    code: int
    message: str


class _Session:
    """A session of the client: what it is attached to, what hangs below; page: it hears of the page's dialogs."""

    def __init__(self, target: str) -> None:
        self.target = target
        self.children: set[str] = set()
        self.page = False


class _Awaited(NamedTuple):
    number: int
    session: str


class Relay:
    """Translates between a client and the pipe.

    Args:
        root: the client's browser-level session, just attached; also an attribute.
        send: takes a message for the client; must not wait.
        before: called with the page (a target id) and the method of every command to one, before it is sent.
    """

    def __init__(
        self,
        connection: Connection,
        root: str,
        send: Callable[[bytes], None],
        before: Callable[[str, str], None],
    ) -> None:
        self._connection = connection
        self._before = before
        self.root = root
        self._send = send
        self._sessions = {root: _Session("")}
        self._awaited: dict[int, _Awaited] = {}
        self._decoder = msgspec.json.Decoder(_Command)
        connection.hand_over(root, self)

    @property
    def busy(self) -> bool:
        """Whether the client should be given time to get its answers."""
        return len(self._awaited) > BUSY

    def close(self) -> None:
        """Let go of every session and command."""
        self._drop(self.root)

    def hears_dialogs(self, target: str) -> bool:
        """Whether the client listens to the dialogs of a page."""
        return any(session.page and session.target == target for session in self._sessions.values())

    # From the client.

    def command(self, text: bytes) -> bool:
        """Pass a command on, or answer it; return False when it asks for the end (Browser.close).

        Raises:
            ConnectionClosed: Chromium is gone.
        """
        try:
            if b"\0" in text:  # what ends a message on the pipe
                raise msgspec.DecodeError("a NUL byte is in it")
            command = self._decoder.decode(text)
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            refusal = msgspec.json.encode(_Refusal(_INVALID, f"no DevTools command: {error}"))
            self._send(b'{"error":%b}' % refusal)
            return True
        session = self._sessions.get(command.session_id or self.root)
        if session is None:
            self._refuse(command, _SESSION_NOT_FOUND, "Session with given id not found.")
        elif command.method == _CLOSE:
            self._send(_text(b'"id":%d,"result":{}' % command.id, b"", command.session_id))
            return False
        elif len(self._awaited) >= IN_FLIGHT:
            self._refuse(command, _SERVER_ERROR, f"{IN_FLIGHT} commands await their answers: wait for some")
        else:
            self._forward(command, session)
        return True

    def _forward(self, command: _Command, session: _Session) -> None:
        if command.method in ("Page.enable", "Page.disable"):
            session.page = command.method == "Page.enable"
        self._before(session.target, command.method)
        name = command.session_id or self.root
        number = self._connection.forward(self, command.method, command.params, name)
        self._awaited[number] = _Awaited(command.id, command.session_id)

    def _refuse(self, command: _Command, code: int, why: str) -> None:
        refusal = msgspec.json.encode(_Refusal(code, why))
        self._send(_text(b'"id":%d,"error":' % command.id, refusal, command.session_id))

    # From Chromium.

    def event(self, message: Message) -> None:
        """Pass an event on, and note which sessions come and go."""
        if message.method == "Target.attachedToTarget":
            attached = msgspec.json.decode(message.params, type=_Attached)
            self._sessions[message.session_id].children.add(attached.session_id)
            self._sessions[attached.session_id] = _Session(attached.target_info.target_id)
            self._connection.hand_over(attached.session_id, self)
        elif message.method == "Target.detachedFromTarget":
            detached = msgspec.json.decode(message.params, type=_Detached).session_id
            self._sessions[message.session_id].children.discard(detached)
            self._drop(detached)
        session = "" if message.session_id == self.root else message.session_id
        head = b'"method":%b,"params":' % msgspec.json.encode(message.method)
        self._send(_text(head, message.params, session))

    def answer(self, number: int, message: Message) -> None:
        """Pass an answer on."""
        awaited = self._awaited.pop(number)
        failed = bool(bytes(message.error))
        head = b'"id":%d,"error":' if failed else b'"id":%d,"result":'
        self._send(_text(head % awaited.number, message.error if failed else message.result, awaited.session))

    def too_large(self, number: int, error: MessageTooLarge) -> None:
        """Answer instead of Chromium."""
        awaited = self._awaited.pop(number)
        refusal = msgspec.json.encode(_Refusal(_SERVER_ERROR, str(error)))
        self._send(_text(b'"id":%d,"error":' % awaited.number, refusal, awaited.session))

    def _drop(self, name: str) -> None:
        """Forget a session and all below it."""
        gone = [name]
        for each in gone:
            session = self._sessions.pop(each, None)
            if session is not None:
                gone += session.children
                self._connection.take_back(each)
        dropped = set(gone)
        unanswered = [each for each, awaited in self._awaited.items() if (awaited.session or self.root) in dropped]
        self._connection.forget(unanswered)
        for number in unanswered:
            del self._awaited[number]


def _text(head: bytes, content: bytes | msgspec.Raw, session: str) -> bytes:
    tail = b',"sessionId":%b}' % msgspec.json.encode(session) if session else b"}"
    return b"".join((b"{", head, content, tail))
