"""Fail if a page of the site scrolls sideways on a telephone.

    python docs/phone.py FOLDER [--pictures FOLDER]

A real browser, Chromium, shows each page 390 pixels wide.  Without one, that
is said, and nothing is checked.  CHROMIUM names one that is not on PATH.
"""

import argparse
import base64
import contextlib
import json
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile

WIDTH, HEIGHT = 390, 844
NAMES = ("chromium", "chromium-browser", "google-chrome")

# The widest things that stick out, as "tag.class: text".
MEASURE = """(() => {
    const page = document.scrollingElement;
    const wide = [];
    if (page.scrollWidth > page.clientWidth)
        for (const one of document.querySelectorAll("article *"))
            if (one.getBoundingClientRect().right > page.clientWidth + 1
                    && !one.closest("pre, .table-wrapper, .sidebar-drawer"))
                wide.push(one.tagName + "." + one.className + ": "
                          + one.textContent.slice(0, 60));
    return [page.scrollWidth, page.clientWidth, wide.slice(0, 5)];
})()"""


class Browser:
    """Chromium, spoken to over two pipes: its DevTools protocol."""

    def __init__(self, program):
        self.folder = tempfile.TemporaryDirectory(
            ignore_cleanup_errors=True  # its processes end after it
        )
        to_read, self.to = os.pipe()
        self.back, to_write = os.pipe()
        # The browser reads from its descriptor 3 and writes to its 4.
        script = f'exec "$0" "$@" 3<&{to_read} 4>&{to_write}'
        self.process = subprocess.Popen(
            [
                *["sh", "-c", script, program, "--headless", "--no-sandbox"],
                *["--disable-gpu", "--remote-debugging-pipe"],
                f"--user-data-dir={self.folder.name}",
            ],
            pass_fds=(to_read, to_write),
            stderr=subprocess.DEVNULL,
        )
        os.close(to_read)
        os.close(to_write)
        self.inbox = b""
        self.asked = 0
        self.session = None
        target = self.ask("Target.createTarget", url="about:blank")
        self.session = self.ask(
            "Target.attachToTarget",
            targetId=target["targetId"],
            flatten=True,
        )["sessionId"]
        self.ask("Page.enable")
        self.ask(
            "Emulation.setDeviceMetricsOverride",
            width=WIDTH,
            height=HEIGHT,
            deviceScaleFactor=1,
            mobile=True,
        )

    def ask(self, method, **params):
        self.asked += 1
        message = {"id": self.asked, "method": method, "params": params}
        if self.session:
            message["sessionId"] = self.session
        os.write(self.to, json.dumps(message).encode() + b"\0")
        while (answer := self.read()).get("id") != self.asked:
            pass
        if "error" in answer:
            raise RuntimeError(f"{method}: {answer['error']}")
        return answer["result"]

    def read(self):
        while b"\0" not in self.inbox:
            data = os.read(self.back, 1 << 20)
            if not data:
                raise RuntimeError("the browser has ended")
            self.inbox += data
        message, _, self.inbox = self.inbox.partition(b"\0")
        return json.loads(message)

    def show(self, page):
        self.ask("Page.navigate", url=page.resolve().as_uri())
        while self.read().get("method") != "Page.loadEventFired":
            pass

    def measure(self):
        answer = self.ask(
            "Runtime.evaluate", expression=MEASURE, returnByValue=True
        )
        return answer["result"]["value"]

    def picture(self, path):
        answer = self.ask("Page.captureScreenshot")
        path.write_bytes(base64.b64decode(answer["data"]))

    def close(self):
        self.session = None
        with contextlib.suppress(RuntimeError):  # it may end at once
            self.ask("Browser.close")
        os.close(self.to)
        self.process.wait()
        os.close(self.back)
        self.folder.cleanup()


def find_browser():
    for name in filter(None, (os.environ.get("CHROMIUM"), *NAMES)):
        if path := shutil.which(name):
            return path
    return None


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("site", type=pathlib.Path)
    parser.add_argument("--pictures", type=pathlib.Path)
    options = parser.parse_args()
    program = find_browser()
    if program is None:
        print("no Chromium here: widths on a telephone are not checked")
        return 0
    browser = Browser(program)
    pages = sorted(options.site.glob("*.html"))
    failed = not pages
    try:
        for page in pages:
            browser.show(page)
            width, room, wide = browser.measure()
            if options.pictures:
                browser.picture(options.pictures / f"{page.stem}.png")
            if width > room:
                failed = True
                print(f"{page.name}: {width} pixels wide, not {room}", *wide)
    finally:
        browser.close()
    print(f"{len(pages)} pages on a telephone of {WIDTH} pixels")
    return failed


if __name__ == "__main__":
    sys.exit(main())
