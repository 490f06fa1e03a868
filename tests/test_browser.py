"""The browser that tests of pages use sees what a page does wrong, and leaves nothing behind."""

import contextlib
from pathlib import Path

import pytest

from tests import browser

PAGE = """<!doctype html><button onclick="this.textContent = 'clicked'">a</button>
<input type="range" min="0" max="9" value="4"><script>
addEventListener("keydown", (event) => { if (event.key === "x") throw Error("pressed"); });
</script>"""


def _living(group: int) -> list[str]:
    """Names of the processes of a group, without those that have ended and wait to be counted."""
    stats = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            stats.append(path.read_text(errors="replace"))
    parts = [(text[: text.rindex(")")], text[text.rindex(")") + 2 :].split()) for text in stats]
    return [name for name, (state, _, own, *_) in parts if int(own) == group and state not in "ZX"]


@browser.needs_chromium
def test_a_page_is_clicked_and_typed_into_its_errors_are_kept_and_no_process_is_left(tmp_path):
    (tmp_path / "page.html").write_text(PAGE)
    with browser.opened() as page:
        page.open(tmp_path / "page.html")
        page.click("button")
        assert page.evaluate("document.querySelector('button').textContent") == "clicked"
        page.click("input")
        page.press("End")
        assert page.evaluate("document.querySelector('input').value") == "9"
        assert page.errors == []
        page.press("x")
        assert ["pressed" in error for error in page.errors] == [True]
        with pytest.raises(browser.ScriptError, match="missing is not defined"):
            page.evaluate("missing")
        group = page.process
        assert _living(group)
    assert _living(group) == []


@browser.needs_chromium
def test_what_a_page_asks_of_the_network_is_refused_and_seen(tmp_path):
    (tmp_path / "page.html").write_text("<img src='http://example.com/a.png'>")
    with browser.opened() as page:
        page.open(tmp_path / "page.html")
        assert page.requests[1:] == ["http://example.com/a.png"]
        assert "ERR_INTERNET_DISCONNECTED" in page.errors[0]
