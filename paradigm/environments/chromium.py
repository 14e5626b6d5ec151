"""Headless Chromium without a network, spoken to over two pipes in the DevTools protocol (https://chromedevtools.github.io/devtools-protocol/).

Nothing listens on a port. Every host name is unknown to it and every connection goes to a proxy that is not there, so that only files can be opened.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import select
import shutil
import signal
import tempfile
import threading
import time
import weakref
from pathlib import Path
from typing import Any

from paradigm.environments.protocol import EnvironmentFault

__all__ = ["BrowserUnavailable", "Chromium", "Page", "find_chromium"]

_NAMES = ("chromium", "chromium-browser", "google-chrome-stable", "google-chrome")
_PROFILES = "paradigm-chromium-"
_FLAGS = (
    "--headless=new", "--remote-debugging-pipe", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run", "--no-default-browser-check",
    # no network
    "--host-resolver-rules=MAP * ~NOTFOUND", "--proxy-server=http://127.0.0.1:1", "--proxy-bypass-list=<-loopback>", "--disable-quic",
    "--force-webrtc-ip-handling-policy=disable_non_proxied_udp", "--disable-background-networking", "--disable-component-update", "--disable-sync",
    "--disable-domain-reliability", "--no-pings", "--disable-extensions", "--disable-default-apps", "--dns-prefetch-disable",
    # the same in every window, looked at or not
    "--disable-background-timer-throttling", "--disable-renderer-backgrounding", "--disable-backgrounding-occluded-windows",
    "--force-device-scale-factor=1", "--window-size=500,400", "--lang=en-US", "--js-flags=--max-old-space-size=256", "--mute-audio",
)  # fmt: skip


class BrowserUnavailable(RuntimeError):
    """There is no Chromium here, or it does not start; the message says what to install."""


def find_chromium() -> str:
    """The path of Chromium or Chrome. Raises: BrowserUnavailable."""
    found = next((path for name in _NAMES if (path := shutil.which(name))), None)
    if found is None:
        raise BrowserUnavailable("there is no Chromium: install it from the system's packages (Debian: apt-get install chromium)")
    return found


class Chromium:
    """A browser process. Safe with threads: calls are made one after another.

    Args:
        executable: None: as `find_chromium` says.
        timeout: seconds that one call may take, after which the browser is killed.
        start_timeout: seconds that starting may take.
    Raises: BrowserUnavailable.
    """

    def __init__(self, executable: str | None = None, *, timeout: float = 5.0, start_timeout: float = 60.0):
        path = executable or find_chromium()
        self._timeout = timeout
        self._lock = threading.RLock()
        self._buffer, self._number = b"", 0
        _remove_left_profiles()
        self._profile = tempfile.mkdtemp(prefix=f"{_PROFILES}{os.getpid()}-")
        # Chromium reads descriptor 3 and writes 4; ours are kept out of their way
        theirs_in, self._out = _pipe()
        self._in, theirs_out = _pipe()
        flags = [*_FLAGS, f"--user-data-dir={self._profile}", *(("--no-sandbox",) if os.geteuid() == 0 else ())]  # which it refuses to be as root
        environment = {"HOME": self._profile, "PATH": os.environ.get("PATH", os.defpath), "LANG": "C.UTF-8"}
        actions = [(os.POSIX_SPAWN_DUP2, theirs_in, 3), (os.POSIX_SPAWN_DUP2, theirs_out, 4),
                   (os.POSIX_SPAWN_OPEN, 1, os.devnull, os.O_WRONLY, 0), (os.POSIX_SPAWN_OPEN, 2, os.devnull, os.O_WRONLY, 0)]  # fmt: skip
        try:
            self.pid = os.posix_spawn(path, [path, *flags, "about:blank"], environment, file_actions=actions)
        except OSError as error:
            os.close(self._in)
            os.close(self._out)
            shutil.rmtree(self._profile)
            raise BrowserUnavailable(f"{path} must be Chromium's executable: {error}") from error
        finally:
            os.close(theirs_in)
            os.close(theirs_out)
        self._end = weakref.finalize(self, _end, os.getpid(), self.pid, (self._in, self._out), self._profile)
        try:
            self.version = self.call("Browser.getVersion", timeout=start_timeout)["product"]
        except EnvironmentFault as fault:
            raise BrowserUnavailable(f"{path} did not start: {fault}") from fault

    @property
    def is_open(self) -> bool:
        """Whether it was neither closed nor killed."""
        return self._end.alive

    def call(self, method: str, session: str = "", timeout: float | None = None, **parameters: Any) -> dict[str, Any]:
        """The result of a command. Raises: EnvironmentFault ("timeout", "exit") after which the browser is gone; RuntimeError for a refusal."""
        with self._lock:
            if not self.is_open:
                raise EnvironmentFault("exit", "the browser is gone")
            number = self._send(method, session, parameters)
            until = time.monotonic() + (self._timeout if timeout is None else timeout)
            while True:
                message = self._receive(until)
                if message.get("method") == "Page.javascriptDialogOpening":  # everything waits for an answer to it
                    self._send("Page.handleJavaScriptDialog", message.get("sessionId", ""), {"accept": False})
                if message.get("id") != number:
                    continue
                if "error" in message:
                    raise RuntimeError(f"{method}: {message['error'].get('message')}")
                result: dict[str, Any] = message["result"]
                return result

    def close(self) -> None:
        """Ends the browser."""
        with self._lock:
            self._end()

    def _send(self, method: str, session: str, parameters: dict[str, Any]) -> int:
        self._number += 1
        message = {"id": self._number, "method": method, "params": parameters} | ({"sessionId": session} if session else {})
        data = json.dumps(message).encode() + b"\0"
        try:
            while data:
                data = data[os.write(self._out, data) :]
        except BrokenPipeError:
            self.close()
            raise EnvironmentFault("exit", "the browser is gone") from None
        return self._number

    def _receive(self, until: float) -> dict[str, Any]:
        while b"\0" not in self._buffer:
            left = until - time.monotonic()
            if left <= 0 or not select.select([self._in], [], [], left)[0]:
                self.close()
                raise EnvironmentFault("timeout", "the browser did not answer in time")
            data = os.read(self._in, 1 << 16)
            if not data:
                self.close()
                raise EnvironmentFault("exit", "the browser is gone")
            self._buffer += data
        message, _, self._buffer = self._buffer.partition(b"\0")
        decoded: dict[str, Any] = json.loads(message)
        return decoded


class Page:
    """A window of its own, with no other's cookies or storage. Its scripts see the page; `evaluate` speaks to their world, `observe` to one apart."""

    def __init__(self, browser: Chromium):
        self._browser = browser
        self._context = browser.call("Target.createBrowserContext")["browserContextId"]
        self._target = browser.call("Target.createTarget", url="about:blank", browserContextId=self._context)["targetId"]
        self._session = browser.call("Target.attachToTarget", targetId=self._target, flatten=True)["sessionId"]
        self.call("Page.enable")
        self.call("Emulation.setFocusEmulationEnabled", enabled=True)
        self._apart = 0

    @property
    def is_open(self) -> bool:
        """Whether its browser is still there."""
        return self._browser.is_open

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        """As `Chromium.call`."""
        return self._browser.call(method, self._session, **parameters)

    def open(self, path: Path) -> None:
        """Loads a file. Raises: RuntimeError if it cannot."""
        answer = self.call("Page.navigate", url=path.as_uri())
        if "errorText" in answer:
            raise RuntimeError(f"{path} cannot be opened: {answer['errorText']}")
        self.evaluate("new Promise(done => document.readyState === 'complete' ? done() : addEventListener('load', () => setTimeout(done, 0)))")
        self._apart = self.call("Page.createIsolatedWorld", frameId=answer["frameId"], worldName="paradigm")["executionContextId"]

    def evaluate(self, expression: str) -> Any:
        """The value of an expression in the page's own world. Raises: RuntimeError if it throws."""
        return self._value(self.call("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True))

    def observe(self, expression: str) -> Any:
        """The same in a world that shares the page's elements, but not its variables."""
        answer = self.call("Runtime.evaluate", expression=expression, contextId=self._apart, returnByValue=True, awaitPromise=True)
        return self._value(answer)

    def close(self) -> None:
        """Closes the window, if its browser is still there."""
        with contextlib.suppress(EnvironmentFault, RuntimeError):
            self._browser.call("Target.disposeBrowserContext", browserContextId=self._context)

    @staticmethod
    def _value(answer: dict[str, Any]) -> Any:
        if "exceptionDetails" in answer:
            raise RuntimeError(f"a script failed: {answer['exceptionDetails'].get('exception', {}).get('description', '')[:300]}")
        return answer["result"].get("value")


def _pipe() -> list[int]:
    """A pipe whose ends are past 4."""
    pair = os.pipe()
    copies = [fcntl.fcntl(end, fcntl.F_DUPFD_CLOEXEC, 10) for end in pair]
    for end in pair:
        os.close(end)
    return copies


def _end(owner: int, pid: int, pipes: tuple[int, int], profile: str) -> None:
    if os.getpid() != owner:  # a process forked from it, whose browser this is not
        return
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)
    with contextlib.suppress(ChildProcessError):
        os.waitpid(pid, 0)
    for pipe in pipes:
        os.close(pipe)
    shutil.rmtree(profile, ignore_errors=True)


def _remove_left_profiles() -> None:
    """Removes what browsers left whose worker was killed."""
    for folder in Path(tempfile.gettempdir()).glob(f"{_PROFILES}*"):
        owner = folder.name.removeprefix(_PROFILES).split("-")[0]
        if owner.isdecimal() and not Path("/proc", owner).exists():
            shutil.rmtree(folder, ignore_errors=True)
