"""Pages in a real browser, of real runs."""

import dataclasses
import importlib
import re
import uuid

import pytest
from axe_playwright_python.async_playwright import Axe
from dashboards import TRAIN, VAL, start
from playwright.async_api import expect
from real_parts import USER_CODE

from dspex import Client
from dspex_core import LM, Example, Module, Predict, ReAct, Signature
from dspex_core.optimizers import BootstrapFewShot, BootstrapFewShotWithRandomSearch, LabeledFewShot
from dspex_core.testing import FakeProviderProcess, conformance_rows

pytestmark = [pytest.mark.slow, pytest.mark.asyncio(loop_scope="session")]

HOSTILE = """<img src=x onerror="window.broken_into=1"><script>window.broken_into=1</script>{{constructor}}"""
SOON = 2_000
"""Milliseconds that a page may take to show what has happened."""


async def first_candidate(run):
    async for event in run.events():
        if event.type == "candidate_evaluated":
            return event
    raise AssertionError("the run ended without a candidate")


@pytest.mark.alone
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
    demos = result.program.get_state().predictors["self"].demos
    await page.get_by_text(f"{len(demos)} demos", exact=True).click()
    await expect(page.get_by_role("region", name="Demos of self").get_by_role("row")).to_have_count(1 + len(demos))


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
    address = page.url
    for kind, where in (("candidates", "1"), ("rows", "1/0")):
        await page.goto(address.replace("/runs/", f"/{kind}/") + f"/{where}")
        await expect(page.get_by_text(HOSTILE).first).to_be_visible()
        assert await page.evaluate("window.broken_into") is None
    assert await page.evaluate("window.broken_into") is None
    assert await page.locator("img").count() == 0


async def test_a_candidate_is_followed_down_to_the_messages_of_a_row(client, shared_platform, open_page):
    run = await start(client, shared_platform.lm(), name="rows")
    await run.result()
    page = await open_page(f"/runs/{run.id}")
    await page.get_by_role("region", name="Candidates").get_by_role("link", name="1", exact=True).click()
    rows = page.get_by_role("region", name="Rows").get_by_role("table")
    await expect(rows.get_by_role("row")).to_have_count(1 + len(VAL))
    first = VAL[0]
    await expect(rows.get_by_role("row").nth(1)).to_contain_text(first.text)
    await expect(rows.get_by_role("row").nth(1)).to_contain_text(first.topic)
    await rows.get_by_role("link", name="0", exact=True).click()
    messages = page.get_by_role("region", name="Messages")
    await expect(messages).to_contain_text("[[ ## topic ## ]]")
    await expect(messages).to_contain_text(TRAIN[0].text.split(":")[0].split()[0])
    await expect(messages).to_contain_text(f"[[ ## text ## ]]\n{first.text}")
    await expect(messages.get_by_text("answer", exact=True)).to_be_visible()


async def test_a_run_that_is_not_there_is_said_to_be_unknown_and_has_no_buttons(open_page):
    page = await open_page("/runs/no-such-run")
    await expect(page.get_by_role("alert").first).to_contain_text("there is no run 'no-such-run'")
    await expect(page.get_by_role("button", name="Pause")).to_be_hidden()


async def test_only_the_rows_that_lost_are_shown_if_that_is_asked(client, shared_platform, open_page):
    run = await start(client, shared_platform.lm(), name="lost")
    result = await run.result()
    lost = sum(score < 1.0 for score in result.baseline_scores)
    page = await open_page(f"/candidates/{run.id}/0")
    await page.get_by_label("Show").select_option("Rows below 1")
    rows = page.get_by_role("region", name="Rows").get_by_role("table").get_by_role("row")
    await expect(rows).to_have_count(1 + lost)


async def test_runs_are_filtered_and_sorted(client, shared_platform, open_page):
    lm = shared_platform.lm()
    labeled = await start(client, lm, name="sorted")
    bare = await start(client, lm, optimizer=LabeledFewShot(metric="exact_match", k=1), name="sorted")
    scores = [(await run.result()).score for run in (labeled, bare)]
    assert scores[0] > scores[1]
    page = await open_page()
    links = page.get_by_role("cell").get_by_role("link", name=re.compile(f"^({labeled.id}|{bare.id})$"))
    await page.get_by_label("Optimizer").select_option("labeled_few_shot")
    await page.get_by_label("Status").select_option("completed")
    for descending in (True, False):
        await page.get_by_role("button", name="Best score").click()
        header = page.get_by_role("columnheader", name="Best score")
        await expect(header).to_have_attribute("aria-sort", "descending" if descending else "ascending")
        best_first = [labeled.id, bare.id]
        await expect(links).to_have_text(best_first if descending else best_first[::-1])
    await page.get_by_label("Status").select_option("failed")
    await expect(page.get_by_role("link", name=labeled.id)).to_have_count(0)


async def test_two_runs_are_shown_side_by_side(client, shared_platform, open_page):
    lm = shared_platform.lm()
    first, second = await start(client, lm, name="left"), await start(client, lm, name="right")
    result = await first.result()
    await second.result()
    page = await open_page("/compare")
    await page.get_by_label("First run").select_option(first.id)
    await page.wait_for_url("**/compare?first=*")
    await page.get_by_label("Second run").select_option(second.id)
    figures = page.get_by_role("region", name="Figures").get_by_role("table")
    await expect(figures.get_by_role("row", name="Best score").get_by_role("cell")).to_have_text(
        ["Best score", f"{result.score:.2f} %", f"{result.score:.2f} %"]
    )
    await expect(page.get_by_role("status")).to_contain_text("+0.00 points")


async def test_a_run_is_paused_given_a_budget_resumed_cancelled_and_reported_by_button(client, slow_model, open_page):
    search = BootstrapFewShotWithRandomSearch(metric="exact_match", num_candidate_programs=8)
    # Rows that no other test asked for: the baseline takes calls.
    run = await start(client, slow_model, optimizer=search, name="buttons", val=conformance_rows(16, start=60))
    page = await open_page(f"/runs/{run.id}")
    status, table = page.get_by_role("status"), page.get_by_role("region", name="Candidates")
    await expect(table.get_by_role("cell", name="baseline")).to_be_visible(timeout=20_000)
    await page.get_by_role("button", name="Pause").click()
    await expect(status).to_have_text("paused")
    assert (await run.status()).status == "paused"
    await page.get_by_role("button", name="Set a budget").click()
    form = page.get_by_role("group", name="Budget")
    await form.get_by_label("Limit").select_option("LM calls")
    for written, answer in (("many", "a whole number above 0, not 'many'"), ("1", "is no more than the run took")):
        await form.get_by_label("How much in all").fill(written)
        await form.get_by_role("button", name="Set the budget").click()
        await expect(page.get_by_role("alert").filter(has_text=answer)).to_be_visible()
    await form.get_by_label("How much in all").fill("5,000")
    await form.get_by_role("button", name="Set the budget").click()
    await expect(form).to_be_hidden()
    await expect(page.get_by_text("of 5,000 LM calls")).to_be_visible()
    assert (await run.status()).budget.lm_calls == 5_000
    await expect(page.get_by_role("button", name="Raise budget")).to_be_visible()
    await page.get_by_role("button", name="Resume").click()
    await expect(status).to_have_text("running")
    await page.get_by_role("button", name="Cancel", exact=True).click()
    await page.get_by_role("button", name="Keep it going").click()
    await expect(page.get_by_role("button", name="Cancel the run")).to_be_hidden()
    assert (await run.status()).status == "running"
    await page.get_by_role("button", name="Cancel", exact=True).click()
    await page.get_by_role("button", name="Cancel the run").click()
    await expect(status).to_have_text("cancelled", timeout=20_000)
    for name in ("Pause", "Raise budget"):
        await expect(page.get_by_role("button", name=name)).to_be_hidden()
    assert (await run.status()).status == "cancelled"
    await page.get_by_role("link", name="Report").click()
    await expect(page.get_by_role("heading", name=run.id)).to_be_visible()


async def test_the_program_that_a_run_found_is_exported(client, shared_platform, open_page, tmp_path):
    run = await start(client, shared_platform.lm(), name="export")
    result = await run.result()
    page = await open_page(f"/runs/{run.id}")
    async with page.expect_download() as download:
        await page.get_by_role("link", name="Export program").click()
    await (await download.value).save_as(tmp_path / "program.json")
    assert Module.load(tmp_path / "program.json").get_state() == result.program.get_state()
    await page.get_by_role("link", name="Report").click()
    await expect(page.get_by_role("heading", name=run.id)).to_be_visible()


async def test_a_run_is_started_from_a_file(client, shared_platform, open_page, tmp_path):
    rows = "".join(f"{row.text},{row.topic}\n" for row in TRAIN)
    (tmp_path / "mine.csv").write_text(f"text,topic\n{rows}")
    (tmp_path / "notes.txt").write_text("no data")
    page = await open_page("/start")
    await page.get_by_role("button", name="Start the run").click()
    await expect(page.get_by_role("alert")).to_contain_text("Choose a data file first")
    await page.get_by_label("Data file").set_input_files(tmp_path / "notes.txt")
    await expect(page.get_by_text("It was refused: a data file ends in")).to_be_visible()
    await page.get_by_label("Data file").set_input_files(tmp_path / "mine.csv")
    await expect(page.get_by_text("mine.csv: 24 rows")).to_be_visible()
    await expect(page.get_by_label("topic", exact=True)).to_have_value("output")
    await page.get_by_label("Task in words").fill("Which topic is it?")
    await page.get_by_label("Optimizer").select_option("labeled few shot")
    await page.get_by_label("Model", exact=True).fill("openai/fake")
    await page.get_by_label("Address of the model").fill("an address")
    name = f"form-{uuid.uuid4().hex[:6]}"
    await page.get_by_label("Name of the run").fill(name)
    await page.get_by_label("Most LM calls").fill("0.5")
    await page.get_by_role("button", name="Start the run").click()
    await expect(page.get_by_role("alert")).to_contain_text("Most LM calls: write a whole number above 0")
    await page.get_by_label("Most LM calls").fill("200")
    await page.get_by_role("button", name="Start the run").click()
    await expect(page.get_by_role("alert")).to_contain_text("http:// or https://")
    await page.get_by_label("Address of the model").fill(shared_platform.provider.base_url)
    await page.get_by_role("button", name="Start the run").click()
    await expect(page.get_by_role("heading", name=name)).to_be_visible()
    await expect(page.get_by_role("status")).to_have_text("completed", timeout=20_000)
    await expect(page.get_by_text("Which topic is it?").first).to_be_visible()
    await expect(page.get_by_text("of 200 LM calls")).to_be_visible()
    await expect(page.get_by_text("seconds since the start")).to_be_visible()
    assert len((await client.get_run(name).output()).scored_rows) == 5


async def require_usable(page):
    """Nothing that axe-core calls serious, and nothing beside the page."""
    found = await Axe().run(page)
    serious = [each for each in found.response["violations"] if each["impact"] in {"serious", "critical"}]
    assert serious == [], found.generate_report()
    beside = await page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
    assert beside <= 0, f"{page.url} is {beside} px too wide"


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 360], ids=["desktop", "phone"])
async def test_pages_have_no_serious_barrier_and_fit_their_screen(client, shared_platform, open_page, scheme, width):
    run = await start(client, shared_platform.lm(), name="barrier-in-a-run-that-has-a-long-name-without-any-blanks")
    await run.result()
    of_run = (f"/runs/{run.id}", f"/candidates/{run.id}/1", f"/rows/{run.id}/1/0")
    page = await open_page("/", color_scheme=scheme, viewport={"width": width, "height": 800})
    for path in ("/", *of_run, f"/compare?first={run.id}&second={run.id}", "/start"):
        await page.goto(page.url.split("/", 3)[0] + "//" + page.url.split("/", 3)[2] + path)
        await expect(page.get_by_role("heading", level=1)).to_be_visible()
        await expect(page.locator("td:visible, input:visible, pre:visible").first).to_be_visible()
        await require_usable(page)


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


async def test_a_call_that_waits_for_a_person_is_found_and_decided_on_by_button(
    shared_platform, open_page, tmp_path, monkeypatch
):
    monkeypatch.syspath_prepend(USER_CODE)
    desk = importlib.import_module("desk_app")
    wanted = desk.step("", "pay", {"folder": str(tmp_path), "amount": 40}, thought=HOSTILE)
    again = desk.step("observation_0", "pay", {"folder": HOSTILE, "amount": 2})
    script = [desk.FINAL, desk.step("observation_1", "finish", {}), again, wanted]
    queue = {**shared_platform.variables, "DSPEX_TASK_QUEUE": f"desk-{uuid.uuid4().hex}"}
    for name, value in queue.items():
        monkeypatch.setenv(name, value)
    elsewhere = dataclasses.replace(shared_platform, variables=queue)
    with FakeProviderProcess(script=script) as model, elsewhere.worker(trust=("desk_app",)):
        async with await Client.connect() as asker:
            lm = LM("openai/fake", api_base=model.base_url, cache=False)
            program = ReAct("question -> answer", [desk.pay])
            run = await asker.start_program(program, inputs={"question": desk.QUESTION}, lm=lm)
            page = await open_page(viewport={"width": 360, "height": 800})
            await page.get_by_role("link", name=run.id).click()
            first = page.get_by_role("article", name="Call pay-1")
            await expect(first).to_contain_text("40")
            await require_usable(page)
            await first.get_by_role("button", name="Approve").click()
            second = page.get_by_role("article", name="Call pay-2")
            await expect(second.get_by_text(HOSTILE)).to_be_visible()
            await expect(first).to_have_count(0)
            await second.get_by_label("Why").fill("that is nobody's folder")
            await second.get_by_role("button", name="Reject").click()
            await expect(page.get_by_role("status")).to_have_text("completed")
            await expect(page.get_by_role("region", name="To be decided")).to_be_hidden()
            prediction = await run.prediction()
    assert (tmp_path / "paid").read_text() == "40\n"
    assert "that is nobody's folder" in prediction.trajectory["observation_1"]
    assert await page.evaluate("window.broken_into") is None
