"""`POST /landed`: a sender says that something lies under a watched address, and that inbox is looked at now.

A request can make perennial look where it looks anyway, and nowhere else; so a message that is repeated does no harm.
It carries a bearer token (`Authorization: Bearer …`), or a signature: `X-Perennial-Timestamp`, seconds since 1970,
at most five minutes off, and `X-Perennial-Signature: sha256=…`, the HMAC-SHA256 of `<timestamp>.<body>` in
hexadecimal. Nothing of a request is logged but its task and its answer.
"""

import asyncio
import hashlib
import hmac
import logging
import os
import re
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import uvicorn
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from pipelines.edge.home import Home
from pipelines.edge.landing import load_tasks
from pipelines.edge.settings import Receiver

logger = logging.getLogger(__name__)

SECRET_CHARACTERS = 16  # at least
CLOCK_SECONDS = 300  # how far a signed message's time may be off
BODY_SECONDS = 10.0  # for a request's body to arrive
CONNECTIONS = 2048  # open at once; with more, everybody gets 503
START_SECONDS = 30.0

Take = Callable[[str, str], bool]  # task and address -> whether an inbox of the task holds the address


class Notice(BaseModel):
    """What a sender writes."""

    model_config = ConfigDict(extra="forbid", strict=True)

    task: str = Field(min_length=1, max_length=200)
    address: str = Field(min_length=1, max_length=4096)


@dataclass(frozen=True, slots=True, repr=False)
class Secrets:
    """What a sender must know: one of the two."""

    token: bytes
    key: bytes

    @classmethod
    def of(cls, receiver: Receiver) -> "Secrets":
        """The secrets that the environment holds.

        Raises:
            ValueError: there is none, or one that can be guessed.
        """
        names = (receiver.token_variable, receiver.hmac_variable)
        values = [os.environ.get(name, "").strip() for name in names]
        for name, value in zip(names, values, strict=True):
            if 0 < len(value) < SECRET_CHARACTERS:
                raise ValueError(
                    f"{name}: wanted a secret of {SECRET_CHARACTERS} characters or more, found {len(value)}; "
                    "make one with `openssl rand -hex 32`"
                )
        if not any(values):
            raise ValueError(
                f"receiver: wanted a secret in the environment, as {names[0]} (a bearer token) or {names[1]} (a key "
                "for signatures), found neither; make one with `openssl rand -hex 32`, or turn the receiver off"
            )
        return cls(values[0].encode(), values[1].encode())

    def fit(self, request: Request, body: bytes) -> bool:
        """Whether a request comes from somebody who knows one of them."""
        kind, _, token = request.headers.get("authorization", "").partition(" ")
        if self.token and kind.lower() == "bearer":
            return hmac.compare_digest(token.strip().encode(), self.token)
        moment = request.headers.get("x-perennial-timestamp", "")
        if not self.key or not re.fullmatch(r"[0-9]{1,12}", moment):
            return False
        wanted = hmac.new(self.key, f"{moment}.".encode() + body, hashlib.sha256).hexdigest()
        found = request.headers.get("x-perennial-signature", "")
        genuine = hmac.compare_digest(found.encode(), f"sha256={wanted}".encode())
        return genuine and abs(time.time() - int(moment)) <= CLOCK_SECONDS


def make_app(home: Home, take: Take) -> Starlette:
    """The receiver; it hands on a task and an address, and `take` says whether an inbox of the task holds it.

    Raises:
        ValueError: the environment holds no secret for it.
    """
    receiver = home.settings.receiver
    secrets = Secrets.of(receiver)

    async def landed(request: Request) -> JSONResponse:
        body = await _body(request, receiver.max_bytes)
        if not secrets.fit(request, body):
            wanted = "wanted a bearer token, or a signature of this body and a time not long ago"
            raise HTTPException(401, wanted, {"WWW-Authenticate": "Bearer"})
        return await run_in_threadpool(_answer, home, take, _notice(request, body))

    async def health(_: Request) -> JSONResponse:
        return JSONResponse({"status": "ok"})

    async def refusal(_: Request, error: Exception) -> JSONResponse:
        assert isinstance(error, HTTPException)
        return JSONResponse({"error": error.detail}, error.status_code, error.headers)

    return Starlette(
        routes=[Route("/landed", landed, methods=["POST"]), Route("/health", health, methods=["GET"])],
        exception_handlers={HTTPException: refusal},
    )


async def _body(request: Request, max_bytes: int) -> bytes:
    """The body, read no further than it may be long."""
    too_long = HTTPException(413, f"wanted a body of at most {max_bytes:,} bytes", {"Connection": "close"})
    stated = request.headers.get("content-length", "0")
    if not re.fullmatch(r"[0-9]{1,18}", stated) or int(stated) > max_bytes:
        raise too_long
    body = b""
    try:
        async with asyncio.timeout(BODY_SECONDS):
            async for chunk in request.stream():
                body += chunk
                if len(body) > max_bytes:
                    raise too_long
    except TimeoutError as error:
        raise HTTPException(408, f"wanted the body within {BODY_SECONDS:g} s", {"Connection": "close"}) from error
    return body


def _notice(request: Request, body: bytes) -> Notice:
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
        raise HTTPException(415, "wanted the content type application/json")
    try:
        return Notice.model_validate_json(body)
    except ValidationError as error:
        problems = "; ".join(f"{'.'.join(map(str, each['loc'])) or 'body'}: {each['msg']}" for each in error.errors())
        wanted = 'wanted {"task": "a task", "address": "a path or address under one of its inboxes"} and nothing else'
        raise HTTPException(422, f"{wanted}; {problems[:500]}") from error


def _answer(home: Home, take: Take, notice: Notice) -> JSONResponse:
    try:
        tasks = load_tasks(home.root)
    except (OSError, ValueError) as error:
        logger.error("a notice for %s cannot be answered: %s", notice.task, error)
        raise HTTPException(500, "the workspace cannot be read; its log says why") from error
    if notice.task not in tasks:
        raise HTTPException(404, "no such task in data/tasks.yaml")
    if not take(notice.task, notice.address):
        logger.warning("a notice for %s named an address outside its inboxes: refused", notice.task)
        raise HTTPException(403, f"the address is under no inbox of {notice.task}; perennial looks nowhere else")
    logger.info("a notice for %s: its inbox is looked at", notice.task)
    return JSONResponse({"task": notice.task, "accepted": True}, 202)


@contextmanager
def receiving(home: Home, take: Take) -> Iterator[str]:
    """Listen in a thread of this process while the body runs; gives the address that senders write to.

    Raises:
        ValueError: the environment holds no secret for it.
        OSError: its port is taken, or its host is none of this machine's.
    """
    app = make_app(home, take)
    settings = home.settings.receiver
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    try:
        listening = socket.create_server((settings.host, settings.port), family=family, backlog=CONNECTIONS)
    except OSError as error:
        raise OSError(
            error.errno,
            f"receiver: cannot listen on {settings.host} port {settings.port} ({error.strerror}); senders know this "
            "port, so no other is taken: free it, or set receiver.port in perennial.yaml",
        ) from error
    server = uvicorn.Server(
        uvicorn.Config(
            app,
            log_config=None,
            log_level="warning",
            access_log=False,
            server_header=False,
            lifespan="off",
            limit_concurrency=CONNECTIONS,
            timeout_graceful_shutdown=2,
        )
    )
    thread = threading.Thread(target=server.run, args=[[listening]], daemon=True)
    thread.start()
    try:
        until = time.monotonic() + START_SECONDS
        while not server.started:
            if not thread.is_alive() or time.monotonic() > until:
                raise OSError(f"receiver: did not start within {START_SECONDS:g} s; its log says why")
            time.sleep(0.01)
        host = f"[{settings.host}]" if ":" in settings.host else settings.host
        logger.info("receiving notices at http://%s:%d/landed", host, settings.port)
        yield f"http://{host}:{settings.port}/landed"
    finally:
        server.should_exit = True
        thread.join(10)
        listening.close()
