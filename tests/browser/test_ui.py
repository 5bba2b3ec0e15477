"""Both user interfaces in a real browser, as a person meets them after `perennial up`.

It needs Debian's Chromium (`apt-get install chromium`) and `pip install playwright`. With PERENNIAL_SCREENSHOTS=FOLDER
the pictures of docs/images are taken on the way.
"""

import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from pipelines.edge.home import Home
from pipelines.service.addresses import service
from pipelines.service.supervisor import down
from tests.pipelines.service.test_supervisor import configured, logs, started, verdicts
from tests.servers import free_port, until
from tests.workspaces import rows, write_rows

sync_api = pytest.importorskip("playwright.sync_api", reason="needs playwright: pip install playwright")
CHROMIUM = shutil.which("chromium")
OPTIONS = ("no-sandbox", "disable-gpu", "no-first-run", "disable-background-networking", "disable-component-update")
LOOPBACK = {"127.0.0.1", "localhost", ""}  # and what has no host: data, blobs
PATIENCE = 60_000.0  # milliseconds, for a page on a busy machine
pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(900),
    pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium: apt-get install chromium"),
]


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Home]:
    """A workspace that is up, after its first refresh."""
    ports = {"prefect_port": free_port(), "mlflow_port": free_port()}
    made = configured(tmp_path_factory.mktemp("browser") / "workspace", "perennial", servers=ports)
    try:
        started(made)
        until(lambda: len(verdicts(made)) == 1, "the first refresh", 240)
        yield made
    finally:
        down(made)


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with sync_api.sync_playwright() as playwright:
        words = [f"--{option}" for option in OPTIONS]
        opened = playwright.chromium.launch(executable_path=CHROMIUM, headless=True, args=words)
        yield opened
        opened.close()


@pytest.fixture
def page(browser: Any) -> Iterator[Any]:
    """A page of a new browser; nothing that it shows may come from elsewhere."""
    sync_api.expect.set_options(timeout=PATIENCE)
    context = browser.new_context(viewport={"width": 1280, "height": 800})
    context.set_default_timeout(PATIENCE)
    asked: set[str] = set()
    context.on("request", lambda request: asked.add(urlsplit(request.url).hostname or ""))
    yield context.new_page()
    context.close()
    assert asked <= LOOPBACK, f"a page asked {asked - LOOPBACK}"


def address(home: Home, name: str) -> str:
    up = service(home)
    assert up, logs(home)
    return str(up["addresses"][name])


def keep(page: Any, name: str) -> None:
    """Take the picture for docs/images, where one is wanted."""
    folder = os.environ.get("PERENNIAL_SCREENSHOTS")
    if folder:
        page.wait_for_timeout(3000)  # for what is drawn on a canvas, which no test can ask
        page.screenshot(path=Path(folder) / f"{name}.png", animations="disabled")


def runs_of(page: Any, home: Home) -> None:
    """Open MLflow at the workspace's runs, as its person does: the view of training, without the assistant."""
    page.goto(f"{address(home, 'mlflow')}/#/experiments")
    page.get_by_text("Model training", exact=True).click()
    page.get_by_role("link", name="perennial", exact=True).click()
    sync_api.expect(page.get_by_role("link", name=re.compile("version 1 accepted"))).to_be_visible()
    close = page.locator("[data-component-id='mlflow.assistant.chat_panel.close']")
    if close.count():
        close.click()


def test_a_landed_file_becomes_a_run_that_a_person_sees_appear(home: Home, page: Any) -> None:
    page.goto(f"{address(home, 'prefect')}/runs")
    found = page.get_by_role("link", name="landing", exact=True)
    sync_api.expect(found).to_have_count(1)
    write_rows(home.root / "inbox" / "types" / "more.jsonl", rows("types", 60, 20))
    sync_api.expect(found).to_have_count(2)  # the page asks again by itself
    until(lambda: len(verdicts(home)) == 2, "the second refresh", 240)
    assert verdicts(home)[1] == ("accepted", "2")


def test_the_refresh_its_reason_and_its_heat_map_are_three_clicks_away(home: Home, page: Any) -> None:
    runs_of(page, home)
    page.get_by_role("link", name=re.compile("version 2 accepted")).click()
    sync_api.expect(page.get_by_role("heading", name=re.compile("version 2 accepted · perennial tiny"))).to_be_visible()
    page.get_by_text("Show more").first.click()
    for words in ("Gained and lost", "Why", "Trained on", "Data"):
        sync_api.expect(page.get_by_role("heading", name=words, exact=True)).to_be_visible()
    sync_api.expect(page.get_by_text("Version 2 accepted", exact=True)).to_be_visible()
    sync_api.expect(page.get_by_role("link", name="10 gate")).to_be_visible()
    page.get_by_text("Gained and lost").scroll_into_view_if_needed()
    keep(page, "mlflow-run")
    page.get_by_role("tab", name="Artifacts").click()
    page.get_by_text("plots", exact=True).click()
    page.get_by_text("matrix.png", exact=True).click()
    picture = page.get_by_alt_text("plots/matrix.png").first
    sync_api.expect(picture).to_be_visible()
    assert picture.evaluate("image => image.naturalWidth") > 300
    keep(page, "mlflow-matrix")


def test_the_whole_line_is_one_run_with_its_table_and_curves(home: Home, page: Any) -> None:
    runs_of(page, home)
    page.get_by_role("link", name="perennial line", exact=True).click()
    page.get_by_role("tab", name="Model metrics").click()
    for task in ("statements", "types", "general"):
        sync_api.expect(page.get_by_role("heading", name=task, exact=True)).to_be_visible()
    page.get_by_role("tab", name="Artifacts").click()
    page.get_by_text("matrix.json", exact=True).click()
    sync_api.expect(page.get_by_text("champion", exact=True)).to_be_visible()
    page.get_by_text("plots", exact=True).click()
    page.get_by_text("curves.png", exact=True).click()
    sync_api.expect(page.get_by_alt_text("plots/curves.png").first).to_be_visible()


def test_the_registered_model_shows_its_champion_and_its_history(home: Home, page: Any) -> None:
    runs_of(page, home)
    page.get_by_role("link", name="Model registry").click()
    page.get_by_role("button", name="Try it now").wait_for()
    page.keyboard.press("Escape")  # out of what MLflow praises at a first visit
    page.get_by_role("row").get_by_role("link", name="perennial", exact=True).click()
    sync_api.expect(page.get_by_text(re.compile("version 2 serves"))).to_be_visible()
    champion = page.get_by_role("row").filter(has_text="Version 2").get_by_text(re.compile("champion"))
    sync_api.expect(champion.first).to_be_visible()
    keep(page, "mlflow-model")


def test_prefect_shows_the_stages_and_the_report_with_links_both_ways(home: Home, page: Any) -> None:
    page.goto(f"{address(home, 'prefect')}/runs")
    page.get_by_role("link", name="landing", exact=True).first.click()
    sync_api.expect(page.get_by_text("Accepted", exact=True).first).to_be_visible()
    page.get_by_text("Artifacts", exact=True).click()
    page.get_by_text("refresh-report").first.wait_for()
    keep(page, "prefect-run")
    page.get_by_text("refresh-report").first.click()
    sync_api.expect(page.get_by_text("Version 2 accepted", exact=True)).to_be_visible()
    run = followed(page, "the MLflow run")
    sync_api.expect(run.get_by_role("heading", name=re.compile("version 2 accepted"))).to_be_visible()
    run.get_by_text("Show more").first.click()
    flow_run = followed(run, "the Prefect run")
    sync_api.expect(flow_run.get_by_text("Accepted", exact=True).first).to_be_visible()
    assert flow_run.url.startswith(f"{address(home, 'prefect')}/runs/flow-run/")


def followed(page: Any, link: str) -> Any:
    """The page that a link opens, in a tab of its own."""
    with page.context.expect_page() as opened:
        page.get_by_role("link", name=link).click()
    return opened.value
