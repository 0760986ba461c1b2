"""Pages in a real browser, of real runs."""

import pytest
from axe_playwright_python.async_playwright import Axe
from dashboards import start
from playwright.async_api import expect

from dspex_core import Example, Predict, Signature
from dspex_core.optimizers import BootstrapFewShot

pytestmark = [pytest.mark.slow, pytest.mark.asyncio(loop_scope="session")]

HOSTILE = """<img src=x onerror="window.broken_into=1"><script>window.broken_into=1</script>{{constructor}}"""
SOON = 2_000
"""Milliseconds that a page may take to show what has happened."""


async def first_candidate(run):
    async for event in run.events():
        if event.type == "candidate_evaluated":
            return event
    raise AssertionError("the run ended without a candidate")


async def test_a_run_appears_in_the_list_and_shows_its_first_candidate_without_reload(client, slow_model, open_page):
    page = await open_page()
    await expect(page.get_by_role("heading", name="Runs")).to_be_visible()
    run = await start(client, slow_model, optimizer=BootstrapFewShot(metric="exact_match"), name="live")
    await page.get_by_role("link", name=run.id).click()
    await expect(page.get_by_role("status")).to_have_text("running")
    table = page.get_by_role("region", name="Candidates")
    candidate = await first_candidate(run)
    await expect(table.get_by_role("cell", name=candidate.label)).to_be_visible(timeout=SOON)
    await expect(table.get_by_role("cell", name=f"{candidate.score:.2f} %")).to_be_visible()
    result = await run.result()
    await expect(page.get_by_role("status")).to_have_text("completed")
    await expect(page.get_by_role("definition").filter(has_text=f"{result.score:.2f} %").first).to_be_visible()
    await expect(page.get_by_role("region", name="Demos of self").get_by_role("row")).to_have_count(
        1 + len(result.program.get_state().predictors["self"].demos)
    )


async def test_three_browsers_at_once_see_the_same_run_go_on(client, slow_model, open_page):
    run = await start(client, slow_model, name="three")
    pages = [await open_page(f"/runs/{run.id}") for _ in range(3)]
    result = await run.result()
    for page in pages:
        await expect(page.get_by_role("status")).to_have_text("completed")
        rows = page.get_by_role("region", name="Candidates").get_by_role("row")
        await expect(rows).to_have_count(1 + len(result.candidates))


async def test_markup_in_data_and_answers_is_shown_and_does_not_run(client, shared_platform, open_page):
    rows = [Example(text=f"{HOSTILE} {number}", answer=HOSTILE).with_inputs("text") for number in range(8)]
    program = Predict(Signature("text -> answer", f"Answer. {HOSTILE}"))
    run = await start(client, shared_platform.lm(), program=program, train=rows, val=rows, name=f"{HOSTILE[:9]}")
    result = await run.result()
    assert result.score == 100.0, "the model must have said it for this test to mean anything"
    page = await open_page()
    await page.get_by_role("link", name=run.id).click()
    await expect(page.get_by_role("status")).to_have_text("completed")
    await expect(page.get_by_role("cell", name=HOSTILE, exact=True).first).to_be_visible()
    await expect(page.get_by_text(f"Answer. {HOSTILE}").first).to_be_visible()
    assert await page.evaluate("window.broken_into") is None
    assert await page.locator("img").count() == 0


@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_pages_have_no_serious_barrier(client, shared_platform, open_page, scheme):
    run = await start(client, shared_platform.lm(), name="barrier")
    await run.result()
    for path in ("/", f"/runs/{run.id}"):
        page = await open_page(path, color_scheme=scheme)
        await expect(page.get_by_role("cell").first).to_be_visible()
        found = await Axe().run(page)
        serious = [each for each in found.response["violations"] if each["impact"] in {"serious", "critical"}]
        assert serious == [], found.generate_report()


async def test_everything_is_reached_by_keyboard_alone(client, shared_platform, open_page):
    run = await start(client, shared_platform.lm(), name="keys")
    await run.result()
    page = await open_page()
    await expect(page.get_by_role("link", name=run.id)).to_be_visible()
    await page.keyboard.press("Tab")
    await expect(page.get_by_role("link", name="Skip to the content")).to_be_focused()
    await page.keyboard.press("Enter")
    for _ in range(20):
        await page.keyboard.press("Tab")
        if await page.evaluate("document.activeElement.textContent") == run.id:
            break
    await page.keyboard.press("Enter")
    await expect(page.get_by_role("heading", name=run.id)).to_be_visible()
