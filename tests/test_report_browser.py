"""The pages in a browser: no errors, nothing fetched, usable by keyboard and on a phone, whole in print."""

import shutil
from itertools import pairwise

import pytest
from shown import write_all

playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed: pip install playwright")
BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
pytestmark = pytest.mark.skipif(BROWSER is None, reason="no Chromium on this machine")

PRINTED = 680  # pixels: A4 less two margins of 15 mm
OUT_OF_REACH = """() => [...document.querySelectorAll("body *")].filter((own) => {
  const style = getComputedStyle(own);
  const scrolls = (way, size) => ["auto", "scroll"].includes(style["overflow" + way]) &&
    own["scroll" + size] > own["client" + size] + 1;
  return (scrolls("X", "Width") || scrolls("Y", "Height")) && own.tabIndex < 0;
}).map((own) => own.outerHTML.slice(0, 120))"""
PALE = """() => {
  const light = (colour) => colour.match(/[\\d.]+/g).slice(0, 3).map((part) => part / 255)
    .map((c) => (c <= 0.03928 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4))
    .reduce((sum, c, k) => sum + c * [0.2126, 0.7152, 0.0722][k], 0);
  const behind = (own) => {
    for (; own; own = own.parentElement) {
      const colour = getComputedStyle(own).backgroundColor;
      if (!colour.endsWith(", 0)")) return colour;
    }
    return "rgb(255, 255, 255)";
  };
  return [...document.querySelectorAll("body *:not(svg):not(svg *):not(script)")]
    .filter((own) => [...own.childNodes].some((node) => node.nodeType === 3 && node.textContent.trim()))
    .filter((own) => {
      const [a, b] = [light(getComputedStyle(own).color), light(behind(own))];
      return (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05) < 4.5;
    }).map((own) => own.textContent.slice(0, 60));
}"""
TINY = """() => [...document.querySelectorAll("svg text")].map((own) => [own.textContent, own.getBoundingClientRect()])
  .filter(([words, box]) => words.trim() && box.height < 9).map(([words]) => words)"""
CUT = """() => [...document.querySelectorAll("figure svg")].flatMap((own) => {
  const frame = own.getBoundingClientRect();
  return [...own.querySelectorAll("text")].filter((text) => {
    const box = text.getBoundingClientRect();
    return box.left < frame.left - 1 || box.right > frame.right + 1 || box.top < frame.top - 1 ||
      box.bottom > frame.bottom + 1;
  }).map((text) => text.textContent);
})"""
WIDE = "all => all.map(own => own.getBoundingClientRect().right).filter(right => right > innerWidth + 1)"


@pytest.fixture(scope="module")
def address(tmp_path_factory):
    """The page of the small cohort, with its figures beside it."""
    return write_all(tmp_path_factory.mktemp("report"))


@pytest.fixture(scope="module")
def browser():
    with playwright.sync_playwright() as engine:
        browser = engine.chromium.launch(executable_path=BROWSER, args=["--no-sandbox", "--disable-gpu"])
        yield browser
        browser.close()


@pytest.fixture(params=[1280, 390])
def page(browser, address, request):
    """The page at the width of a desk and of a phone, with what it says and asks for in `told` and `asked`."""
    page = browser.new_page(viewport={"width": request.param, "height": 844})
    page.told, page.asked = [], []
    page.on("console", lambda message: page.told.append(message.text))
    page.on("pageerror", lambda error: page.told.append(str(error)))
    page.on("request", lambda asked: page.asked.append(asked.url))
    page.goto(address.as_uri())
    yield page
    page.close()


def test_no_errors_and_nothing_is_fetched(page, address):
    for button in page.locator("button").all():
        button.click()
    page.select_option("#brain-edge", "1")
    for summary in page.locator("summary").all():
        summary.click()
    assert page.told == []
    assert page.asked == [address.as_uri()]


def test_every_link_leads_somewhere(page, address):
    links = page.eval_on_selector_all("a[href]", "links => links.map(link => link.getAttribute('href'))")
    ids = set(page.eval_on_selector_all("[id]", "own => own.map(one => one.id)"))
    inside = [link for link in links if link.startswith("#")]
    assert inside and all(link[1:] in ids for link in inside)
    files = [link for link in links if not link.startswith(("#", "https:", "data:"))]
    assert files and all((address.parent / link).is_file() for link in files)


def test_links_within_the_page_work_in_the_frame_that_mlflow_puts_it_into(browser, address):
    page = browser.new_page()
    page.set_content('<iframe sandbox="allow-scripts" width="900" height="600"></iframe>')
    page.evaluate(
        """html => { const page = new Blob([html], { type: "text/html" });
             document.querySelector("iframe").src = URL.createObjectURL(page); }""",
        address.with_name("standalone.html").read_text(),
    )
    frame = page.frame_locator("iframe")
    frame.locator(".contents a[href='#localization']").click()
    page.wait_for_timeout(1000)  # it scrolls smoothly
    top = "own => own.getBoundingClientRect().top"
    assert 0 <= frame.locator("#localization").evaluate(top) < 200 < -frame.locator("#main").evaluate(top)
    page.close()


def test_the_page_is_as_wide_as_the_screen(page):
    page.eval_on_selector_all("details", "all => all.forEach(own => { own.open = true; })")
    assert page.evaluate("document.documentElement.scrollWidth") == page.viewport_size["width"]


def test_what_scrolls_can_be_reached_by_keyboard(page):
    page.eval_on_selector_all("details", "all => all.forEach(own => { own.open = true; })")
    assert page.evaluate(OUT_OF_REACH) == []


def test_the_keyboard_reaches_everything_and_shows_where_it_is(page):
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.className") == "skip"
    assert page.locator(".skip").bounding_box()["x"] >= 0
    wanted = page.locator("a[href], button, select, summary, [tabindex='0']").count()
    reached, hidden = set(), []
    for _ in range(wanted + 5):
        place, outline = page.evaluate(
            """() => { const own = document.activeElement;
                 return [[...document.querySelectorAll("*")].indexOf(own), getComputedStyle(own).outlineStyle]; }"""
        )
        hidden += [place] * (outline == "none" and page.evaluate("document.activeElement !== document.body"))
        reached.add(place)
        page.keyboard.press("Tab")
    assert not hidden
    assert len(reached) >= 0.95 * page.locator("a[href]:visible, button:visible, select, summary").count()


def test_everybody_is_sorted_by_keyboard(page, address):
    page.goto((address.parent / "people/index.html").as_uri())
    before = page.locator("tbody th a").all_inner_texts()
    told = lambda: page.eval_on_selector_all("thead th", "all => all.map(own => own.getAttribute('aria-sort'))")
    assert told() == [None] * 6
    for way in (1, -1):
        page.get_by_role("button", name="Mean FD, mm").focus()
        page.keyboard.press("Enter")
        motion = [float(text) for text in page.locator("tbody td:nth-child(2)").all_inner_texts() if text[0].isdigit()]
        assert len(motion) == 23 and motion == sorted(motion, reverse=way < 0)
        assert page.locator("tbody td:nth-child(2)").last.inner_text() == "—"  # not measured: last, whichever way
        assert told() == [None, "ascending" if way > 0 else "descending", None, None, None, None]
    page.get_by_role("button", name="Participant").click()
    assert page.locator("tbody th a").all_inner_texts() == before and told()[0] == "ascending"
    page.get_by_role("button", name="Note").click()
    notes = page.locator("tbody td:last-child").all_inner_texts()
    written = [text.split(":")[0].split(";")[0] for text in notes if text]
    assert {"left out", "moves much"} <= set(written)
    assert all(notes[: len(written)]) and not any(notes[len(written) :])  # no note: last
    assert [text for k, text in enumerate(written) if text not in written[:k]] == sorted(set(written))
    assert page.told == [] and page.evaluate("document.documentElement.scrollWidth") == page.viewport_size["width"]


def test_the_brain_turns_by_keyboard_and_tells_its_connections(page):
    drawn = lambda: page.evaluate("new Promise(done => requestAnimationFrame(() => requestAnimationFrame(() => "
                                  "done(document.getElementById('brain-canvas').toDataURL()))))")  # fmt: skip
    page.locator("#brain-canvas").focus()
    before = drawn()
    page.keyboard.press("ArrowLeft")
    assert drawn() != before
    page.keyboard.press("ArrowRight")
    assert drawn() == before
    page.select_option("#brain-edge", "0")
    told = page.locator("#brain-told").inner_text()
    assert "weaker in patients; d = −1.40, t = −7.00, p FWER = 0.010." in told
    assert page.locator("#brain-edge option").count() == 3  # two survive; none chosen
    before = drawn()
    page.get_by_role("button", name="Above").click()
    assert drawn() != before


def test_text_has_contrast(page):
    page.eval_on_selector_all("details", "all => all.forEach(own => { own.open = true; })")
    assert page.evaluate(PALE) == []


def test_headings_are_in_order_and_pictures_have_names(page):
    levels = page.eval_on_selector_all("h1, h2, h3, h4", "all => all.map(own => Number(own.tagName[1]))")
    assert levels[0] == 1 and levels.count(1) == 1
    assert all(after <= before + 1 for before, after in pairwise(levels))
    assert page.evaluate("document.documentElement.lang") == "en"
    pictures = page.locator("svg, canvas").all()
    assert pictures and all(own.get_attribute("aria-label") or own.get_attribute("aria-labelledby") for own in pictures)


def test_print_shows_all_and_cuts_nothing(page):
    page.set_viewport_size({"width": PRINTED, "height": 1000})
    page.emulate_media(media="print")
    page.evaluate("dispatchEvent(new Event('beforeprint'))")
    assert page.locator("details:not([open])").count() == 0
    assert page.evaluate("document.documentElement.scrollWidth") <= PRINTED
    assert not page.locator("nav").is_visible() and not page.locator("#brain").is_visible()
    assert page.eval_on_selector_all("table, figure, svg, pre", WIDE) == []
    page.evaluate("dispatchEvent(new Event('afterprint'))")
    assert page.locator("details:not([open])").count() > 0


@pytest.mark.parametrize("name", ["people/sub-02.html", "people/index.html", "prediction.html"])
def test_the_pages_of_people_are_as_clean(browser, address, name):
    """A person's page, the list of all, and the page of a prediction: on a desk, on a phone and on paper."""
    page = browser.new_page(viewport={"width": 1280, "height": 844})
    told, asked = [], []
    page.on("console", lambda message: told.append(message.text))
    page.on("pageerror", lambda error: told.append(str(error)))
    page.on("request", lambda request: asked.append(request.url))
    page.goto((address.parent / name).as_uri())
    for width in (1280, 390):
        page.set_viewport_size({"width": width, "height": 844})
        assert page.evaluate("document.documentElement.scrollWidth") == width
        assert [page.evaluate(script) for script in (OUT_OF_REACH, PALE, TINY, CUT)] == [[], [], [], []]
    page.set_viewport_size({"width": PRINTED, "height": 1000})
    page.emulate_media(media="print")
    assert page.eval_on_selector_all("table, figure, svg", WIDE) == [] and not page.locator("nav").is_visible()
    assert (told, asked) == ([], [(address.parent / name).as_uri()])
    page.close()
