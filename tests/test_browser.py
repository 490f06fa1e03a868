"""The browser that tests of pages use sees what a page does wrong, and leaves nothing behind."""

import os

import pytest

from tests import browser

PAGE = """<!doctype html><button onclick="this.textContent = 'clicked'">a</button>
<input type="range" min="0" max="9" value="4"><script>
addEventListener("keydown", (event) => { if (event.key === "x") throw Error("pressed"); });
</script>"""


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
        process = page.process
    with pytest.raises(ProcessLookupError):
        os.killpg(process, 0)


@browser.needs_chromium
def test_what_a_page_asks_of_the_network_is_refused_and_seen(tmp_path):
    (tmp_path / "page.html").write_text("<img src='http://example.com/a.png'>")
    with browser.opened() as page:
        page.open(tmp_path / "page.html")
        assert page.requests[1:] == ["http://example.com/a.png"]
        assert "ERR_INTERNET_DISCONNECTED" in page.errors[0]
