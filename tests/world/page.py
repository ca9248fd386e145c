"""Looks at the page for people with a real browser: Chromium without a window, driven by playwright.

Usage: page.py BINARY WORK [PICTURES]    (a directory for files, one for screenshots)
"""

import shutil
import sys
import time

from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import sync_playwright

import world
from kinds import arn, integration
from processes import Server
from world import check, control, control_path, finish, replace_world, wait_for

BINARY, WORK = sys.argv[1:3]
PICTURES = sys.argv[3] if len(sys.argv) > 3 else WORK
LISTEN = "--web.listen-address"
VIEWS = {"light": ("light", 1200), "dark": ("dark", 1200), "phone": ("light", 390), "phone-dark": ("dark", 390)}
CONFIG = """
polling: {interval: 10s, page_size: 1000}
scopes: [{name: all, regions: [eu-west-1], describe: true}]
"""
# Each would do something if it became markup, or turn the rest of its line around.
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


class Watched:
    """A page of the browser, and all that it complains about and asks for."""

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

    def done(self, what):
        foreign = [url for url in self.requests if not url.startswith((self.url + "/", "data:image/svg+xml,"))]
        check(f"no foreign request: {what}", self.requests and not foreign, foreign)
        check(f"nothing on the console: {what}", not self.console, self.console)
        self.context.close()


def accessible(page, what):
    found = Axe().run(page).response["violations"]
    serious = [(rule["id"], [node["target"] for node in rule["nodes"]][:3]) for rule in found if rule["impact"] in ("serious", "critical")]
    check(f"axe finds nothing serious: {what}", not serious, serious)
    if found and not serious:
        print(f"  axe about {what}: {[rule['id'] for rule in found]}")


def looks(browser, url, name):
    for view, (scheme, width) in VIEWS.items():
        watched = Watched(browser, url, color_scheme=scheme)
        page = watched.page
        page.set_viewport_size({"width": width, "height": 900})
        watched.open()
        check(f"no sideways scrolling: {name} {view}", page.evaluate("document.documentElement.scrollWidth") <= width)
        ground = page.evaluate("getComputedStyle(document.body).backgroundColor")
        check(f"{scheme} ground", (ground == "rgb(255, 255, 255)") == (scheme == "light"), ground)
        for summary in page.locator("summary").all()[:2]:
            summary.click()
        accessible(page, f"{name} {view}")
        page.screenshot(path=f"{PICTURES}/{name}-{view}.png", full_page=True)
        watched.done(f"{name} {view}")


def of_the_demo(browser):
    demo = Server("page-demo", WORK, [BINARY, "demo"], LISTEN).start()
    watched = Watched(browser, demo.url)

    def names():
        watched.open()
        return watched.page.locator(".name", has_text="sap-finance").count()

    wait_for("the names arrive", names)
    watched.done("demo")
    looks(browser, demo.url, "demo")
    filters(browser, demo.url)
    without_script(browser, demo.url)
    by_keyboard(browser, demo.url)
    demo.stop()


def address(page):
    """As it is now: `page.url` is what the last event said."""
    return page.evaluate("location.href")


def rows(page):
    return page.locator(".rows > li .name").all_inner_texts()


def filters(browser, url):
    watched = Watched(browser, url)
    page = watched.open()
    everything = rows(page)
    check("the worst is first", everything[0] == "inventory" and len(everything) == 13, everything)
    page.locator("#q").press_sequentially("kms KEY", delay=20)
    wait_for("the list follows what is typed", lambda: rows(page) == ["inventory"], 10)
    check("the address follows", address(page).endswith("/?q=kms+KEY"), address(page))
    check("what is typed stays in focus", page.evaluate("document.activeElement.id") == "q")
    check("what the filter hides is told", "The filter hides" in page.locator("#summary").inner_text())
    page.locator("#q").press("Control+a")
    page.locator("#q").press("Delete")
    wait_for("all come back", lambda: rows(page) == everything, 10)
    for state in ["failed", "missing", "needs_attention"]:
        page.locator("#q").fill(state)
        wait_for(f"what is {state} is found by that word", lambda: f"q={state}" in address(page) and state.upper() in page.locator("#wrong h3").first.inner_text().upper(), 10)
    page.locator("#q").fill("")
    wait_for("all come back again", lambda: rows(page) == everything, 10)
    page.locator("#c-ACTIVE").click()
    page.wait_for_load_state()
    check("a count is a filter", len(rows(page)) == 5 and "status=ACTIVE" in address(page), rows(page))
    check("which one is marked", page.locator("#c-ACTIVE").get_attribute("aria-current") == "true")
    page.locator("#q").fill("dms")
    wait_for("both filter", lambda: rows(page) == ["dms-legacy"], 10)
    page.locator("#clear").click()
    page.wait_for_load_state()
    check("everything again", rows(page) == everything)
    page.goto(f"{url}/?status=NONSENSE")
    check("a mistake is told, and hides nothing", "is not allowed" in page.locator("#refused").inner_text() and rows(page) == everything)
    watched.console = [text for text in watched.console if "400" not in text]
    watched.done("filters")


def without_script(browser, url):
    watched = Watched(browser, url, java_script_enabled=False)
    page = watched.open()
    page.locator("#q").fill("inventory")
    page.locator("#q").press("Enter")
    page.wait_for_load_state()
    check("the form filters without a script", rows(page) == ["inventory"], rows(page))
    page.locator("#c-MISSING").click()
    page.wait_for_load_state()
    check("counts too", "q=inventory" in address(page) and "status=MISSING" in address(page) and rows(page) == [], address(page))
    content = page.content()
    check("it refreshes without a script", 'http-equiv="refresh" content="30"' in content)
    page.locator("#refresh").click()
    page.wait_for_load_state()
    check("and can be stopped", "http-equiv" not in page.content() and "q=inventory" in address(page), address(page))
    watched.done("without a script")


def by_keyboard(browser, url):
    watched = Watched(browser, url)
    page = watched.open()
    page.keyboard.press("Tab")
    check("the first stop skips", page.evaluate("document.activeElement.className") == "skip")
    box = page.locator(".skip").bounding_box()
    check("and is seen", box["x"] >= 0 and box["width"] > 50, box)
    page.keyboard.press("Enter")
    check("to the integrations", page.evaluate("document.activeElement.id") == "main")
    for _ in range(60):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.tagName") == "SUMMARY":
            break
    outline = page.evaluate("getComputedStyle(document.activeElement).outlineStyle")
    check("the focus is seen", outline != "none", outline)
    page.keyboard.press("Enter")
    check("a row opens", page.evaluate("document.activeElement.parentElement.open") is True)
    watched.done("keyboard")


def refreshing(browser, exporter):
    replace_world([integration(number, "ACTIVE") for number in range(60)] + [integration(70, "FAILED", Errors=[{"ErrorCode": "Before"}])])
    watched = Watched(browser, exporter.url)
    page = watched.page
    wait_for("all are shown", lambda: len(rows(watched.open())) == 61)
    asked = len(watched.requests)
    page.wait_for_timeout(3000)
    check("it asks every 15 s, not sooner", len(watched.requests) == asked, watched.requests[asked:])
    page.locator("#q").fill("arn:aws:glue")
    wait_for("it is filtered", lambda: "q=arn" in address(page), 10)
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
    # The answers say 15 again.
    again = "document.documentElement.dataset.refresh = '1'; document.dispatchEvent(new Event('visibilitychange'))"
    status, _ = control("PATCH", control_path(arn(70)), {"Errors": [{"ErrorCode": "After", "ErrorMessage": "m" * 2048}]})
    check("an error changes", status == 204)

    def shown():
        page.evaluate(again)
        page.wait_for_timeout(300)
        return "After" in page.locator("#wrong").inner_text()

    wait_for("a change is shown by itself", shown, 30)
    state = page.evaluate("""() => ({
        open: window.kept.open, same: document.contains(window.kept), removed: window.removed, moved: Math.abs(window.kept.getBoundingClientRect().top - window.place),
        focus: document.activeElement.id, from: document.activeElement.selectionStart, to: document.activeElement.selectionEnd,
        typed: document.querySelector('#q').value,
    })""")
    check("what was open is open, and the same", state["open"] and state["same"], state)
    check("no row was taken out to be put back", state["removed"] == 0, state)
    check("what is looked at stays where it was, though a row above has grown", state["moved"] <= 2, state)
    check("focus and selection stay", (state["focus"], state["from"], state["to"]) == ("q", 2, 5), state)
    check("the filter stays", state["typed"] == "arn:aws:glue" and "q=arn" in address(page), state)
    page.evaluate("Object.defineProperty(document, 'hidden', {value: true, configurable: true}); " + again)
    asked = len(watched.requests)
    page.wait_for_timeout(3000)
    check("nobody who looks elsewhere asks", len(watched.requests) == asked)
    page.evaluate("Object.defineProperty(document, 'hidden', {value: false, configurable: true}); " + again)
    page.wait_for_timeout(1000)
    check("who comes back sees what is", len(watched.requests) > asked)

    before = page.locator("#as-of time").inner_text()
    exporter.kill()
    lost = page.locator("#lost")

    def alarmed():
        page.evaluate(again)
        page.wait_for_timeout(300)
        return lost.is_visible()

    wait_for("a page that gets no answer says that it is old", alarmed, 30)
    since = page.locator("#lost-since").inner_text()
    check("and since when", since.endswith("UTC") and since >= before, (since, before))
    box = lost.bounding_box()
    check("wherever it is scrolled to", page.evaluate("scrollY") > 500 and 0 <= box["y"] < 100, box)
    page.screenshot(path=f"{PICTURES}/lost.png")
    accessible(page, "a page that is old")
    exporter.start()
    wait_for("it recovers", lambda: not alarmed(), 30)
    watched.console = [text for text in watched.console if "ERR_CONNECTION_REFUSED" not in text and "ERR_EMPTY" not in text and "ERR_CONNECTION_RESET" not in text]
    watched.done("refreshing")


ROW = "arn => [...document.querySelectorAll('.rows > li')].find(row => row.querySelector('.arn').textContent === arn)"


def keeping(browser, exporter):
    """Rows come, go, change lists and change places while one is focused and text of another is selected."""
    replace_world([integration(number, "ACTIVE") for number in range(10)] + [integration(30, "FAILED"), integration(31, "FAILED")])
    watched = Watched(browser, exporter.url)
    page = watched.page
    wait_for("all are shown", lambda: len(rows(watched.open())) == 12)

    def section(number):
        return page.evaluate(f"arn => ({ROW})(arn)?.closest('section').id", arn(number))

    def wait(what, changed):
        """Until the page shows a change; it asks each second for it."""
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

    def is_kept(what, number, blurs):
        """The row of `number` is focused, has been all the time, and is open; what was selected is, in the same row."""
        state = page.evaluate(f"""arn => ({{
            focused: document.activeElement === ({ROW})(arn).querySelector('summary'), same: document.activeElement === window.focused,
            open: ({ROW})(arn).querySelector('details').open, blurs: window.blurs, text: getSelection().toString(),
            selected: getSelection().anchorNode === window.selected && getSelection().focusNode === window.selected,
        }})""", arn(number))
        text = page.evaluate("window.selected.data.slice(4)")
        check(what, state == {"focused": True, "same": True, "open": True, "blurs": blurs, "text": text, "selected": True}, state)

    page.evaluate(f"""([focused, opened]) => {{
        ({ROW})(opened).querySelector('details').open = true;
        window.focused = ({ROW})(focused).querySelector('summary');
        window.focused.parentElement.open = true;
        window.focused.focus();
        window.blurs = 0;
        window.focused.addEventListener('blur', () => window.blurs += 1);
    }}""", [arn(5), arn(6)])
    select(6)
    check("an integration goes", control("DELETE", control_path(arn(1)))[0] == 204)
    check("one fails", control("PATCH", control_path(arn(2)), {"Status": "FAILED"})[0] == 204)
    wait("they go, and change lists", lambda: section(1) is None and section(2) == "wrong")
    is_kept("focus and selection stay when rows before them go", 5, 0)
    select(30)
    # What needs attention stands behind what has failed.
    check("the first becomes the last", control("PATCH", control_path(arn(2)), {"Status": "NEEDS_ATTENTION"})[0] == 204)
    wait("they change places", lambda: page.locator("#wrong .facts .arn").evaluate_all("all => all.map(one => one.textContent).filter(text => text.includes(':integration:'))") == [arn(30), arn(31), arn(2)])
    is_kept("focus and selection stay when others change places", 5, 0)
    # From the first list to the second, and back: what is taken out on its way is focused and selected again.
    select(6)
    for status, list_id in (("SYNCING", "moving"), ("ACTIVE", "well")):
        for number in (5, 6):
            check("a status changes", control("PATCH", control_path(arn(number)), {"Status": status})[0] == 204)
        wait(f"they go to the list {list_id}", lambda: section(5) == section(6) == list_id)
        page.evaluate("window.blurs = 0")
        is_kept(f"focus, selection and what is open go with a row to the list {list_id}", 5, 0)
    watched.done("keeping")


def hostile(browser, exporter):
    errors = [{"ErrorCode": text[:128], "ErrorMessage": (text * 2048)[:2048]} for text in ATTACKS]
    attacks = [
        integration(
            number, ["FAILED", text[:128]][number % 2], IntegrationName=text[:128], Errors=errors,
            SourceArn=f"arn:aws:dynamodb:eu-west-1:1:table/{text}", TargetArn=f"arn:aws:glue:eu-west-1:{world.ACCOUNT}:database/{text}",
        )
        for number, text in enumerate(ATTACKS)
    ]
    odd_arn = {**integration(50, "FAILED", Errors=errors), "IntegrationArn": "arn:aws:glue:eu-west-1:1:integration:\"><script>hacked=1</script>"}
    replace_world([*attacks, odd_arn])
    watched = Watched(browser, exporter.url)

    def arrived():
        watched.open()
        return watched.page.locator("h3 .name").count() == len(attacks) + 1 and ATTACKS[0] in rows(watched.page)

    wait_for("hostile values are shown", arrived)
    page = watched.page
    inert = page.evaluate("""() => ({
        hacked: typeof window.hacked, scripts: document.scripts.length, images: document.images.length,
        styles: document.querySelectorAll('style').length, on: document.querySelectorAll('[onerror],[onmouseover]').length,
        foreign: [...document.links].filter(link => link.origin !== location.origin).length, main: document.querySelectorAll('main').length,
    })""")
    expected = {"hacked": "undefined", "scripts": 1, "images": 0, "styles": 0, "on": 0, "foreign": 0, "main": 1}
    check("no hostile value does anything", inert == expected, inert)
    shown = page.locator("#wrong").first.evaluate("node => node.textContent")
    # HTML has no NUL; it is not in these.
    for text in ATTACKS:
        check("a hostile value is shown as it is", text in shown, text)
        check("so is a message of 2,048 characters", (text * 2048)[:2048] in shown, text)
    check("no text turns the rest of its line around", page.locator("#wrong bdi").count() > 100)
    page.locator("#q").fill(ATTACKS[1])
    wait_for("they can be searched for", lambda: len(rows(page)) > 0 and "onerror" in address(page), 10)
    check("and still do nothing", page.evaluate("typeof window.hacked") == "undefined" and page.evaluate("document.images.length") == 0)
    page.goto(f"{exporter.url}/?scope=%22%3E%3Cscript%3Ewindow.hacked=1%3C/script%3E")
    check("nor does the address", page.evaluate("typeof window.hacked") == "undefined" and page.locator("#refused").count() == 1)
    watched.console = [text for text in watched.console if "400" not in text]
    watched.done("hostile values")
    looks(browser, exporter.url, "hostile")


def blind(browser, exporter):
    status, _ = control("POST", "faults", {"Kind": "Error", "Code": "AccessDeniedException", "Message": "<b>not</b> authorized"})
    check("AWS refuses", status == 204, status)
    watched = Watched(browser, exporter.url)

    def told():
        watched.open()
        return watched.page.locator("#blind").count() and watched.page.locator("#old").count()

    wait_for("the page says that the exporter is blind, and the data old", told)
    page = watched.page
    check("what is old is marked", page.locator(".rows > li").count() == page.locator(".badge", has_text="old data").count() - 1)
    scope = page.locator(".scopes tbody").inner_text()
    check("with the last error in words", "access_denied" in scope and "<b>not</b> authorized" in scope, scope)
    watched.done("blind")
    looks(browser, exporter.url, "blind")
    check("AWS answers again", control("DELETE", "faults")[0] == 204)


def many(browser, exporter):
    message = "The source rejected the connection. " * 56
    replace_world([
        integration(number, "FAILED", Errors=[{"ErrorCode": "Code", "ErrorMessage": message}]) if number < FAILED else integration(number, "ACTIVE")
        for number in range(MANY)
    ])
    watched = Watched(browser, exporter.url)

    def arrived():
        watched.open()
        return watched.page.locator("#c-ALL b").inner_text() == str(MANY)

    wait_for(f"{MANY} are known", arrived, 120)
    page, took = watched.page, []
    for _ in range(5):
        watched.open()
        took.append(page.evaluate("""() => {
            const [of] = performance.getEntriesByType('navigation');
            return [of.responseEnd - of.requestStart, of.loadEventEnd - of.responseEnd, of.encodedBodySize, of.decodedBodySize];
        }"""))
    server, shown, sent, size = (sorted(column)[2] for column in zip(*took))
    print(f"  {MANY} integrations, {FAILED} failed: answered in {server:.0f} ms, {size / 1000:.0f} kB sent as {sent / 1000:.0f} kB, shown {shown:.0f} ms later")
    # Bounds for a debug build on a busy machine; the figures are those above.
    check("answered at once", server < 1500, server)
    check("shown at once", shown < 1500, shown)
    check("compressed", sent * 4 < size, (sent, size))
    check("a part of them is shown", len(rows(page)) == 100 and page.locator("#c-FAILED b").inner_text() == str(FAILED))
    started = time.monotonic()
    page.locator("#q").fill(arn(MANY - 1))
    wait_for("one of them is found", lambda: rows(page) == [f"integration-{MANY - 1}"] or len(rows(page)) == 1, 10)
    print(f"  one of them found {1000 * (time.monotonic() - started):.0f} ms after it was typed")
    page.locator("#q").fill("")
    wait_for("all again", lambda: len(rows(page)) == 100, 10)
    page.locator("a[rel=next]").first.click()
    page.wait_for_load_state()
    check("the next ones", "101 to 200 of 5000" in page.locator("#lists").inner_text())
    watched.done("many")


def main():
    chromium = shutil.which("chromium")
    simulator = Server("page-simulator", WORK, [BINARY, "simulate"], "--listen-address").start()
    world.SIMULATOR = simulator.url
    with open(f"{WORK}/page.yaml", "w", encoding="utf-8") as config:
        config.write(CONFIG)
    exporter = Server("page-exporter", WORK, [BINARY, f"--config.file={WORK}/page.yaml"], LISTEN, AWS_ENDPOINT_URL_GLUE=simulator.url).start()
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium)
        of_the_demo(browser)
        refreshing(browser, exporter)
        keeping(browser, exporter)
        hostile(browser, exporter)
        blind(browser, exporter)
        many(browser, exporter)
        browser.close()
    exporter.stop()
    simulator.stop()
    finish()


if __name__ == "__main__":
    main()
