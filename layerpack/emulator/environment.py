"""An execution environment: a sandbox that is initialised once and answers one event at a time.

Phases, limits and errors are those of AWS's "Understanding the Lambda execution environment
lifecycle" and "Troubleshoot invocation issues in Lambda".
"""

from __future__ import annotations

import json
import math
import re
import signal
import threading
import time
import uuid
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from queue import Empty
from typing import Final

from layerpack.emulator.output import Output
from layerpack.emulator.runtime_api import LARGEST_PAYLOAD, Message, Request, RuntimeApi
from layerpack.emulator.sandbox import Program, Running, Settings

#: What Lambda gives initialisation; beyond it, it begins anew within the first invocation.
INIT_SECONDS: Final = 10.0
_FUNCTION_ARN: Final = "arn:aws:lambda:us-east-1:000000000000:function:{}"
_MB: Final = 2**20
# What Invoke gives of the log.
_TAIL_BYTES: Final = 4096
# Of what a process printed that ended by itself.
_WORDS_LINES: Final = 10
_WORDS_BYTES: Final = 2000
# A message may have lines of its own, and begin where the function's last line ended.
_ERROR_LINES: Final = re.compile(rb"\[(?:ERROR|CRITICAL)\].*", re.DOTALL)


@dataclass(frozen=True, kw_only=True, slots=True)
class Invocation:
    """How an event was answered.

    `payload` is JSON: the handler's answer, or Lambda's description of an error, whose type is
    `error_type` (empty where there is none). `read_bytes` is what they read of files and mapped of
    them since the environment began. Durations are in milliseconds; `init_ms` is None where
    the environment had been initialised before, or had to be within the invocation; `memory_mb` is
    the most that the function's processes took. `last_words` are the last lines that a process
    printed which ended by itself; empty for all others.
    """

    request: str
    payload: bytes
    error_type: str
    duration_ms: float
    billed_ms: int
    init_ms: float | None
    memory_mb: int
    read_bytes: int
    last_words: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class _Answer:
    """What an invocation gave; `fatal` where the environment cannot go on; `last_words` as in
    Invocation."""

    payload: bytes
    error_type: str = ""
    fatal: bool = False
    last_words: str = ""


class Environment:
    """One environment, which is initialised at once. `start` starts the sandbox for each of its
    lives; `log` gets what the function prints and what Lambda says of it, as bytes, from any
    thread. Raises what `start` raises."""

    def __init__(
        self,
        program: Program,
        settings: Settings,
        start: Callable[[Program, Settings], Running],
        log: Callable[[bytes], None],
    ) -> None:
        self._program = program
        self._settings = settings
        self._start = start
        self._sink = log
        self._at_start = True
        self._tail = bytearray()
        self._tail_lock = threading.Lock()
        self._words = bytearray()
        #: What it ran code of (see Running.mapped), once it was initialised or invoked.
        self.mapped: set[str] = set()
        self._life: _Life | None = self._begin()
        self._is_new = True

    def invoke(self, event: bytes, client_context: str = "") -> Invocation:
        """Have the handler answer an event (JSON). Every failure is an answer, as on Lambda; after
        one that ends the process, the next event finds an environment that begins anew."""
        request = Request(
            id=str(uuid.uuid4()),
            event=event,
            deadline_ms=0,
            function_arn=_FUNCTION_ARN.format(self._program.name),
            client_context=client_context,
            trace_id=f"Root=1-{int(time.time()):08x}-{uuid.uuid4().hex[:24]};Sampled=0",
        )
        with self._tail_lock:
            self._tail.clear()
        began = time.monotonic()
        answer: _Answer | None
        answer, init_ms = self._initialised(request)
        if init_ms is not None:
            began = time.monotonic()
        if answer is None and self._life is not None:
            answer = self._answered(self._life, request, began + self._settings.timeout)
        assert answer is not None  # noqa: S101 (there is a life where there is no answer yet)
        duration = (time.monotonic() - began) * 1000
        memory, read = self._end_invocation(fatal=answer.fatal)
        invocation = Invocation(
            request=request.id,
            payload=answer.payload,
            error_type=answer.error_type,
            duration_ms=duration,
            billed_ms=math.ceil(duration + (init_ms or 0)),
            init_ms=init_ms,
            memory_mb=memory,
            read_bytes=read,
            last_words=answer.last_words,
        )
        self._report(invocation, fatal=answer.fatal)
        return invocation

    def initialise(self) -> str:
        """Wait until the handler is imported, as before the first event: Lambda's description of
        the error, in JSON; empty where there is none."""
        assert self._life is not None  # noqa: S101
        message = self._life.wait(self._life.began + self._settings.timeout)
        if message is not None and message.kind == "ready":
            self._look(self._life)
            return ""
        if message is not None and message.kind == "init error":
            return message.body.decode(errors="replace")
        kind, text = "Runtime.ExitError", _exit_reason(self._life.code)
        self._life.output.flush()
        if message is None:
            kind = "Sandbox.Timedout"
            text = f"the import did not end within {self._settings.timeout:.2f} seconds"
        return _described(kind, text, fatal=True).payload.decode()

    @property
    def last_words(self) -> str:
        """The last lines that the function printed, a few at most."""
        with self._tail_lock:
            lines = bytes(self._words).decode(errors="replace").splitlines()
        return "\n".join(lines[-_WORDS_LINES:])

    @property
    def log_tail(self) -> bytes:
        """The last 4 KB of the log, since the last invocation began."""
        with self._tail_lock:
            return bytes(self._tail)

    def interrupt(self) -> None:
        """End what it does, from another thread: the invocation gives an error."""
        life = self._life
        if life is not None:
            life.kill("interrupted")

    def close(self) -> None:
        """End it."""
        if self._life is not None:
            self._life.end()
            self._life = None

    def _begin(self) -> _Life:
        with self._tail_lock:
            self._words.clear()
        running = self._start(self._program, self._settings)
        try:
            return _Life(running, self._printed)
        except BaseException:
            # No thread or descriptor is free.
            running.kill()
            running.end()
            raise

    def _initialised(self, request: Request) -> tuple[_Answer | None, float | None]:
        """Wait until the handler is imported: an answer where that fails, and the milliseconds that
        it took where they count as initialisation."""
        begins = f"START RequestId: {request.id} Version: $LATEST\n"
        deadline = time.monotonic() + self._settings.timeout
        if self._life is not None and not self._is_new:
            self._say(begins)
            return None, None
        if self._life is not None:
            self._is_new = False
            message = self._life.wait(self._life.began + INIT_SECONDS)
            # It may have been over long before somebody asked.
            ended = time.monotonic() if message is None else message.at
            init_ms = (ended - self._life.began) * 1000
            in_time = init_ms <= INIT_SECONDS * 1000
            if message is not None and message.kind == "ready" and in_time:
                self._life.output.flush()
                self._say(begins)
                return None, init_ms
            status = "timeout" if message is None or not in_time else "error"
            self._life.end()
            self._say(
                f"INIT_REPORT Init Duration: {init_ms:.2f} ms\tPhase: init\tStatus: {status}\n"
            )
            deadline = time.monotonic() + self._settings.timeout
        # Within the invocation, for which its time is enough or not.
        self._say(begins)
        self._life = self._begin()
        message = self._life.wait(deadline)
        if message is not None and message.kind == "ready":
            return None, None
        return self._failed(self._life, request, message), None

    def _answered(self, life: _Life, request: Request, deadline: float) -> _Answer:
        left = max(0.0, deadline - time.monotonic())
        life.api.give(
            Request(
                id=request.id,
                event=request.event,
                deadline_ms=int((time.time() + left) * 1000),
                function_arn=request.function_arn,
                client_context=request.client_context,
                trace_id=request.trace_id,
            )
        )
        message = life.wait(deadline)
        # A client whose connection broke asks once more.
        while message is not None and message.kind == "ready":
            message = life.wait(deadline)
        if message is None or message.kind in ("ended", "init error"):
            return self._failed(life, request, message)
        if message.kind == "too large":
            text = (
                "Response payload size exceeded maximum allowed payload size "
                f"({LARGEST_PAYLOAD} bytes)."
            )
            return _described("Function.ResponseSizeTooLarge", text, fatal=True)
        # The invocation lasts until the client asks for the next event, as on Lambda.
        after = life.wait(deadline)
        if after is None:
            return self._failed(life, request, None)
        error_type = _type(message) if message.kind == "error" else ""
        fatal = after.kind != "ready"
        return _Answer(payload=message.body, error_type=error_type, fatal=fatal)

    def _failed(self, life: _Life, request: Request, message: Message | None) -> _Answer:
        if message is None:
            seconds = f"{self._settings.timeout:.2f} seconds"
            life.kill("timeout")
            life.output.flush()
            now = time.strftime("%Y-%m-%dT%H:%M:%S.000Z", time.gmtime())
            self._say(f"{now} {request.id} Task timed out after {seconds}\n\n")
            return _described(
                "Sandbox.Timedout",
                f"RequestId: {request.id} Error: Task timed out after {seconds}",
                fatal=True,
            )
        if message.kind == "init error":
            return _Answer(payload=message.body, error_type=_type(message), fatal=True)
        kind = "Runtime.OutOfMemory" if life.running.out_of_memory else "Runtime.ExitError"
        reason = _exit_reason(life.code)
        life.output.flush()
        self._say(f"RequestId: {request.id} Error: {reason}\n{kind}\n")
        answer = _described(kind, f"RequestId: {request.id} Error: {reason}", fatal=True)
        return replace(answer, last_words=self.last_words)

    def _end_invocation(self, *, fatal: bool) -> tuple[int, int]:
        """The most memory that was taken, in MB, and the bytes that were read."""
        life = self._life
        assert life is not None  # noqa: S101 (an invocation begins one)
        life.output.flush()
        peak, read = self._look(life)
        if fatal:
            life.end()
            self._life = None
        return min(math.ceil(peak / _MB), self._settings.memory_mb), read

    def _look(self, life: _Life) -> tuple[int, int]:
        """See Running."""
        found = life.running.look()
        self.mapped |= life.running.mapped
        return found

    def _report(self, invocation: Invocation, *, fatal: bool) -> None:
        """Lambda's last lines on an invocation."""
        parts = [
            f"REPORT RequestId: {invocation.request}",
            f"Duration: {invocation.duration_ms:.2f} ms",
            f"Billed Duration: {invocation.billed_ms} ms",
            f"Memory Size: {self._settings.memory_mb} MB",
            f"Max Memory Used: {invocation.memory_mb} MB",
        ]
        if invocation.init_ms is not None:
            parts.append(f"Init Duration: {invocation.init_ms:.2f} ms")
        if fatal and invocation.error_type:
            timed_out = invocation.error_type == "Sandbox.Timedout"
            parts.append("Status: timeout" if timed_out else "Status: error")
            if not timed_out:
                parts.append(f"Error Type: {invocation.error_type}")
        self._say(f"END RequestId: {invocation.request}\n" + "\t".join(parts) + "\t\n")

    def _say(self, line: str) -> None:
        """Lambda's own lines begin where the function's end."""
        self._log((b"" if self._at_start else b"\n") + line.encode())

    def _printed(self, data: bytes) -> None:
        """What the function prints, without Lambda's own lines."""
        with self._tail_lock:
            self._words += data[-_WORDS_BYTES:]
            del self._words[:-_WORDS_BYTES]
        self._log(data)

    def _log(self, data: bytes) -> None:
        # Its client joins the lines of an error so, and CloudWatch parts them.
        data = _ERROR_LINES.sub(lambda found: found[0].replace(b"\r", b"\n"), data)
        self._at_start = data.endswith(b"\n")
        with self._tail_lock:
            self._tail += data[-_TAIL_BYTES:]
            del self._tail[:-_TAIL_BYTES]
        try:
            self._sink(data)
        except OSError:
            # Whoever read it has gone; the function goes on all the same.
            self._sink = _nobody


class _Life:
    """One process of an environment, from its start (`began`, by the monotonic clock) to its end.

    `killed` says why we ended it, and is empty where it ended by itself, with `code`.
    """

    def __init__(self, running: Running, log: Callable[[bytes], None]) -> None:
        self.running = running
        self.began = time.monotonic()
        self.killed = ""
        self.code = 0
        self.api = RuntimeApi(running.listener, lambda text: log(f"{text}\n".encode()))
        self.output = Output(running.output, log)
        self._waiter = threading.Thread(target=self._await_end, daemon=True)
        self._waiter.start()

    def wait(self, until: float) -> Message | None:
        """What happens next, None where nothing does until that time (by the monotonic clock)."""
        with suppress(Empty):
            return self.api.messages.get(timeout=max(0.0, until - time.monotonic()))
        return None

    def kill(self, why: str) -> None:
        """End the process, for a reason."""
        self.killed = self.killed or why
        self.running.kill()

    def end(self) -> None:
        """End the process, if it runs, and leave nothing behind."""
        self.kill("it is over")
        self._waiter.join()
        # Its last words come before the client finds that nobody listens.
        self.output.close()
        self.api.close()
        self.running.end()

    def _await_end(self) -> None:
        self.code = self.running.wait()
        self.api.messages.put(Message(kind="ended"))


def _nobody(data: bytes) -> None:
    """A log that nobody reads."""


def _described(kind: str, text: str, *, fatal: bool) -> _Answer:
    payload = json.dumps({"errorType": kind, "errorMessage": text}).encode()
    return _Answer(payload=payload, error_type=kind, fatal=fatal)


def _type(message: Message) -> str:
    """The type of an error that the client reported."""
    if message.error_type:
        return message.error_type
    try:
        return str(json.loads(message.body)["errorType"])
    except (ValueError, KeyError, TypeError):
        return "Unhandled"


def _exit_reason(code: int) -> str:
    """How a process ended, in Lambda's words."""
    if code < 0:
        name = signal.strsignal(-code) or str(-code)
        return f"Runtime exited with error: signal: {name.lower()}"
    if code == 0:
        return "Runtime exited without providing a reason"
    return f"Runtime exited with error: exit status {code}"
