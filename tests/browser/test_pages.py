"""What a person sees in a browser: MLflow's pages of a sweep, and its report. Run by `make test-browser`.

With SER_SCREENSHOTS=DIR the pictures of the README are written to DIR.
"""

import os
import re
import sys
import time
from contextlib import contextmanager
from pathlib import Path

import pytest
from generated import SPACE, generate
from mlflow import MlflowClient
from playwright.sync_api import expect, sync_playwright
from processes import ROOT, environment, free_port, job, serving

from search.library_internals import shared_view_link

pytestmark = [pytest.mark.browser, pytest.mark.timeout(900)]

CHROMIUM = "/usr/bin/chromium"
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update"]
LARGE = 300
# The README shows the sweep of `make sweep`; what its pages look like does not depend on how much it trained on.
FEW_CLIPS = [] if "SER_SCREENSHOTS" in os.environ else ["speakers=5", "clips_per_emotion=1", "--width", 64]
# MLflow's own: it asks who is logged in even of a server without passwords.
HARMLESS = re.compile(r"users/current|ResizeObserver loop")
QUIET = """for (const [key, value] of [["panelOpen_v1", "false"], ["fab.autoOpenedOnFirstLoad_v1", "true"]])
  localStorage.setItem(`mlflow.assistant.${key}`, value)"""
expect.set_options(timeout=60_000)


@pytest.fixture(scope="module")
def demo(tmp_path_factory):
    """The home of `make sweep`, on fewer clips: the built-in corpus, the preset demo."""
    home = tmp_path_factory.mktemp("demo")
    store = home / "stores" / "synthetic.arrow"
    built = job("build_store.py", "--corpus", "synthetic", "--root", home / "corpus", "--out", store, *FEW_CLIPS)
    assert built.returncode == 0, built.stderr
    words = ["--store", store, "--preset", "demo", "--name", "demo", "--home", home]
    swept = job("sweep.py", *words, timeout_s=600)
    assert swept.returncode == 0, swept.stderr
    return home


@pytest.fixture(scope="module")
def large(tmp_path_factory):
    """The home of a generated sweep of many trials, with its report, sent to its database."""
    home = generate(tmp_path_factory.mktemp("large"), "large", LARGE, failed=0, pruned=0).root
    for name in (["sync_tracking.py"], ["report.py", "--sweep", "large"]):
        done = job(*name, "--home", home)
        assert done.returncode == 0, done.stderr
    return home


@pytest.fixture(scope="module")
def chromium():
    if not Path(CHROMIUM).exists():
        pytest.skip("no Chromium: apt-get install chromium")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture
def page(chromium):
    """An empty page; errors that it meets fail the test."""
    page = chromium.new_page(viewport={"width": 1400, "height": 950})
    page.add_init_script(QUIET)
    page.set_default_timeout(60_000)
    errors = []
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.on("console", lambda m: errors.append(f"{m.text} {m.location['url']}") if m.type == "error" else None)
    yield page
    page.close()
    assert [error for error in errors if not HARMLESS.search(error)] == []


@contextmanager
def pages(home):
    """The address of an MLflow server on a home's database."""
    port = free_port()
    command = [Path(sys.executable).with_name("mlflow"), "server", "--host=127.0.0.1", f"--port={port}", "--workers=1"]
    env = environment(MLFLOW_SERVER_ENABLE_JOB_EXECUTION="false")
    with serving([*command, f"--backend-store-uri=sqlite:///{home}/mlflow.db"], env, f"http://127.0.0.1:{port}/health"):
        yield f"http://127.0.0.1:{port}"


@pytest.fixture(scope="module")
def demo_server(demo):
    with pages(demo) as address:
        yield address


@pytest.fixture(scope="module")
def large_server(large):
    with pages(large) as address:
        yield address


def sweep_run(address):
    """The sweep's run, and the runs of its trials."""
    client = MlflowClient(address)
    experiment = client.get_experiment_by_name("ser-search").experiment_id
    runs = client.search_runs([experiment], max_results=1000)
    (sweep,) = (run for run in runs if run.data.tags["ser.kind"] == "sweep")
    return sweep, [run for run in runs if run.data.tags["ser.kind"] == "trial"]


def picture(page, name, **more):
    if folder := os.environ.get("SER_SCREENSHOTS"):
        page.screenshot(path=ROOT / folder / f"{name}.png", **more)


def test_the_run_of_a_sweep_opens_on_its_description(page, demo_server):
    sweep, trials = sweep_run(demo_server)
    where = f"#/experiments/{sweep.info.experiment_id}/runs/{sweep.info.run_id}?workflowType=machine_learning"
    page.goto(f"{demo_server}/{where}")
    winner = sweep.data.tags["ser.winner_name"]
    expect(page.get_by_role("heading", name=f"Winner: {winner}")).to_be_visible()
    page.get_by_text("Show more").first.click()
    expect(page.get_by_role("heading", name=f"The best {len(trials)} of {len(trials)}")).to_be_visible()
    expect(page.get_by_text("Test UAR").first).to_be_visible()
    expect(page.get_by_text("export_best.py --sweep demo").first).to_be_visible()
    expect(page.get_by_role("cell", name="s0").first).to_be_visible()  # a speaker
    picture(page, "description")


def test_the_sweep_unfolds_into_trials_with_names_a_person_can_read(page, demo_server):
    sweep, trials = sweep_run(demo_server)
    page.goto(f"{demo_server}/#/experiments/{sweep.info.experiment_id}/runs?workflowType=machine_learning")
    page.locator("button[data-component-id*=runnamecellrenderer]").click()
    for trial in trials:
        expect(page.get_by_role("link", name=trial.info.run_name, exact=True).first).to_be_visible()


def test_the_link_of_the_description_compares_the_trials(page, demo_server):
    sweep, _ = sweep_run(demo_server)
    page.goto(f"{demo_server}/{shared_view_link(sweep.info.experiment_id, sweep.data.tags['ser.key'])}")
    expect(page.get_by_text("trials of demo").first).to_be_visible()
    for section in ("hyperparameters", "result", "teacher"):
        expect(page.get_by_text(section, exact=True).first).to_be_visible()
    for axis in ("alpha", "encoding", "patch", "val_uar"):
        expect(page.locator(".parcoords").get_by_text(axis, exact=True).first).to_be_visible()
    page.wait_for_timeout(1000)  # for the lines, which a canvas holds
    picture(page, "comparison")


def test_compare_draws_a_line_a_trial(page, demo_server):
    sweep, trials = sweep_run(demo_server)
    assert drawn(page, demo_server, sweep, trials) == (len(trials), {"alpha", "encoding", "patch"})


def drawn(page, address, sweep, trials):
    """Lines and hyperparameters of MLflow's own parallel coordinates of some runs."""
    ids = "%22,%22".join(run.info.run_id for run in trials)
    page.goto(f"{address}/#/compare-runs?runs=[%22{ids}%22]&experiments=[%22{sweep.info.experiment_id}%22]")
    plot = page.locator(".js-plotly-plot").first
    plot.wait_for()
    page.wait_for_function("document.querySelector('.js-plotly-plot').data?.[0]?.dimensions?.length > 1")
    dimensions = plot.evaluate("plot => plot.data[0].dimensions.map(d => [d.label, d.values.length])")
    lines = {count for _, count in dimensions}
    return (*lines, {label for label, _ in dimensions if label in SPACE})


def test_the_report_is_drawn_and_sorts(page, demo):
    page.goto(f"file://{demo}/spool/demo/report/report.html")
    expect(page.locator("svg[data-chart=parallel] [id^=parallel-trial-line]")).to_have_count(6)
    for name in ("alpha", "encoding", "patch", "validation UAR"):
        expect(page.locator("svg[data-chart=parallel]").get_by_text(name, exact=True)).to_be_visible()
    picture(page, "report")
    column = page.locator("#trials th button").filter(has_text="UAR")
    scores = page.locator("#trials tbody tr td:nth-child(3)")
    column.click()
    rising = [float(text) for text in scores.all_inner_texts()]
    column.click()
    assert rising == sorted(rising)
    assert [float(text) for text in scores.all_inner_texts()] == rising[::-1]


@pytest.mark.parametrize("sweep", ["demo", "large"])
@pytest.mark.parametrize("media", ["screen", "print"])
def test_nothing_of_the_report_overlaps_or_is_cut(page, request, sweep, media):
    page.emulate_media(media=media)
    page.goto(f"file://{request.getfixturevalue(sweep)}/spool/{sweep}/report/report.html")
    for chart in page.locator("svg.chart").all():
        faults = chart.evaluate(OVERLAPS)
        assert faults == [], chart.get_attribute("data-chart")
    if media == "print":
        for block in page.locator("pre").all():
            assert block.evaluate("b => b.scrollWidth <= b.clientWidth"), "paper has no scroll bars"


OVERLAPS = r"""svg => {
  const frame = svg.getBoundingClientRect(), faults = [];
  const texts = [...svg.querySelectorAll("text")].map(
    t => [t.textContent, t.getBoundingClientRect(), /rotate\(-?[1-8]/.test(t.getAttribute("transform"))]);
  for (const [text, box] of texts)
    if (box.left < frame.left - 1 || box.right > frame.right + 1 || box.top < frame.top - 1
        || box.bottom > frame.bottom + 1) faults.push(`cut: ${text}`);
  const level = texts.filter(([,, turned]) => !turned);  // the boxes of slanted labels overlap, their letters do not
  level.forEach(([one, a], i) => level.slice(i + 1).forEach(([other, b]) => {
    const wide = Math.min(a.right, b.right) - Math.max(a.left, b.left);
    const high = Math.min(a.bottom, b.bottom) - Math.max(a.top, b.top);
    if (wide > 2 && high > 4) faults.push(`overlap: ${one} / ${other}`);
  }));
  return faults;
}"""


def test_the_report_fits_a_phone(chromium, large):
    phone = chromium.new_page(viewport={"width": 390, "height": 844})
    phone.goto(f"file://{large}/spool/large/report/report.html")
    assert phone.evaluate("document.documentElement.scrollWidth") <= 390
    smallest = phone.evaluate(
        "Math.min(...[...document.querySelectorAll('svg.chart text')].map(t => t.getBoundingClientRect().height))"
    )
    assert smallest >= 7, "pixels: larger than the screen, and scrolled"
    phone.close()


def test_three_hundred_trials_are_shown_in_time(page, large, large_server):
    sweep, trials = sweep_run(large_server)
    assert len(trials) == LARGE
    took = {}

    began = time.monotonic()
    page.goto(f"{large_server}/{shared_view_link(sweep.info.experiment_id, sweep.data.tags['ser.key'])}")
    expect(page.locator(".parcoords").get_by_text("val_uar", exact=True).first).to_be_visible()
    took["comparison"] = time.monotonic() - began

    began = time.monotonic()
    assert drawn(page, large_server, sweep, trials[:100])[0] == 100
    took["MLflow's own comparison of 100"] = time.monotonic() - began

    began = time.monotonic()
    report = large / "spool" / "large" / "report" / "report.html"
    page.goto(f"file://{report}")
    expect(page.locator("#trials tbody tr")).to_have_count(LARGE)
    took["report"] = time.monotonic() - began
    assert report.stat().st_size < 5e6
    # For the README; seen with `pytest -s`.
    times = ", ".join(f"{name} {seconds:.1f} s" for name, seconds in took.items())
    print(f"\n{LARGE} trials: {times}; report {report.stat().st_size / 1e6:.2f} MB")  # noqa: T201
