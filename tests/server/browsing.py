"""What tests do with a page in Chromium.

``PICOJOULE_SCREENSHOTS=FOLDER`` keeps pictures of every page at two sizes, to be looked at.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

import pytest

sync_api = pytest.importorskip("playwright.sync_api")
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")

sync_api.expect.set_options(timeout=20_000)  # a test machine has other work to do

DESKTOP, PHONE = {"width": 1280, "height": 900}, {"width": 390, "height": 844}


def keep(page: Any, name: str) -> None:
    folder = os.environ.get("PICOJOULE_SCREENSHOTS")
    if folder is None:
        return
    for label, size in (("desktop", DESKTOP), ("phone", PHONE)):
        page.set_viewport_size(size)
        page.wait_for_timeout(250)
        page.screenshot(path=str(Path(folder) / f"{name}-{label}.png"), full_page=True)
    page.set_viewport_size(DESKTOP)


def says(page: Any, selector: str, text: str) -> None:
    """The first such element says so, now or when the page has drawn it."""
    sync_api.expect(page.locator(selector).first).to_contain_text(text)


def choose(page: Any, name: str, content: str | bytes) -> None:
    data = content.encode() if isinstance(content, str) else content
    kind = "application/octet-stream"
    page.set_input_files("#file", [{"name": name, "mimeType": kind, "buffer": data}])


def write_chip(page: Any, text: str) -> None:
    if not page.locator("#yaml").is_visible():
        page.click("#editing summary")
    sync_api.expect(page.locator("#chip-news")).to_contain_text("well formed")
    page.fill("#yaml", text)


def ask(page: Any) -> str:
    """Press the button and wait for the result; its id."""
    page.click("button.main")
    page.wait_for_url("**/r/*")
    sync_api.expect(page.locator("#whatif")).to_be_visible(timeout=60_000)
    return str(page.url.rpartition("/")[2])
