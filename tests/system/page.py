"""Checks the web page in headless Chromium, with playwright.

Usage: page.py BINARY WORK [SCREENSHOTS]    (a directory for files, and one for screenshots)
"""

import os
import shutil
import struct
import sys
import time

from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import sync_playwright

import checks
from kinds import arn, integration
from processes import Server
from checks import check, control, control_path, finish, replace_integrations, wait_for

BINARY, WORK = sys.argv[1:3]
SCREENSHOTS = sys.argv[3] if len(sys.argv) > 3 else WORK
LISTEN = "--web.listen-address"
VIEWS = {"light": ("light", 1200), "dark": ("dark", 1200), "phone": ("light", 390), "phone-dark": ("dark", 390)}
CONFIG = """
polling: {interval: 10s, page_size: 1000}
scopes: [{name: all, regions: [eu-west-1], describe: true, freshness: true}]
"""
# Each string would run code, load a resource or break the layout if it were not escaped.
ATTACKS = [
    "<script>window.hacked=1</script>",
    "\"><img src=x onerror=window.hacked=1>",
    "' onmouseover='window.hacked=1",
    "</bdi></td></table></main><script src=//evil.example/x.js></script>",
    "javascript:window.hacked=1",
    "{{7*7}}{%raw%}${window.hacked=1}",
    "\u202egnorw\u202c \u2066\u05d0\u05d1\u05d2\u0627\u0644\u0639",
    "<!--<style>*{display:none}</style>&lt;b&gt;&#0;",
]
MANY, FAILED = 5000, 300
SCREENSHOT = "docs/images/page.png"
SCREENSHOT_WIDTH, MAX_SCREENSHOT_BYTES = 1280, 300_000


class BrowserPage:
    """A page in the browser, with its console messages and its requests."""

    def __init__(self, browser, url, **context):
        self.url, self.context = url, browser.new_context(viewport={"width": 1200, "height": 900}, **context)
        self.page = self.context.new_page()
        self.console, self.requests = [], []
        self.page.on("console", lambda message: self.console.append(message.text))
        self.page.on("pageerror", lambda error: self.console.append(str(error)))
        self.page.on("dialog", lambda dialog: (self.console.append("a dialog"), dialog.dismiss()))
        self.page.on("request", lambda request: self.requests.append(request.url))

    def open(self, query=""):
        self.page.goto(f"{self.url}/{query}", wait_until="load")
        return self.page

    def finish(self, what):
        foreign = [url for url in self.requests if not url.startswith((self.url + "/", "data:image/svg+xml,"))]
        check(f"no request to another origin: {what}", self.requests and not foreign, foreign)
        check(f"no console message: {what}", not self.console, self.console)
        self.context.close()


def check_accessibility(page, what):
    found = Axe().run(page).response["violations"]
    serious = [(rule["id"], [node["target"] for node in rule["nodes"]][:3]) for rule in found if rule["impact"] in ("serious", "critical")]
    check(f"no serious axe violation: {what}", not serious, serious)
    if found and not serious:
        print(f"  minor axe violations in {what}: {[rule['id'] for rule in found]}")


def check_appearance(browser, url, name):
    for view, (scheme, width) in VIEWS.items():
        session = BrowserPage(browser, url, color_scheme=scheme)
        page = session.page
        page.set_viewport_size({"width": width, "height": 900})
        session.open()
        check(f"no horizontal scrolling: {name} {view}", page.evaluate("document.documentElement.scrollWidth") <= width)
        background = page.evaluate("getComputedStyle(document.body).backgroundColor")
        check(f"{scheme} background", (background == "rgb(255, 255, 255)") == (scheme == "light"), background)
        for summary in page.locator("summary").all()[:2]:
            summary.click()
        check_accessibility(page, f"{name} {view}")
        page.screenshot(path=f"{SCREENSHOTS}/{name}-{view}.png", full_page=True)
        session.finish(f"{name} {view}")


def demo_page(browser):
    demo = Server("page-demo", WORK, [BINARY, "demo"], LISTEN).start()
    quiet_failures(browser, demo.url)
    if os.environ.get("UPDATE"):
        take_screenshot(browser, demo.url)
    check_screenshot()
    # The demo changes after half a minute.
    demo.kill()
    demo.start()
    session = BrowserPage(browser, demo.url)

    def names():
        session.open()
        return session.page.locator(".name", has_text="sap-finance").count()

    wait_for("the page shows the names", names)
    session.finish("demo")
    check_appearance(browser, demo.url, "demo")
    filters(browser, demo.url)
    without_script(browser, demo.url)
    by_keyboard(browser, demo.url)
    demo.stop()


def quiet_failures(browser, url):
    """Checks that the page shows failures of data before Glue reports any: old data, and one table that fails."""
    session = BrowserPage(browser, url)

    def counts():
        page = session.open()
        return [page.locator(f"#c-{word} b").inner_text() for word in ("TABLES_FAILING", "DATA_OVERDUE")]

    wait_for("the page counts both quiet failures", lambda: counts() == ["1", "1"])
    page = session.page
    for chip in ("#c-TABLES_FAILING", "#c-DATA_OVERDUE"):
        box = page.locator(chip).bounding_box()
        check("the count is visible without scrolling", box["y"] + box["height"] < 900 and "some" in page.locator(chip).get_attribute("class"), box)
    overdue = page.locator("#wrong .rows > li", has_text="sap-finance").locator("h3").inner_text()
    check("the row with old data says so", "ACTIVE" in overdue and "overdue: data as of 3 d" in " ".join(overdue.split()), overdue)
    failing = page.locator("#wrong .rows > li", has_text="salesforce-crm")
    check("the row says how many tables fail", "1 of 3 tables fail" in failing.locator("h3").inner_text(), failing.inner_text())
    first = failing.locator(".tables tbody tr").first.inner_text()
    check("the failing table is the first one", first.startswith("opportunity") and "fails" in first, first)
    lag = page.locator(".rows > li", has_text="customers").locator(".data").first.inner_text()
    check("a Redshift target shows its lag", "replication lag 1 min 35 s" in lag, lag)
    page.locator("#c-DATA_OVERDUE").click()
    page.wait_for_load_state()
    check("the count selects the row with old data", rows(page) == ["sap-finance"], rows(page))
    session.finish("quiet failures")


def take_screenshot(browser, url):
    """Takes the screenshot of the documentation: the top of the page, with the integrations that are ACTIVE and have a problem."""
    session = BrowserPage(browser, url, color_scheme="light")
    session.page.set_viewport_size({"width": SCREENSHOT_WIDTH, "height": 900})
    page = session.open("?status=ACTIVE")
    end = page.locator("#wrong .rows").bounding_box()
    clip = {"x": 0, "y": 0, "width": SCREENSHOT_WIDTH, "height": end["y"] + end["height"] + 16}
    page.screenshot(path=SCREENSHOT, full_page=True, clip=clip)
    session.finish("screenshot")


def check_screenshot():
    with open(SCREENSHOT, "rb") as image:
        content = image.read()
    # The signature, and the width in the first chunk.
    check("the screenshot is a PNG", content.startswith(b"\x89PNG\r\n\x1a\n"))
    check("the screenshot has its width", struct.unpack(">I", content[16:20])[0] == SCREENSHOT_WIDTH)
    check("the screenshot is small", len(content) < MAX_SCREENSHOT_BYTES, len(content))


def address(page):
    """Returns the present address. `page.url` can be older, because it is updated by events."""
    return page.evaluate("location.href")


def rows(page):
    return page.locator(".rows > li .name").all_inner_texts()


def filters(browser, url):
    session = BrowserPage(browser, url)
    page = session.open()
    everything = rows(page)
    check("the most severe row is first", everything[0] == "inventory" and len(everything) == 13, everything)
    page.locator("#q").press_sequentially("kms KEY", delay=20)
    wait_for("typing filters the list", lambda: rows(page) == ["inventory"], 10)
    check("the address has the filter", address(page).endswith("/?q=kms+KEY"), address(page))
    check("the input keeps the focus", page.evaluate("document.activeElement.id") == "q")
    check("the summary mentions hidden integrations", "The filter hides" in page.locator("#summary").inner_text())
    page.locator("#q").press("Control+a")
    page.locator("#q").press("Delete")
    wait_for("clearing the filter shows all rows", lambda: rows(page) == everything, 10)
    for state in ["failed", "missing", "needs_attention"]:
        page.locator("#q").fill(state)
        wait_for(f"filtering by {state}", lambda: f"q={state}" in address(page) and state.upper() in page.locator("#wrong h3").first.inner_text().upper(), 10)
    page.locator("#q").fill("")
    wait_for("clearing the filter shows all rows again", lambda: rows(page) == everything, 10)
    page.locator("#c-ACTIVE").click()
    page.wait_for_load_state()
    check("clicking a count filters by status", len(rows(page)) == 5 and "status=ACTIVE" in address(page), rows(page))
    check("the active count is marked", page.locator("#c-ACTIVE").get_attribute("aria-current") == "true")
    page.locator("#q").fill("dms")
    wait_for("both filters apply", lambda: rows(page) == ["dms-legacy"], 10)
    page.locator("#clear").click()
    page.wait_for_load_state()
    check("the reset link shows all rows", rows(page) == everything)
    page.goto(f"{url}/?status=NONSENSE")
    check("an invalid filter shows an error and all rows", "is not allowed" in page.locator("#refused").inner_text() and rows(page) == everything)
    session.console = [text for text in session.console if "400" not in text]
    session.finish("filters")


def without_script(browser, url):
    session = BrowserPage(browser, url, java_script_enabled=False)
    page = session.open()
    page.locator("#q").fill("inventory")
    page.locator("#q").press("Enter")
    page.wait_for_load_state()
    check("the form filters without a script", rows(page) == ["inventory"], rows(page))
    page.locator("#c-MISSING").click()
    page.wait_for_load_state()
    check("counts filter without a script", "q=inventory" in address(page) and "status=MISSING" in address(page) and rows(page) == [], address(page))
    content = page.content()
    check("the page refreshes without a script", 'http-equiv="refresh" content="30"' in content)
    page.locator("#refresh").click()
    page.wait_for_load_state()
    check("the refresh can be switched off", "http-equiv" not in page.content() and "q=inventory" in address(page), address(page))
    session.finish("without a script")


def by_keyboard(browser, url):
    session = BrowserPage(browser, url)
    page = session.open()
    page.keyboard.press("Tab")
    check("the first tab stop is the skip link", page.evaluate("document.activeElement.className") == "skip")
    box = page.locator(".skip").bounding_box()
    check("the skip link is visible", box["x"] >= 0 and box["width"] > 50, box)
    page.keyboard.press("Enter")
    check("the skip link moves the focus to the integrations", page.evaluate("document.activeElement.id") == "main")
    for _ in range(60):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.tagName") == "SUMMARY":
            break
    outline = page.evaluate("getComputedStyle(document.activeElement).outlineStyle")
    check("the focus is visible", outline != "none", outline)
    page.keyboard.press("Enter")
    check("Enter opens a row", page.evaluate("document.activeElement.parentElement.open") is True)
    session.finish("keyboard")


def watch(exporter, integrations):
    """Lets a new process watch these integrations. One that had seen the ones before would show them as missing."""
    exporter.kill()
    replace_integrations(integrations)
    exporter.start()


def refreshing(browser, exporter):
    watch(exporter, [integration(number, "ACTIVE") for number in range(60)] + [integration(70, "FAILED", Errors=[{"ErrorCode": "Before"}])])
    session = BrowserPage(browser, exporter.url)
    page = session.page
    wait_for("all rows are shown", lambda: len(rows(session.open())) == 61)
    request_count = len(session.requests)
    page.wait_for_timeout(3000)
    check("the page does not refresh within 3 s", len(session.requests) == request_count, session.requests[request_count:])
    page.locator("#q").fill("arn:aws:glue")
    wait_for("the filter applies", lambda: "q=arn" in address(page), 10)
    opened = page.locator("#well details").nth(30)
    opened.locator("summary").click()
    page.evaluate("window.scrollTo(0, 1200)")
    page.locator("#q").evaluate("input => { input.focus({preventScroll: true}); input.setSelectionRange(2, 5); }")
    page.evaluate("""() => {
        window.kept = [...document.querySelectorAll('#well details')][30];
        window.removed = 0;
        window.place = window.kept.getBoundingClientRect().top;
        new MutationObserver(changes => {
            for (const change of changes) for (const node of change.removedNodes) if (node.nodeName === 'LI') window.removed += 1;
        }).observe(document.body, {childList: true, subtree: true});
        document.documentElement.dataset.refresh = '1';
        document.dispatchEvent(new Event('visibilitychange'));
    }""")
    # Each response resets the refresh interval to 15 s.
    refresh_now = "document.documentElement.dataset.refresh = '1'; document.dispatchEvent(new Event('visibilitychange'))"
    status, _ = control("PATCH", control_path(arn(70)), {"Errors": [{"ErrorCode": "After", "ErrorMessage": "m" * 2048}]})
    check("change an error", status == 204)

    def shown():
        page.evaluate(refresh_now)
        page.wait_for_timeout(300)
        return "After" in page.locator("#wrong").inner_text()

    wait_for("the page shows the change without a reload", shown, 30)
    state = page.evaluate("""() => ({
        open: window.kept.open, same: document.contains(window.kept), removed: window.removed, moved: Math.abs(window.kept.getBoundingClientRect().top - window.place),
        focus: document.activeElement.id, from: document.activeElement.selectionStart, to: document.activeElement.selectionEnd,
        typed: document.querySelector('#q').value,
    })""")
    check("an open row stays open and keeps its node", state["open"] and state["same"], state)
    check("no row is removed and added again", state["removed"] == 0, state)
    check("the visible row keeps its position when a row above grows", state["moved"] <= 2, state)
    check("focus and selection stay", (state["focus"], state["from"], state["to"]) == ("q", 2, 5), state)
    check("the filter stays", state["typed"] == "arn:aws:glue" and "q=arn" in address(page), state)
    page.evaluate("Object.defineProperty(document, 'hidden', {value: true, configurable: true}); " + refresh_now)
    request_count = len(session.requests)
    page.wait_for_timeout(3000)
    check("a hidden page does not refresh", len(session.requests) == request_count)
    page.evaluate("Object.defineProperty(document, 'hidden', {value: false, configurable: true}); " + refresh_now)
    page.wait_for_timeout(1000)
    check("a page that becomes visible refreshes", len(session.requests) > request_count)

    before = page.locator("#as-of time").inner_text()
    exporter.kill()
    lost = page.locator("#lost")

    def warning_visible():
        page.evaluate(refresh_now)
        page.wait_for_timeout(300)
        return lost.is_visible()

    wait_for("a page without responses warns that it is outdated", warning_visible, 30)
    since = page.locator("#lost-since").inner_text()
    check("the warning has a time", since.endswith("UTC") and since >= before, (since, before))
    box = lost.bounding_box()
    check("the warning is visible at any scroll position", page.evaluate("scrollY") > 500 and 0 <= box["y"] < 100, box)
    page.screenshot(path=f"{SCREENSHOTS}/lost.png")
    check_accessibility(page, "an outdated page")
    exporter.start()
    wait_for("the warning disappears after the restart", lambda: not warning_visible(), 30)
    session.console = [text for text in session.console if "ERR_CONNECTION_REFUSED" not in text and "ERR_EMPTY" not in text and "ERR_CONNECTION_RESET" not in text]
    session.finish("refreshing")


ROW = "arn => [...document.querySelectorAll('.rows > li')].find(row => row.querySelector('.arn').textContent === arn)"


def focus_and_selection(browser, exporter):
    """Checks that focus and selection survive when rows appear, disappear and move."""
    watch(exporter, [integration(number, "ACTIVE") for number in range(10)] + [integration(30, "FAILED"), integration(31, "FAILED")])
    session = BrowserPage(browser, exporter.url)
    page = session.page
    wait_for("all rows are shown", lambda: len(rows(session.open())) == 12)

    def section(number):
        return page.evaluate(f"arn => ({ROW})(arn)?.closest('section').id", arn(number))

    def wait(what, changed):
        """Refreshes the page until it shows a change."""
        def shown():
            page.evaluate("document.documentElement.dataset.refresh = '1'; document.dispatchEvent(new Event('visibilitychange'))")
            page.wait_for_timeout(300)
            return changed()

        wait_for(what, shown, 30)

    def select(number):
        page.evaluate(f"""arn => {{
            window.selected = ({ROW})(arn).querySelector('.arn').firstChild;
            getSelection().setBaseAndExtent(window.selected, 4, window.selected, window.selected.length);
        }}""", arn(number))

    def check_kept(what, number, blurs):
        """Checks that the row of `number` kept the focus and is open, and that the selection is unchanged."""
        state = page.evaluate(f"""arn => ({{
            focused: document.activeElement === ({ROW})(arn).querySelector('summary'), same: document.activeElement === window.focused,
            open: ({ROW})(arn).querySelector('details').open, blurs: window.blurs, text: getSelection().toString(),
            selected: getSelection().anchorNode === window.selected && getSelection().focusNode === window.selected,
        }})""", arn(number))
        text = page.evaluate("window.selected.data.slice(4)")
        check(what, state == {"focused": True, "same": True, "open": True, "blurs": blurs, "text": text, "selected": True}, state)

    # An integration that disappears without having been DELETING is missing.
    check("set one to DELETING", control("PATCH", control_path(arn(1)), {"Status": "DELETING"})[0] == 204)
    wait("the row is being deleted", lambda: section(1) == "moving")
    page.evaluate(f"""([focused, opened]) => {{
        ({ROW})(opened).querySelector('details').open = true;
        window.focused = ({ROW})(focused).querySelector('summary');
        window.focused.parentElement.open = true;
        window.focused.focus();
        window.blurs = 0;
        window.focused.addEventListener('blur', () => window.blurs += 1);
    }}""", [arn(5), arn(6)])
    select(6)
    check("delete an integration", control("DELETE", control_path(arn(1)))[0] == 204)
    check("set one to FAILED", control("PATCH", control_path(arn(2)), {"Status": "FAILED"})[0] == 204)
    wait("one row disappears and one changes its list", lambda: section(1) is None and section(2) == "wrong")
    check_kept("focus and selection stay when rows before them disappear", 5, 0)
    select(30)
    # Rows with NEEDS_ATTENTION follow rows with FAILED.
    check("set the first row to NEEDS_ATTENTION", control("PATCH", control_path(arn(2)), {"Status": "NEEDS_ATTENTION"})[0] == 204)
    wait("the rows change their order", lambda: page.locator("#wrong .facts .arn").evaluate_all("all => all.map(one => one.textContent).filter(text => text.includes(':integration:'))") == [arn(30), arn(31), arn(2)])
    check_kept("focus and selection stay when other rows move", 5, 0)
    # Rows that move to another list and back get focus and selection again.
    select(6)
    for status, list_id in (("SYNCING", "moving"), ("ACTIVE", "well")):
        for number in (5, 6):
            check("change a status", control("PATCH", control_path(arn(number)), {"Status": status})[0] == 204)
        wait(f"the rows move to the list {list_id}", lambda: section(5) == section(6) == list_id)
        page.evaluate("window.blurs = 0")
        check_kept(f"focus, selection and open state move with a row to the list {list_id}", 5, 0)
    session.finish("focus and selection")


def hostile(browser, exporter):
    errors = [{"ErrorCode": text[:128], "ErrorMessage": (text * 2048)[:2048]} for text in ATTACKS]
    attacks = [
        integration(
            number, ["FAILED", text[:128]][number % 2], IntegrationName=text[:128], Errors=errors,
            SourceArn=f"arn:aws:dynamodb:eu-west-1:1:table/{text}", TargetArn=f"arn:aws:glue:eu-west-1:{checks.ACCOUNT}:database/{text}",
            Tables=[{"TableName": text}, {"TableName": "wide" * 60}],
        )
        for number, text in enumerate(ATTACKS)
    ]
    odd_arn = {**integration(50, "FAILED", Errors=errors), "IntegrationArn": "arn:aws:glue:eu-west-1:1:integration:\"><script>hacked=1</script>"}
    watch(exporter, [*attacks, odd_arn])
    session = BrowserPage(browser, exporter.url)

    def arrived():
        session.open()
        tables = session.page.locator(".tables td bdi").all_inner_texts()
        return session.page.locator("h3 .name").count() == len(attacks) + 1 and ATTACKS[0] in rows(session.page) and ATTACKS[0] in tables

    wait_for("hostile values are shown", arrived)
    page = session.page
    inert = page.evaluate("""() => ({
        hacked: typeof window.hacked, scripts: document.scripts.length, images: document.images.length,
        styles: document.querySelectorAll('style').length, on: document.querySelectorAll('[onerror],[onmouseover]').length,
        foreign: [...document.links].filter(link => link.origin !== location.origin).length, main: document.querySelectorAll('main').length,
    })""")
    expected = {"hacked": "undefined", "scripts": 1, "images": 0, "styles": 0, "on": 0, "foreign": 0, "main": 1}
    check("hostile values have no effect", inert == expected, inert)
    shown = page.locator("#wrong").first.evaluate("node => node.textContent")
    # HTML cannot contain NUL, so the values do not contain it.
    for text in ATTACKS:
        check("a hostile value is shown unchanged", text in shown, text)
        check("a hostile table name is shown unchanged", text in page.locator(".tables td bdi").evaluate_all("all => all.map(one => one.textContent)"), text)
        check("a message of 2,048 characters is shown unchanged", (text * 2048)[:2048] in shown, text)
    check("values are isolated with bdi", page.locator("#wrong bdi").count() > 100)
    page.locator("#q").fill(ATTACKS[1])
    wait_for("hostile values can be searched", lambda: len(rows(page)) > 0 and "onerror" in address(page), 10)
    check("a hostile search has no effect", page.evaluate("typeof window.hacked") == "undefined" and page.evaluate("document.images.length") == 0)
    page.goto(f"{exporter.url}/?scope=%22%3E%3Cscript%3Ewindow.hacked=1%3C/script%3E")
    check("a hostile address has no effect", page.evaluate("typeof window.hacked") == "undefined" and page.locator("#refused").count() == 1)
    session.console = [text for text in session.console if "400" not in text]
    session.finish("hostile values")
    check_appearance(browser, exporter.url, "hostile")


def access_denied(browser, exporter):
    status, _ = control("POST", "faults", {"Kind": "Error", "Code": "AccessDeniedException", "Message": "<b>not</b> authorized"})
    check("add a fault", status == 204, status)
    session = BrowserPage(browser, exporter.url)

    def shown():
        session.open()
        return session.page.locator("#blind").count() and session.page.locator("#old").count()

    wait_for("the page warns about failing polls and old data", shown)
    page = session.page
    check("every row is marked as old data", page.locator(".rows > li").count() == page.locator(".badge", has_text="old data").count() - 1)
    scope = page.locator(".scopes tbody").inner_text()
    check("the scope shows the last error", "access_denied" in scope and "<b>not</b> authorized" in scope, scope)
    session.finish("access denied")
    check_appearance(browser, exporter.url, "blind")
    check("delete the fault", control("DELETE", "faults")[0] == 204)


def many(browser, exporter):
    message = "The source rejected the connection. " * 56
    watch(exporter, [
        integration(number, "FAILED", Errors=[{"ErrorCode": "Code", "ErrorMessage": message}], Tables=[]) if number < FAILED else integration(number, "ACTIVE", Tables=[])
        for number in range(MANY)
    ])
    session = BrowserPage(browser, exporter.url)

    def arrived():
        session.open()
        return session.page.locator("#c-ALL b").inner_text() == str(MANY)

    wait_for(f"{MANY} integrations are counted", arrived, 120)
    page, took = session.page, []
    for _ in range(5):
        session.open()
        took.append(page.evaluate("""() => {
            const [of] = performance.getEntriesByType('navigation');
            return [of.responseEnd - of.requestStart, of.loadEventEnd - of.responseEnd, of.encodedBodySize, of.decodedBodySize];
        }"""))
    server, shown, sent, size = (sorted(column)[2] for column in zip(*took))
    print(f"  {MANY} integrations, {FAILED} failed: response in {server:.0f} ms, {size / 1000:.0f} kB compressed to {sent / 1000:.0f} kB, rendered in {shown:.0f} ms")
    # These limits allow for a debug build on a busy machine.
    check("the response is fast", server < 1500, server)
    check("rendering is fast", shown < 1500, shown)
    check("the response is compressed", sent * 4 < size, (sent, size))
    check("one page of rows is shown", len(rows(page)) == 100 and page.locator("#c-FAILED b").inner_text() == str(FAILED))
    started = time.monotonic()
    page.locator("#q").fill(arn(MANY - 1))
    wait_for("the search finds one integration", lambda: rows(page) == [f"integration-{MANY - 1}"] or len(rows(page)) == 1, 10)
    print(f"  search result {1000 * (time.monotonic() - started):.0f} ms after it was typed")
    page.locator("#q").fill("")
    wait_for("clearing the search shows all rows", lambda: len(rows(page)) == 100, 10)
    page.locator("a[rel=next]").first.click()
    page.wait_for_load_state()
    check("the next page of rows", "101 to 200 of 5000" in page.locator("#lists").inner_text())
    session.finish("many")


def main():
    chromium = shutil.which("chromium")
    simulator = Server("page-simulator", WORK, [BINARY, "simulate"], "--listen-address").start()
    checks.SIMULATOR = simulator.url
    with open(f"{WORK}/page.yaml", "w", encoding="utf-8") as config:
        config.write(CONFIG)
    exporter = Server("page-exporter", WORK, [BINARY, f"--config.file={WORK}/page.yaml"], LISTEN, AWS_ENDPOINT_URL_GLUE=simulator.url, AWS_ENDPOINT_URL_CLOUDWATCH=simulator.url).start()
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium)
        demo_page(browser)
        refreshing(browser, exporter)
        focus_and_selection(browser, exporter)
        hostile(browser, exporter)
        access_denied(browser, exporter)
        many(browser, exporter)
        browser.close()
    exporter.stop()
    simulator.stop()
    finish()


if __name__ == "__main__":
    main()
