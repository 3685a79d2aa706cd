"""Pages in a real browser: what they show, that their console is silent, and that axe finds nothing inaccessible."""

import base64
import json
import shutil
import sys
from pathlib import Path

import pytest

from lstm_checks.cases import Case
from lstm_checks.html.page import report_to_html
from lstm_checks.judging.case import verify_case
from lstm_checks.judging.explain import explain
from lstm_checks.judging.look import case_in_full
from lstm_checks.targets.load import load_target

pytestmark = pytest.mark.peer

AXE = Path(sys.prefix) / "node_modules" / "axe-core" / "axe.min.js"
QUIET = (
    "--headless --no-sandbox --disable-gpu --disable-background-networking --disable-component-update --disable-sync "
    "--no-first-run --window-size=1100,900"
)


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    webdriver = pytest.importorskip("selenium.webdriver")
    if not (shutil.which("chromium") and shutil.which("chromedriver")):
        pytest.skip("there is no chromium with its driver")
    options = webdriver.ChromeOptions()
    options.binary_location = shutil.which("chromium")
    for word in (*QUIET.split(), f"--user-data-dir={tmp_path_factory.mktemp('profile')}"):
        options.add_argument(word)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    found = webdriver.Chrome(options, webdriver.ChromeService(shutil.which("chromedriver")))
    yield found
    found.quit()


@pytest.fixture(scope="module")
def pages(tmp_path_factory):
    """The pages of a failure, with an attack in its texts, and of a pass."""
    folder, case = tmp_path_factory.mktemp("pages"), Case(1, 2, 1, 2)
    wrong, right = load_target("fault:carry-dropped"), load_target("lstm_ref:LSTM")
    report = case_in_full(wrong, explain(wrong, verify_case(wrong, case)), 1)
    report["notes"] = ["<script>document.title = 'attacked'</script><img src=x onerror=\"document.title='attacked'\">"]
    for name, told in (("fail", report), ("pass", case_in_full(right, verify_case(right, case), 0))):
        (folder / f"{name}.html").write_text(report_to_html(json.loads(json.dumps(told))))
    return folder


def opened(browser, path, **features):
    media = [{"name": name.replace("_", "-"), "value": value} for name, value in features.items() if name != "media"]
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": features.get("media", ""), "features": media})
    browser.get(path.as_uri())
    return browser.execute_script("return document.body.innerText")


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("name", ["fail", "pass"])
def test_a_page_is_read_and_says_nothing_on_the_console(browser, pages, name, scheme):
    browser.get_log("browser")
    text = opened(browser, pages / f"{name}.html", prefers_color_scheme=scheme)
    assert {"fail": "FAIL", "pass": "PASS"}[name] in text
    assert "How sure" in text
    assert browser.get_log("browser") == []
    assert browser.title.startswith(name.upper())
    # Nothing was fetched beside the page itself.
    assert browser.execute_script("return performance.getEntriesByType('resource').length") == 0
    wide = browser.execute_script("return document.documentElement.scrollWidth - innerWidth")
    assert wide <= 0
    dark = browser.execute_script("return getComputedStyle(document.body).backgroundColor")
    assert (dark == "rgb(255, 255, 255)") == (scheme == "light")


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("name", ["fail", "pass"])
def test_axe_finds_nothing(browser, pages, name, scheme):
    if not AXE.is_file():
        pytest.skip("there is no axe-core: npm install --prefix VENV axe-core")
    opened(browser, pages / f"{name}.html", prefers_color_scheme=scheme)
    browser.execute_script("document.querySelectorAll('details').forEach((one) => { one.open = true; })")
    browser.execute_script(AXE.read_text())
    run = "const done = arguments[0]; axe.run().then((found) => done(found.violations), (e) => done([String(e)]))"
    found = browser.execute_async_script(run)
    assert [(one["id"], one["nodes"][0]["html"][:200], one["nodes"][0]["failureSummary"]) for one in found] == []


def test_a_command_is_copied_at_a_click(browser, pages):
    opened(browser, pages / "fail.html")
    origin = browser.execute_script("return location.origin")
    permission = {"permission": {"name": "clipboard-write"}, "setting": "granted"}
    browser.execute_cdp_cmd("Browser.setPermission", permission | ({} if origin == "null" else {"origin": origin}))
    (button,) = browser.find_elements("css selector", ".command button")
    browser.execute_script("arguments[0].scrollIntoView({block: 'center'})", button)
    button.click()
    from selenium.webdriver.support.ui import WebDriverWait

    WebDriverWait(browser, 20).until(lambda _: button.text == "copied")


def test_what_is_folded_is_on_paper_and_nothing_hangs_on_the_script(browser, pages):
    opened(browser, pages / "fail.html", media="print")
    hidden = """return [...document.querySelectorAll("details td")].filter((one) => !one.checkVisibility(
      {contentVisibilityAuto: true})).length"""
    assert browser.execute_script(hidden) == 0
    browser.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": True})
    try:
        opened(browser, pages / "fail.html")
        pdf = base64.b64decode(browser.execute_cdp_cmd("Page.printToPDF", {})["data"])
    finally:
        browser.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": False})
    assert pdf.startswith(b"%PDF")
    assert len(pdf) > 50_000
