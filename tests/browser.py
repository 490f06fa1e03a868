"""Chromium without a window or a network, for tests of the pages that are written.

It is driven over its DevTools protocol through two pipes (``--remote-debugging-pipe``): messages
are JSON with a zero byte at their end. So no library is needed, no port is opened, and processes
of pytest that run beside each other cannot clash; each browser has a folder of its own for what it
writes. One tab is open (:class:`Page`), which keeps what its pages report as errors and which
addresses they ask for.
"""

import base64
import contextlib
import fcntl
import json
import os
import select
import shutil
import signal
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

PROGRAM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser"))), None)
"""Path of Chromium, None where there is none."""
needs_chromium = pytest.mark.skipif(
    PROGRAM is None, reason="no chromium is installed (apt-get install chromium)"
)
"""Mark of a test that opens a page."""

TIMEOUT = 60.0
"""Seconds within which an answer must come; a browser that hangs is no test that hangs."""
_OPTIONS = (
    *("--headless=new", "--remote-debugging-pipe", "--no-sandbox", "--disable-gpu"),
    *("--disable-dev-shm-usage", "--disable-breakpad", "--disable-crash-reporter"),
    *("--no-first-run", "--no-default-browser-check", "--disable-extensions", "--mute-audio"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
    *("--force-device-scale-factor=1", "--host-resolver-rules=MAP * ~NOTFOUND"),
)
_KEYS = {
    **{"ArrowLeft": 37, "ArrowUp": 38, "ArrowRight": 39, "ArrowDown": 40},
    **{"Tab": 9, "Enter": 13, "Escape": 27, " ": 32, "Home": 36, "End": 35},
    **{"PageUp": 33, "PageDown": 34},
}


class ScriptError(AssertionError):
    """An error that a script of the page raised."""


class Page:
    """The one tab of a browser.

    Attributes:
        errors: what pages reported as errors: exceptions, console errors, refused requests.
        requests: addresses that pages asked for, themselves included, without ``data:``.
        process: number of the browser's process, which leads its group.
    """

    def __init__(self, process: int, to_browser: int, from_browser: int):
        self.errors: list[str] = []
        self.requests: list[str] = []
        self.process = process
        self._to, self._from = to_browser, from_browser
        self._buffer, self._count, self._session = b"", 0, ""
        self._loads = 0
        tab = self.send("Target.createTarget", url="about:blank")["targetId"]
        attached = self.send("Target.attachToTarget", targetId=tab, flatten=True)
        self._session = attached["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.send(f"{domain}.enable")
        self.send(
            "Network.emulateNetworkConditions",
            **{"offline": True, "latency": 0, "downloadThroughput": 0, "uploadThroughput": 0},
        )

    def send(self, method: str, **params: Any) -> dict[str, Any]:
        """Call a method of the protocol and return its result."""
        self._count += 1
        call = {"id": self._count, "method": method, "params": params}
        call |= {"sessionId": self._session} if self._session else {}
        data = json.dumps(call).encode() + b"\0"
        while data:
            data = data[os.write(self._to, data) :]
        while True:
            message = self._receive()
            if message.get("id") == self._count:
                if "error" in message:
                    raise ScriptError(f"{method}: {message['error']['message']}")
                return message["result"]

    def open(self, path: Path) -> None:
        """Open a file and wait until it is loaded."""
        loads = self._loads
        self.send("Page.navigate", url=path.resolve().as_uri())
        while self._loads == loads:
            self._receive()

    def evaluate(self, expression: str) -> Any:
        """Return the value of an expression in JavaScript; of a promise, what it comes to.

        Raises:
            ScriptError: it raised.
        """
        found = self.send(
            "Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True
        )
        if "exceptionDetails" in found:
            raise ScriptError(_described(found["exceptionDetails"]))
        return found["result"].get("value")

    def wait_for(self, expression: str) -> Any:
        """Return the value of an expression as soon as it is true."""
        end = time.monotonic() + TIMEOUT
        while not (value := self.evaluate(expression)):
            if time.monotonic() > end:
                raise ScriptError(f"never true: {expression}")
            time.sleep(0.02)
        return value

    def place_of(self, selector: str) -> tuple[float, float]:
        """Return the middle of an element in the window, to which it is scrolled."""
        x, y = self.evaluate(
            f"(() => {{ const e = document.querySelector({json.dumps(selector)});"
            " e.scrollIntoView({block: 'center', behavior: 'instant'});"
            " const b = e.getBoundingClientRect();"
            " return [b.x + b.width / 2, b.y + b.height / 2]; })()"
        )
        return x, y

    def click(self, where: str | tuple[float, float]) -> None:
        """Click the middle of an element, named by its selector, or a place in the window."""
        x, y = self.place_of(where) if isinstance(where, str) else where
        self._mouse("mousePressed", x, y)
        self._mouse("mouseReleased", x, y)

    def drag(self, start: tuple[float, float], end: tuple[float, float], steps: int = 5) -> None:
        """Move the pointer from one place of the window to another with its button held."""
        self._mouse("mousePressed", *start)
        for step in range(1, steps + 1):
            share = step / steps
            x, y = (a + share * (b - a) for a, b in zip(start, end, strict=True))
            self._mouse("mouseMoved", x, y)
        self._mouse("mouseReleased", *end)

    def press(self, key: str) -> None:
        """Press and release a key by its name: a character, ``ArrowRight``, ``Tab``, ``Enter``."""
        code = _KEYS.get(key, ord(key[0].upper()))
        text = {" ": " ", "Enter": "\r"}.get(key, key if len(key) == 1 else "")
        common = {"key": key, "windowsVirtualKeyCode": code}
        self.send("Input.dispatchKeyEvent", type="keyDown", text=text, **common)
        self.send("Input.dispatchKeyEvent", type="keyUp", **common)

    def resize(self, width: int, height: int, *, is_phone: bool = False) -> None:
        """Set the size of the window in pixels of CSS."""
        self.send(
            "Emulation.setDeviceMetricsOverride",
            **{"width": width, "height": height, "deviceScaleFactor": 1, "mobile": is_phone},
        )

    def emulate(self, media: str = "", **features: str) -> None:
        """Show the page as another medium does: ``print``; features: ``prefers_color_scheme``."""
        pairs = [{"name": k.replace("_", "-"), "value": v} for k, v in features.items()]
        self.send("Emulation.setEmulatedMedia", media=media, features=pairs)

    def screenshot(self, path: Path, *, is_whole: bool = True) -> None:
        """Write a PNG of the whole page, or of what the window shows."""
        shot = self.send("Page.captureScreenshot", format="png", captureBeyondViewport=is_whole)
        path.write_bytes(base64.b64decode(shot["data"]))

    def _mouse(self, kind: str, x: float, y: float) -> None:
        held = {"button": "left", "buttons": int(kind != "mouseReleased"), "clickCount": 1}
        self.send("Input.dispatchMouseEvent", type=kind, x=x, y=y, **held)

    def _receive(self) -> dict[str, Any]:
        """Return the next message, after what it says of errors and requests is noted."""
        while b"\0" not in self._buffer:
            if not select.select([self._from], [], [], TIMEOUT)[0]:
                raise TimeoutError(f"chromium gave no answer within {TIMEOUT:.0f} seconds")
            data = os.read(self._from, 2**20)
            if not data:
                raise ConnectionError("chromium has ended")
            self._buffer += data
        line, _, self._buffer = self._buffer.partition(b"\0")
        message = json.loads(line)
        self._note(message.get("method", ""), message.get("params", {}))
        return message

    def _note(self, event: str, params: dict[str, Any]) -> None:
        if event == "Page.loadEventFired":
            self._loads += 1
        elif event == "Runtime.exceptionThrown":
            self.errors.append(_described(params["exceptionDetails"]))
        elif event == "Runtime.consoleAPICalled" and params["type"] in ("error", "assert"):
            values = (str(each.get("value", each.get("description"))) for each in params["args"])
            self.errors.append(" ".join(values))
        elif event == "Log.entryAdded" and params["entry"]["level"] == "error":
            entry = params["entry"]
            self.errors.append(f"{entry['text']} {entry.get('url', '')}".strip())
        elif event == "Network.requestWillBeSent":
            url = params["request"]["url"]
            self.requests += [] if url.startswith("data:") else [url]


def _described(details: dict[str, Any]) -> str:
    exception = details.get("exception", {})
    return exception.get("description") or str(exception.get("value", details["text"]))


@contextlib.contextmanager
def opened(width: int = 1200, height: int = 900) -> Iterator[Page]:
    """Start Chromium and yield its tab; afterwards all its processes have ended."""
    assert PROGRAM is not None
    pipes = [_high(each) for each in (*os.pipe(), *os.pipe())]
    reads, to_browser, from_browser, writes = pipes
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        command = [PROGRAM, *_OPTIONS, f"--user-data-dir={profile}", "about:blank"]
        nowhere = os.open(os.devnull, os.O_RDWR)
        process = os.posix_spawn(
            PROGRAM,
            command,
            {**os.environ, "HOME": profile, "XDG_CONFIG_HOME": profile, "TMPDIR": profile},
            file_actions=[
                *((os.POSIX_SPAWN_DUP2, nowhere, descriptor) for descriptor in (0, 1, 2)),
                # The numbers that --remote-debugging-pipe reads from and writes to.
                *((os.POSIX_SPAWN_DUP2, reads, 3), (os.POSIX_SPAWN_DUP2, writes, 4)),
            ],
            setpgroup=0,
        )
        for descriptor in (reads, writes, nowhere):
            os.close(descriptor)
        try:
            page = Page(process, to_browser, from_browser)
            page.resize(width, height)
            yield page
        finally:
            os.close(to_browser)  # at which the browser ends by itself
            os.close(from_browser)
            _end(process)


def _high(descriptor: int) -> int:
    """Return a copy with a number above those that a program is started with."""
    copy = fcntl.fcntl(descriptor, fcntl.F_DUPFD_CLOEXEC, 20)
    os.close(descriptor)
    return copy


def _end(process: int) -> None:
    """Wait for a process for a few seconds, then kill it and its children."""
    end = time.monotonic() + 5
    while time.monotonic() < end:
        if os.waitpid(process, os.WNOHANG)[0]:
            break
        time.sleep(0.02)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process, signal.SIGKILL)
    with contextlib.suppress(ChildProcessError):
        os.waitpid(process, 0)
