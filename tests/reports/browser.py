"""A page in headless Chromium, spoken to over a pipe: no driver and no package is needed.

The protocol is Chromium's own (Chrome DevTools Protocol): JSON messages that end in a zero byte,
written to file descriptor 3 and read from 4 when it is started with `--remote-debugging-pipe`.
"""

from __future__ import annotations

import base64
import json
import os
import select
import shutil
import subprocess
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
_SECONDS = 60.0


def chromium() -> str | None:
    """The browser's file, None where none is installed."""
    return next((file for name in NAMES if (file := shutil.which(name))), None)


class Browser:
    """One tab; `with Browser() as tab: tab.open(file)`.

    Attributes:
        complaints: What the page wrote to the console as a warning or error, and failed requests.
        requests: Addresses that were fetched, without those inside the page (`data:`).
    """

    def __init__(self) -> None:
        self.complaints: list[str] = []
        self.requests: list[str] = []
        self._number = 0
        self._buffer = b""
        self._session: str | None = None
        self._events: list[str] = []
        self._folder = tempfile.TemporaryDirectory(ignore_cleanup_errors=True)
        self._start()

    def __enter__(self) -> Browser:
        target = self.send("Target.createTarget", url="about:blank")["targetId"]
        attached = self.send("Target.attachToTarget", targetId=target, flatten=True)
        self._session = attached["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.send(f"{domain}.enable")
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._process.terminate()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        os.close(self._to)
        os.close(self._from)
        self._folder.cleanup()

    def send(self, method: str, **parameters: Any) -> dict[str, Any]:
        """The answer to a command."""
        self._number += 1
        message: dict[str, Any] = {"id": self._number, "method": method, "params": parameters}
        if self._session is not None:
            message["sessionId"] = self._session
        os.write(self._to, json.dumps(message).encode() + b"\0")
        while True:
            answer = self._message()
            if answer.get("id") == self._number:
                if "error" in answer:
                    raise RuntimeError(f"{method}: {answer['error']}")
                result: dict[str, Any] = answer["result"]
                return result

    def open(self, file: Path, *, width: int = 1280, height: int = 900, dark: bool = False) -> None:
        """Show a file in a window of this size."""
        self.resize(width, height)
        self.media(prefers_color_scheme="dark" if dark else "light")
        self._events.clear()
        self.send("Page.navigate", url=file.resolve().as_uri())
        end = time.monotonic() + _SECONDS
        while "Page.loadEventFired" not in self._events and time.monotonic() < end:
            self._message()

    def resize(self, width: int, height: int, scale: float = 1.0) -> None:
        """Make the window so large; below 600 it is a telephone's."""
        self.send(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=scale,
            mobile=width < 600,
        )

    def media(self, kind: str = "", **features: str) -> None:
        """Say what the user prefers (`prefers_color_scheme="dark"`), or that it is printed."""
        listed = [{"name": n.replace("_", "-"), "value": value} for n, value in features.items()]
        self.send("Emulation.setEmulatedMedia", media=kind, features=listed)

    def ask(self, expression: str) -> Any:
        """The value of a JavaScript expression in the page."""
        found = self.send("Runtime.evaluate", expression=expression, returnByValue=True)
        if "exceptionDetails" in found:
            raise RuntimeError(f"{found['exceptionDetails']}")
        return found["result"].get("value")

    def press(self, key: str, *, shift: bool = False) -> None:
        """Press and release a key, such as `"Tab"`."""
        codes = {"Tab": 9, "Enter": 13, " ": 32}
        text = {"Enter": "\r", " ": " "}.get(key, "")
        for kind in ("keyDown", "keyUp"):
            self.send(
                "Input.dispatchKeyEvent",
                type=kind if text or kind == "keyUp" else "rawKeyDown",
                key=key,
                code=key if key != " " else "Space",
                text=text if kind == "keyDown" else "",
                modifiers=8 if shift else 0,
                windowsVirtualKeyCode=codes[key],
            )

    def picture(self, *, whole: bool = False, clip: Mapping[str, float] | None = None) -> bytes:
        """What is seen, as PNG: the window, the whole page, or a part of it in page pixels."""
        settings: dict[str, Any] = {"format": "png", "captureBeyondViewport": whole or bool(clip)}
        if whole and clip is None:
            size = self.send("Page.getLayoutMetrics")["cssContentSize"]
            clip = {"x": 0, "y": 0, "width": size["width"], "height": size["height"]}
        if clip is not None:
            settings["clip"] = {"scale": 1, **clip}
        return base64.b64decode(self.send("Page.captureScreenshot", **settings)["data"])

    def printed(self) -> bytes:
        """The page as PDF."""
        return base64.b64decode(self.send("Page.printToPDF", printBackground=True)["data"])

    def _start(self) -> None:
        file = chromium()
        if file is None:
            raise FileNotFoundError("no Chromium is installed")
        read_here, write_there = os.pipe()
        read_there, write_here = os.pipe()
        self._from, self._to = read_here, write_here
        flags = [
            "--headless=new",
            "--no-sandbox",
            "--disable-gpu",
            "--hide-scrollbars",
            "--no-first-run",
            "--disable-extensions",
            "--disable-background-networking",
            "--disable-dev-shm-usage",
            f"--user-data-dir={self._folder.name}",
            "--remote-debugging-pipe",
        ]
        # A shell puts the pipes where Chromium looks for them.
        script = f'exec "$0" "$@" 3<&{read_there} 4>&{write_there}'
        self._process = subprocess.Popen(
            ["bash", "-c", script, file, *flags],
            pass_fds=(read_there, write_there),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        os.close(read_there)
        os.close(write_there)

    def _message(self) -> dict[str, Any]:
        """The next message; what the page complains of is noted."""
        while b"\0" not in self._buffer:
            ready, _, _ = select.select([self._from], [], [], _SECONDS)
            part = os.read(self._from, 2**20) if ready else b""
            if not part:
                raise TimeoutError("Chromium does not answer")
            self._buffer += part
        raw, _, self._buffer = self._buffer.partition(b"\0")
        message: dict[str, Any] = json.loads(raw)
        self._note(message)
        return message

    def _note(self, message: Mapping[str, Any]) -> None:
        method, content = message.get("method", ""), message.get("params", {})
        self._events.append(method)
        if method == "Runtime.exceptionThrown":
            self.complaints.append(str(content["exceptionDetails"].get("text")))
        elif method == "Log.entryAdded":
            self.complaints.append(str(content["entry"].get("text")))
        elif method == "Runtime.consoleAPICalled" and content["type"] in ("error", "warning"):
            self.complaints.append(str(content["args"]))
        elif method == "Network.requestWillBeSent":
            address = content["request"]["url"]
            if not address.startswith("data:"):
                self.requests.append(address)
