"""The page in Chromium, against a real server: what a person does with it, and what it must never do."""

from typing import Any

from playwright.sync_api import Browser, Route, expect

from tests.support.bundles import SENTENCES, bundle_of
from tests.support.page import TEXT, Site, Visit, answer_with, type_text, visiting

IT, KITCHEN, GENERAL = (SENTENCES[domain] for domain in ("it", "kitchen", "general"))
HOSTILE = '<script>window.hacked = 1</script><img src="x" onerror="window.hacked = 1"> & <b>fett</b>'

# Reference, text, and what of the text differs: nothing stands where only the reference has words.
DIFFERENCES = [
    ("Open the file.", "Open the file.", []),
    ("Open the big file.", "Open the small file.", ["small"]),
    ("Open the big file.", "Open the file.", [""]),
    ("Open the file.", "Open the big new file.", ["big", "new"]),
    ("Open the file", "", [""]),
    ("Open the file", "Open", [""]),
    ("", "Datei öffnen", ["Datei", "öffnen"]),
    ("one two\nthree\n", "one too\nthree\n", ["too"]),
    ("a b\nc", "a b c", []),
    ("don't stop", "don't go-on", ["go-on"]),
]


def test_text_is_translated_as_it_is_typed(visit: Visit, site: Site) -> None:
    visit.page.locator("#source").press_sequentially(IT[0][:12])
    type_text(visit)
    wanted = site.translate(TEXT)
    assert visit.text("#output") == wanted["translations"][0]["text"]
    assert visit.text("#badge") == wanted["domain"]["name"] == "it"
    assert (visit.text("#source-label"), visit.text("#target-label")) == ("German", "English")
    assert visit.text("#reason").startswith("Reason: detected. ") and "0.60" in visit.text("#reason")
    rows = visit.page.locator("#scores li").all_text_contents()
    ranked = sorted(wanted["domain"]["scores"].items(), key=lambda pair: -pair[1])
    assert rows == [f"{name}{score:.2f}" for name, score in ranked]
    widths = visit.page.evaluate("[...document.querySelectorAll('.bar i')].map(bar => bar.clientWidth)")
    assert widths == sorted(widths, reverse=True) and widths[0] > 10 * max(widths[1], 1)
    assert visit.page.url == site.url and visit.page.evaluate("sessionStorage.length + localStorage.length") == 0


def test_typing_on_cancels_the_request_before(visit: Visit) -> None:
    held: list[Route] = []
    visit.page.route("**/v1/translate", lambda route: held.append(route) if not held else route.continue_())
    with visit.page.expect_event("requestfailed") as failed:
        visit.page.fill("#source", KITCHEN[0])
        expect(visit.page.locator("#form")).to_have_attribute("aria-busy", "true")
        type_text(visit, IT[0])
    assert failed.value.post_data_json["text"] == KITCHEN[0] and "ABORTED" in failed.value.failure
    assert visit.text("#badge") == "it"
    expect(visit.page.locator("#form")).to_have_attribute("aria-busy", "false")
    held.clear()
    visit.page.fill("#source", KITCHEN[1])
    expect(visit.page.locator("#form")).to_have_attribute("aria-busy", "true")
    with visit.page.expect_event("requestfailed"):
        visit.page.fill("#source", "")
    visit.page.evaluate("new Promise(requestAnimationFrame)")
    assert visit.text("#status") == visit.text("#output") == ""


def test_live_translation_can_be_switched_off(visit: Visit) -> None:
    visit.page.get_by_label("As I type").uncheck()
    visit.page.fill("#source", IT[0])
    visit.page.wait_for_timeout(700)
    assert not [url for url in visit.requests if url.endswith("v1/translate")]
    visit.page.get_by_role("button", name="Translate").click()
    expect(visit.page.locator("#badge")).to_have_text("it")
    visit.page.fill("#source", "")
    assert visit.text("#output") == "" and not visit.page.locator("#route").is_visible()


def test_a_domain_is_chosen_by_hand_and_stays_in_the_address(visit: Visit, site: Site) -> None:
    type_text(visit)
    visit.page.get_by_label("kitchen").check(force=True)
    expect(visit.page.locator("#badge")).to_have_text("kitchen")
    assert visit.text("#output") == site.translate(TEXT, domain="kitchen")["translations"][0]["text"]
    assert visit.text("#reason").startswith("Reason: asked for. ")
    assert visit.page.url == f"{site.url}#domain=kitchen"
    visit.page.reload()
    expect(visit.page.get_by_label("kitchen")).to_be_checked()
    assert visit.page.input_value("#source") == ""


def test_domains_are_compared_word_by_word(visit: Visit, site: Site) -> None:
    type_text(visit)
    visit.page.get_by_role("button", name="Compare domains").click()
    expect(visit.page.locator("#status")).to_have_text("3 domains compared.")
    columns = visit.page.locator("#columns .card")
    assert [name.split()[0] for name in columns.locator("h3").all_inner_texts()] == ["general", "it", "kitchen"]
    found = {name: site.translate(TEXT, domain=name)["translations"][0]["text"] for name in SENTENCES}
    assert columns.locator(".result").all_text_contents() == list(found.values())
    assert columns.nth(0).locator("mark").count() == 0
    assert columns.nth(1).locator("mark").count() > 0
    assert visit.text("#route-title") == "Closest domain: it"
    visit.page.get_by_label("it", exact=True).uncheck(force=True)
    expect(visit.page.locator("#status")).to_have_text("2 domains compared.")
    visit.page.get_by_label("kitchen").uncheck(force=True)
    expect(visit.page.locator("#status")).to_have_text("Choose two or more.")
    visit.page.get_by_role("button", name="Compare domains").click()
    expect(visit.page.locator("#single")).to_be_visible()


def test_differences(visit: Visit) -> None:
    script = (
        "async pairs => { const m = await import('./static/words.js'); return pairs.map(p => m.differences(...p)) }"
    )
    results = visit.page.evaluate(script, [[reference, text] for reference, text, _ in DIFFERENCES])
    for parts, (_, text, marked) in zip(results, DIFFERENCES, strict=True):
        assert "".join(part["text"] for part in parts) == text
        assert [part["text"] for part in parts if part["differs"]] == marked, text


def test_sentences_are_found_among_tags(visit: Visit) -> None:
    text = '<p>Ein <b\nclass="x">fettes</b> Wort\n mehr (a*b). Ja?</p> 5 &lt; 6. <br> Ja? 😀!'
    pieces = ["Ein fettes Wort mehr (a*b).", "Ja?", "nirgends", "", "Ja?", "😀!"]
    script = "async pieces => (await import('./static/words.js')).placed(...pieces)"
    parts = visit.page.evaluate(script, [text, pieces, True])
    assert "".join(part["text"] for part in parts) == text
    found = [(part["index"], part["text"]) for part in parts if "index" in part]
    assert found == [(0, text[3 : text.index(" Ja?")]), (1, "Ja?"), (4, "Ja?"), (5, "😀!")]
    parts = visit.page.evaluate(script, ["Ein <b> und\n< c >.", ["<b> und", "< c >."], False])
    assert parts == [
        {"text": "Ein "},
        {"text": "<b> und", "index": 0},
        {"text": "\n"},
        {"text": "< c >.", "index": 1},
        {"text": ""},
    ]


def test_long_lines_are_compared_in_time(visit: Visit) -> None:
    script = """async () => {
        const { differences } = await import('./static/words.js');
        const line = (word, count) => Array.from({ length: count }, (_, at) => word + at).join(' ');
        return [900, 9000].map(count => differences(line('a', count), line('a', count - 1) + ' b')
            .filter(part => part.differs).map(part => part.text.length));
    }"""
    short, long = visit.page.evaluate(script)
    assert short == [1] and len(long) == 1 and long[0] > 50_000


def test_a_sentence_shows_its_counterpart(visit: Visit, site: Site) -> None:
    type_text(visit)
    wanted = site.translate(TEXT)["translations"][0]["sentences"]
    assert visit.page.locator("#mirror .sentence").all_text_contents() == [one["source"] for one in wanted]
    spans = visit.page.locator("#output .sentence")
    assert spans.all_text_contents() == [one["translation"] for one in wanted if one["translation"]]
    spans.nth(0).hover()
    shown = visit.text("#sentence")
    assert wanted[0]["source"] in shown and f"{wanted[0]['log_probability']:.2f}".replace("-", "−") in shown
    assert "Log-probability" in shown and "not how good" in shown
    assert visit.page.locator("#mirror .on").text_content() == wanted[0]["source"]
    box = visit.page.locator("#mirror .sentence").nth(2).bounding_box()
    assert box is not None
    visit.page.mouse.move(box["x"] + 5, box["y"] + box["height"] / 2)
    assert visit.page.locator("#output .on").text_content() == wanted[2]["translation"]


def test_the_source_and_its_mirror_break_lines_alike(visit: Visit) -> None:
    type_text(visit, f"{' '.join(GENERAL)}\n\n{'x' * 300}\n")
    written = "element => { element.style.height = 0; return element.scrollHeight }"
    mirrored = "element => { element.style.alignSelf = 'start'; return element.getBoundingClientRect().height }"
    height = visit.page.locator("#mirror").evaluate(mirrored)
    assert height > 250 and abs(visit.page.locator("#source").evaluate(written) - height) < 1


def test_alternatives_and_html(visit: Visit, site: Site) -> None:
    type_text(visit, IT[0])
    visit.page.get_by_label("Alternatives").select_option("2")
    expect(visit.page.locator("#more li")).to_have_count(2)
    wanted = site.translate(IT[0], alternatives=2)["translations"][0]["alternatives"]
    assert visit.page.locator("#more li").all_text_contents() == wanted
    with visit.page.expect_request("**/v1/translate") as asked:
        visit.page.get_by_label("Format").select_option("html")
    assert asked.value.post_data_json["format"] == "html"


def test_bundle_facts(visit: Visit, bundles: Any) -> None:
    cards = visit.page.locator("#bundles .card")
    assert [name.split()[0] for name in cards.locator("h3").all_inner_texts()] == ["general", "it", "kitchen"]
    facts = dict(
        zip(cards.nth(1).locator("dt").all_inner_texts(), cards.nth(1).locator("dd").all_inner_texts(), strict=True)
    )
    assert facts.pop("Size").endswith(" MB")
    hash_ = bundle_of(bundles, "it").name.split("@")[1]
    assert facts == {
        "Hash": hash_,
        "Level": "O0",
        "Engine": "ctranslate2",
        "Weights": "float32",
        "BLEU": "not measured",
    }
    assert "default, loaded" in cards.nth(0).inner_text() and "default" not in cards.nth(1).inner_text()


def test_the_translation_is_copied(browser: Browser, site: Site) -> None:
    with visiting(browser, site, permissions=["clipboard-read", "clipboard-write"]) as visit:
        page, button = visit.page, visit.page.get_by_role("button", name="Copy")
        page.evaluate("window.clipboard = navigator.clipboard")
        type_text(visit, IT[0])
        button.click()
        expect(page.locator("#status")).to_have_text("Copied.")
        assert page.evaluate("clipboard.readText()") == visit.text("#output")
        # Without TLS, and not on the same machine, a page has no clipboard.
        page.evaluate("Object.defineProperty(navigator, 'clipboard', { value: undefined })")
        type_text(visit, KITCHEN[0])
        button.click()
        expect(page.locator("#status")).to_have_text("Copied.")
        assert page.evaluate("clipboard.readText()") == visit.text("#output")


def test_text_is_never_markup(visit: Visit) -> None:
    type_text(visit, f"{HOSTILE} {IT[0]}")
    sentence = {"source": HOSTILE, "translation": HOSTILE, "log_probability": -1}
    translation = {"text": f"{HOSTILE} x", "alternatives": [HOSTILE], "sentences": [sentence]}
    domain = {"name": HOSTILE, "score": 1, "scores": {HOSTILE: 1}, "reason": HOSTILE, "bundle": HOSTILE}
    answer_with(visit.page, "v1/translate", 200, {"translations": [translation], "domain": domain, "seconds": {}})
    visit.page.keyboard.press("Control+Enter")
    expect(visit.page.locator("#badge")).to_have_text(HOSTILE)
    visit.page.locator("#output .sentence").hover()
    for selector in ("#mirror", "#output", "#sentence", "#more li", "#reason", "#scores", "#route-title", "#status"):
        assert HOSTILE in visit.text(selector), selector
    answer_with(visit.page, "v1/translate", 400, {"error": HOSTILE})
    visit.page.keyboard.press("Control+Enter")
    expect(visit.page.locator("#status")).to_contain_text(HOSTILE)
    assert visit.page.locator("main img, main script").count() == 0
    assert visit.page.evaluate("window.hacked") is None


def test_the_policy_is_in_force(browser: Browser, site: Site) -> None:
    attempts = {
        "inline script": "() => document.body.append(Object.assign(document.createElement('script'), {text: 'x = 1'}))",
        "markup": "() => { document.body.innerHTML = '<p>' }",
        "style": "() => document.body.setAttribute('style', 'color: red')",
        "elsewhere": "() => fetch('http://127.0.0.2:9/')",
    }
    context = browser.new_context()
    page = context.new_page()
    page.goto(site.url)
    page.evaluate(
        "window.broken = [];"
        "document.addEventListener('securitypolicyviolation', event => broken.push(event.effectiveDirective))"
    )
    for attempt in attempts.values():
        page.evaluate(f"Promise.resolve().then({attempt}).catch(() => 0)")
    page.wait_for_function("broken.length >= 4")
    assert set(page.evaluate("broken")) == {"require-trusted-types-for", "style-src-attr", "connect-src"}
    context.close()


def test_the_description_of_the_interface_is_drawn(browser: Browser, site: Site) -> None:
    with visiting(browser, site, "docs#schema-NativeTranslateFields") as visit:
        opened = visit.page.locator("#schema-NativeTranslateFields")
        expect(opened).to_have_attribute("open", "")
        assert "beam_size" in (opened.text_content() or "")
        assert visit.page.locator("#operations details").count() > 20
        headings = visit.page.locator("#operations h2").all_text_contents()
        assert headings == ["LibreTranslate", "DeepL", "fmalloc", "Open Inference Protocol", "Health", "Schemas"]
