"""A page of a real browser for the report: Chromium as Debian packages it, driven by playwright."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from playwright.sync_api import Page, sync_playwright

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


@contextmanager
def browser_page(complaints: list[str] | None = None, **options: Any) -> Iterator[Page]:
    """A page that knows no network; errors and warnings of its console are added to ``complaints``.

    Raises:
        FileNotFoundError: There is no Chromium.
    """
    if CHROMIUM is None:
        raise FileNotFoundError("there is no Chromium: apt-get install chromium")
    heard = complaints if complaints is not None else []
    with sync_playwright() as player:
        browser = player.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"], timeout=600_000)
        context = browser.new_context(offline=True, **options)
        context.set_default_timeout(600_000)
        try:
            yield listened_to(context.new_page(), heard)
        finally:
            browser.close()


def listened_to(page: Page, heard: list[str]) -> Page:
    """The page, whose complaints and requests beyond its own file are added to ``heard``."""
    page.on("console", lambda said: heard.append(said.text) if said.type in ("error", "warning") else None)
    page.on("pageerror", lambda error: heard.append(str(error)))
    page.on(
        "request",
        lambda asked: None if asked.url.startswith(("file:", "data:", "blob:")) else heard.append(asked.url),
    )
    return page
