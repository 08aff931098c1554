"""A real browser without a window, for what only a browser can tell. Speaks WebDriver (W3C) to chromedriver."""

import json
import os
import re
import shutil
import signal
import subprocess
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Final

CHROMIUM: Final = shutil.which("chromium")
CHROMEDRIVER: Final = shutil.which("chromedriver")
SECONDS: Final = 20.0
TAB, SPACE = "\ue004", " "
_ELEMENT: Final = "element-6066-11e4-a52e-4f735466cecf"  # the protocol's name for "this is an element"


class Browser:
    """One window."""

    def __init__(self, address: str, options: dict[str, Any]) -> None:
        self._at = address
        asked = {"alwaysMatch": {"goog:loggingPrefs": {"browser": "ALL"}, "goog:chromeOptions": options}}
        self._at += f"/session/{self._ask('POST', '/session', {'capabilities': asked})['sessionId']}"

    def open(self, url: str) -> None:
        """Go there, and wait until the page is loaded."""
        self._ask("POST", "/url", {"url": url})

    def ask(self, script: str) -> Any:
        """What an expression in the page is."""
        return self._ask("POST", "/execute/sync", {"script": f"return {script}", "args": []})

    def press(self, *keys: str) -> None:
        """Keys, one after the other."""
        actions = [{"type": kind, "value": key} for key in keys for kind in ("keyDown", "keyUp")]
        self._ask("POST", "/actions", {"actions": [{"type": "key", "id": "keyboard", "actions": actions}]})

    def click(self, selector: str) -> None:
        """Click the first element of that selector, and wait for the page it leads to."""
        found = self._ask("POST", "/element", {"using": "css selector", "value": selector})
        self._ask("POST", f"/element/{found[_ELEMENT]}/click", {})

    def complaints(self) -> Sequence[str]:
        """What the console says since it was asked last."""
        return [entry["message"] for entry in self._ask("POST", "/se/log", {"type": "browser"})]

    def close(self) -> None:
        """Close the window."""
        self._ask("DELETE", "", None)

    def _ask(self, method: str, path: str, body: Any) -> Any:
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self._at + path, data, {"Content-Type": "application/json"}, method=method)
        with urllib.request.urlopen(request, timeout=SECONDS) as answer:
            return json.load(answer)["value"]


@contextmanager
def browsing(width: int) -> Iterator[Browser]:
    """A window of that width."""
    assert CHROMEDRIVER is not None
    # In a group of its own, for whatever it leaves behind.
    driver = subprocess.Popen(
        [CHROMEDRIVER, "--port=0"],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        start_new_session=True,
    )
    try:
        assert driver.stdout is not None
        port = next(
            found[1] for line in driver.stdout if (found := re.search(r"started success\w+ on port (\d+)", line))
        )
        arguments = ["--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"]
        options: dict[str, Any] = {"binary": CHROMIUM, "args": arguments}
        options["mobileEmulation"] = {"deviceMetrics": {"width": width, "height": 800, "pixelRatio": 1.0}}
        browser = Browser(f"http://127.0.0.1:{port}", options)
        try:
            yield browser
        finally:
            browser.close()
    finally:
        os.killpg(driver.pid, signal.SIGKILL)
        driver.communicate()
