"""Tests of the page in a real browser: it sorts, filters, fits phone, screen and paper, and asks for nothing outside.

They need Chromium or Chrome with its driver on PATH, and are skipped without.
"""

from __future__ import annotations

import base64
import json
import shutil

import pytest
from fake_run import codec_case, finished, make_run, tensor

from kvbench.report import draw_runs

BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome", "chrome"))), None)
DRIVER = shutil.which("chromedriver")
OPTIONS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
)
A4_LANDSCAPE_WIDTH = 1032  # CSS pixels between margins of 12 mm

pytestmark = pytest.mark.skipif(
    BROWSER is None or DRIVER is None, reason="needs chromium and chromedriver on PATH (Debian: chromium-driver)"
)


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    webdriver = pytest.importorskip("selenium.webdriver", reason="selenium is not installed")
    options = webdriver.ChromeOptions()
    options.binary_location = BROWSER
    for option in (*OPTIONS, f"--user-data-dir={tmp_path_factory.mktemp('profile')}"):
        options.add_argument(option)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(DRIVER))
    yield driver
    driver.quit()


@pytest.fixture(scope="module")
def pages(sweep, baseline, tmp_path_factory):
    """One run, a run of copies, and two runs together."""
    base = tmp_path_factory.mktemp("pages")
    other = make_run(base / "another run with a long name", [finished(codec_case(tensor(0, "k"), "plain", 1e-2))])
    draw_runs([sweep, other], base / "two.html", base / "two-plots")
    return {
        "sweep": sweep.path / "report.html",
        "baseline": baseline.path / "report.html",
        "two": base / "two.html",
    }


def open_at(browser, page, width: int = 1280, media: str = ""):
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": media})
    size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": False}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    browser.get(page.as_uri())


def column(browser, table: str, head: str) -> list[str]:
    """The texts of a column, rows that are filtered out left out."""
    return browser.execute_script(
        """const table = document.querySelector(`#${arguments[0]} table`);
        const place = [...table.tHead.rows[0].cells].findIndex(cell => cell.textContent === arguments[1]);
        return [...table.tBodies[0].rows].filter(row => !row.hidden).map(row => row.cells[place].textContent);""",
        table,
        head,
    )


def head(browser, table: str, words: str):
    found = browser.find_elements("css selector", f"#{table} thead th")
    return next(one for one in found if one.text.split("\n")[0].strip(" \u2195\u25b2\u25bc") == words)


def choose(browser, table: str, name: str, value: str) -> None:
    from selenium.webdriver.support.select import Select

    Select(browser.find_element("css selector", f"#{table} select[data-filter={name}]")).select_by_value(value)


@pytest.mark.parametrize("name", ["sweep", "baseline", "two"])
@pytest.mark.parametrize(("width", "media"), [(400, ""), (1280, ""), (A4_LANDSCAPE_WIDTH, "print")])
def test_the_page_itself_never_scrolls_sideways(browser, pages, name, width, media):
    open_at(browser, pages[name], width, media)
    assert browser.execute_script("return document.documentElement.scrollWidth") <= width
    boxes = browser.execute_script(
        """return [...document.querySelectorAll("body *")].filter(one => one.checkVisibility()
            && !one.closest("svg") && !one.parentElement.closest(".scroll")
            && one.getBoundingClientRect().right > innerWidth + 1).map(one => one.outerHTML.slice(0, 120));"""
    )
    assert boxes == []


@pytest.mark.parametrize(("width", "shown", "hidden"), [(400, "narrow", "wide"), (1280, "wide", "narrow")])
def test_figures_fill_the_width_and_their_words_can_be_read(browser, pages, width, shown, hidden):
    open_at(browser, pages["sweep"], width)
    figures = browser.execute_script(
        """return [...document.querySelectorAll("figure")].map(figure => {
            const hidden = figure.querySelector("." + arguments[1]);
            const svg = figure.querySelector("." + arguments[0] + " svg");
            const scale = svg.getBoundingClientRect().width / svg.viewBox.baseVal.width;
            const sizes = [...svg.querySelectorAll("text")].map(text => parseFloat(getComputedStyle(text).fontSize));
            return {share: svg.getBoundingClientRect().width / figure.getBoundingClientRect().width,
                    smallest: scale * Math.min(...sizes), other: hidden.checkVisibility()};
        });""",
        shown,
        hidden,
    )
    assert len(figures) == 9
    for figure in figures:
        assert figure["share"] > 0.98
        assert figure["smallest"] >= 7.5  # CSS pixels, of the smallest print inside a heat map
        assert not figure["other"]


def test_numbers_sort_as_numbers_and_empty_cells_stay_last(browser, pages):
    open_at(browser, pages["sweep"])
    before = column(browser, "cases", "bits a value")
    for state, backwards in (("ascending", False), ("descending", True)):
        head(browser, "cases", "bits a value").find_element("tag name", "button").click()
        assert head(browser, "cases", "bits a value").get_attribute("aria-sort") == state
        texts = column(browser, "cases", "bits a value")
        numbers = [float(text) for text in texts if text]
        assert numbers == sorted(numbers, reverse=backwards)
        assert max(numbers) >= 10 > min(numbers)  # sorted as words they would stand in another order
        assert texts[len(numbers) :] == [""] * before.count("")
        assert before.count("") > 0
    head(browser, "cases", "bits a value").find_element("tag name", "button").click()
    assert head(browser, "cases", "bits a value").get_attribute("aria-sort") == "none"
    assert column(browser, "cases", "bits a value") == before


def test_it_sorts_and_filters_from_the_keyboard(browser, pages):
    from selenium.webdriver.common.keys import Keys

    open_at(browser, pages["sweep"])
    field = browser.find_element("css selector", "#cases input")
    field.send_keys("layers.29 plain")
    codecs = column(browser, "cases", "tensor")
    assert codecs
    assert all("layers.29" in text for text in codecs)
    assert set(column(browser, "cases", "mode")) == {"plain"}
    button = head(browser, "cases", "bound").find_element("tag name", "button")
    button.send_keys(Keys.ENTER)
    assert head(browser, "cases", "bound").get_attribute("aria-sort") == "ascending"
    assert column(browser, "cases", "bound") == ["rel 1e-2"] * 2 + ["rel 1e-1"] * 2
    sorted_heads = browser.find_elements("css selector", "#cases th[aria-sort=ascending]")
    assert len(sorted_heads) == 1


def test_it_filters_by_status_codec_mode_and_run(browser, pages, sweep):
    open_at(browser, pages["two"])
    results = sweep.results()
    choose(browser, "cases", "status", "failed")
    assert len(column(browser, "cases", "status")) == sum(one.status == "failed" for one in results) == 1
    choose(browser, "cases", "status", "*")
    choose(browser, "cases", "codec", "raw")
    assert set(column(browser, "cases", "codec")) == {"raw"}
    choose(browser, "cases", "mode", "plain")
    assert column(browser, "cases", "codec") == []
    assert browser.find_element("css selector", "#cases .count").text == f"0 of {len(results) + 1} rows"
    browser.find_element("css selector", "#cases .clear").click()
    assert len(column(browser, "cases", "codec")) == len(results) + 1
    choose(browser, "cases", "run", "another run with a long name")
    assert len(column(browser, "cases", "codec")) == 1


def test_it_says_nothing_on_the_console_and_asks_for_nothing_outside(browser, pages):
    for log in ("browser", "performance"):
        browser.get_log(log)  # what earlier tests left
    for page in pages.values():
        open_at(browser, page)
    assert browser.get_log("browser") == []
    events = [json.loads(entry["message"])["message"] for entry in browser.get_log("performance")]
    asked = {e["params"]["request"]["url"] for e in events if e["method"] == "Network.requestWillBeSent"}
    assert {page.as_uri() for page in pages.values()} <= asked
    assert {url for url in asked if not url.startswith("file:")} == set()
    assert asked == {page.as_uri() for page in pages.values()}


def test_paper_shows_everything_and_no_controls(browser, pages, sweep):
    open_at(browser, pages["sweep"], A4_LANDSCAPE_WIDTH, "print")
    assert not any(one.is_displayed() for one in browser.find_elements("css selector", "nav, .tools, .files, select"))
    assert all(one.is_displayed() for one in browser.find_elements("css selector", "figure .wide svg"))
    times = browser.find_elements("css selector", "#times tbody tr")
    assert len(times) == sum(len(one.phases) for one in sweep.results())
    assert times[-1].is_displayed()
    cut = browser.execute_script(
        "return [...document.querySelectorAll('.scroll')].filter(box => box.scrollHeight > box.clientHeight + 1 "
        "&& getComputedStyle(box).overflow !== 'visible').length"
    )
    assert cut == 0
    pdf = browser.execute_cdp_cmd("Page.printToPDF", {"preferCSSPageSize": True})
    assert base64.b64decode(pdf["data"]).startswith(b"%PDF")


def test_every_control_and_picture_has_a_name(browser, pages):
    open_at(browser, pages["two"])
    nameless = browser.execute_script(
        """const said = one => one.getAttribute("aria-label") || one.labels?.length || one.textContent.trim()
            || document.getElementById(one.getAttribute("aria-labelledby"))?.textContent;
        return [...document.querySelectorAll("button, input, select, svg[role=img], [role=region], table")]
            .filter(one => !said(one)).map(one => one.outerHTML.slice(0, 100));"""
    )
    assert nameless == []
    heads = browser.execute_script("return [...document.querySelectorAll('th:not([scope])')].length")
    tables = browser.execute_script("return [...document.querySelectorAll('table:not(:has(caption))')].length")
    assert (heads, tables) == (0, 0)
