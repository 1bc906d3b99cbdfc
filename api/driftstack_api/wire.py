"""What answers bytes that are no HTTP request: the server itself, before any application; also with a problem."""

from __future__ import annotations

import uuid

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from driftstack_api.problems import Problem, render


def http_protocol(base: str) -> type[HttpToolsProtocol]:
    """Return the HTTP protocol class for uvicorn; base is what problem types begin with."""

    class ProblemProtocol(HttpToolsProtocol):
        """HTTP/1.1 whose own refusals are problems."""

        def send_400_response(self, msg: str) -> None:
            """Answer what could not be parsed, and hang up."""
            self.transport.write(malformed(base))
            self.transport.close()

    return ProblemProtocol


def malformed(base: str) -> bytes:
    """Return the whole answer to bytes that are no HTTP request."""
    request_id = f"req_{uuid.uuid4().hex}"
    headers = {"X-Request-Id": request_id, "Cache-Control": "no-store, private", "Connection": "close"}
    problem = Problem("bad-request", "This is not a well-formed HTTP request.", headers=headers)
    answer = render(problem, base, request_id)
    lines = [b"HTTP/1.1 400 Bad Request", *(name + b": " + value for name, value in answer.raw_headers)]
    return b"\r\n".join([*lines, b"", bytes(answer.body)])
