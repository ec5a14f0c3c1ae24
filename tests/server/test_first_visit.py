"""A first visit in Chromium: a network as torch exports it today, its joules, its report.

No error, and no control that does nothing, on a large screen and on a telephone.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.server.browsing import DESKTOP, PHONE, keep, says, sync_api
from tests.server.conftest import Server

pytest.importorskip("torch")
pytest.importorskip("onnxscript")
pytestmark = pytest.mark.slow  # torch takes ten seconds to export anything

EXPORT = """
import sys, torch
from torch import nn

torch.manual_seed(0)
features = nn.Sequential(
    nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(8, 16, 3, padding=1)
)
net = nn.Sequential()
net.add_module("features", features)
net.add_module("flat", nn.Flatten())
net.add_module("classifier", nn.Linear(1024, 10))
torch.onnx.export(net.eval(), (torch.randn(1, 3, 16, 16),), sys.argv[1])
"""


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """What ``torch.onnx.export`` writes if nothing is said: a model, and its weights beside it."""
    place = tmp_path_factory.mktemp("export") / "net.onnx"
    subprocess.run([sys.executable, "-c", EXPORT, str(place)], check=True, capture_output=True)
    return [place, place.with_name("net.onnx.data")]


OVERLAPPING = """() => {
    const found = [];
    for (const svg of document.querySelectorAll(".chart svg")) {
        const texts = Array.from(svg.querySelectorAll("text"));
        const boxes = texts.map((x) => [x.textContent, x.getBoundingClientRect()]);
        boxes.forEach(([one, a], n) => {
            for (const [other, b] of boxes.slice(n + 1)) {
                const wide = Math.min(a.right, b.right) - Math.max(a.left, b.left);
                const high = Math.min(a.bottom, b.bottom) - Math.max(a.top, b.top);
                if (wide > 1 && high > 6 && one !== other) found.push(one + " / " + other);
            }
        });
    }
    return found;
}"""
"""Texts of charts that lie on each other."""


def drop(page: Any, files: list[Path]) -> None:
    """Drop files onto the page, as from a file manager."""
    contents = [{"name": x.name, "bytes": list(x.read_bytes())} for x in files]
    transfer = page.evaluate_handle(
        """(files) => {
            const transfer = new DataTransfer();
            for (const x of files) transfer.items.add(new File([new Uint8Array(x.bytes)], x.name));
            return transfer;
        }""",
        contents,
    )
    page.dispatch_event("#drop", "dragenter", {"dataTransfer": transfer})
    page.dispatch_event("#drop", "drop", {"dataTransfer": transfer})


@pytest.mark.parametrize("size", [DESKTOP, PHONE], ids=["desktop", "phone"])
def test_a_first_visit(
    page: Any, server: Server, exported: list[Path], size: Any, tmp_path: Path
) -> None:
    page.set_viewport_size(size)
    page.goto(server.url)
    drop(page, exported)
    news = page.locator("#upload-news")
    sync_api.expect(news).to_contain_text("net: 3 layers")
    sync_api.expect(news).not_to_contain_text("Remark")
    keep(page, "first-1-dropped")
    page.click("button.main")
    page.wait_for_url("**/r/*")
    sync_api.expect(page.locator("#whatif")).to_be_visible(timeout=60_000)
    assert page.locator("dd.value").first.inner_text().endswith("J")
    assert "GMAC" not in page.locator("main").inner_text()
    says(page, "table.data tbody th", "features.0")
    keep(page, "first-2-result")
    # zeros of the input are skipped on this chip; those of the weights are not, and that is said
    sync_api.expect(page.locator("#density-weight")).to_be_disabled()
    says(page, "#whatif", "neither skips nor codes zeros of the weight")
    page.fill("#density-input", "0.5")
    sync_api.expect(page.locator("#answer")).to_contain_text("times less")
    sync_api.expect(page.locator("#answer")).to_contain_text("searched anew", timeout=60_000)
    keep(page, "first-3-changed")
    with page.expect_download() as download:
        page.click("text=Report")
    file = tmp_path / "report.html"
    download.value.save_as(file)
    report = page.context.browser.new_page(viewport=size)  # which may open files
    report.goto(file.as_uri())
    report.wait_for_selector(".chart svg")
    says(report, "h1", "net on eyeriss-pj")
    wide = report.evaluate("document.documentElement.scrollWidth - window.innerWidth")
    assert wide <= 0
    assert report.evaluate(OVERLAPPING) == []
    keep(report, "first-4-report")
    report.close()


# -- no control that does nothing ----------------------------------------------------------

OTHER: dict[str, str] = {
    "network": "vgg16",
    "chip": "nvdla-like",
    "dataflow": "flexible",
    "objective": "latency",
    "phase": "decode",
    "dims": "x[2]=32",
    "context": "64",
    "batch": "3",
    "budget": "2.5",
}
"""Another value for each control that has one of its own kind; numbers not named here get 0.5."""


def set_to_another(box: Any) -> None:
    """Give a control another value than it has."""
    name = box.get_attribute("id")
    kind = box.evaluate("(x) => x.tagName === 'SELECT' ? 'select' : x.type")
    if kind in ("checkbox", "radio"):
        box.click()
    elif kind == "select":
        box.select_option(OTHER[name])
    elif kind == "range":
        box.evaluate(
            """(x) => {
                x.value = (Number(x.min) + Number(x.max)) / 2;
                x.dispatchEvent(new Event("input", { bubbles: true }));
            }"""
        )
    else:
        bits = (name or "").startswith("bits-")
        box.fill("4" if bits else OTHER.get(name, "0.5"))


def test_every_setting_of_the_form_is_asked(page: Any, server: Server) -> None:
    """Each enabled control changes what is sent when the button is pressed."""
    sent: list[dict[str, Any]] = []

    def refuse(route: Any) -> None:
        sent.append(json.loads(route.request.post_data))
        body = json.dumps({"error": {"message": "not now", "mistakes": []}})
        route.fulfill(status=503, content_type="application/json", body=body)

    page.goto(server.url)
    says(page, "#chip-facts", "168 processing elements")
    page.route("**/api/jobs", lambda x: refuse(x) if x.request.method == "POST" else x.continue_())

    def asked() -> dict[str, Any]:
        before = len(sent)
        page.click("button.main")
        sync_api.expect(page.locator("#problem")).to_contain_text("not now")
        sync_api.expect(page.locator("button.main")).to_be_enabled()
        assert len(sent) == before + 1
        return sent[-1]

    plain = asked()
    controls = page.locator("#ask select, #ask input:not([type=file])")
    names = [x.get_attribute("id") for x in controls.all() if x.is_visible() and x.is_enabled()]
    assert {"network", "chip", "batch", "dataflow", "density-input", "eyexam"} <= set(names)
    assert "density-weight" not in names
    for name in names:
        page.reload()
        says(page, "#chip-facts", "168 processing elements")
        set_to_another(page.locator(f"#{name}"))
        assert asked() != plain, name


def test_every_control_of_a_result_does_something(
    page: Any, server: Server, exported: list[Path]
) -> None:
    page.goto(server.url)
    drop(page, exported)
    sync_api.expect(page.locator("#upload-news")).to_contain_text("net: 3 layers")
    page.click("button.main")
    page.wait_for_url("**/r/*")
    sync_api.expect(page.locator("#whatif")).to_be_visible(timeout=60_000)
    # changes are answered
    controls = page.locator("#changes input, #changes select")
    names = [x.get_attribute("id") for x in controls.all() if x.is_enabled()]
    assert "density-weight" not in names
    for name in names:
        set_to_another(page.locator(f"#{name}"))
        sync_api.expect(page.locator("#answer")).not_to_be_empty()
        page.click("text=Back to this result")
        sync_api.expect(page.locator("#answer")).to_be_empty()
    sync_api.expect(page.locator("#changes button[type=reset]")).to_be_disabled()
    # charts are drawn anew
    for fieldset in page.locator("[data-controls]").all():
        chart = fieldset.get_attribute("data-controls")
        for box in fieldset.locator("input").all():
            if box.is_checked():
                continue
            before = picture(page, chart)
            box.click()
            assert picture(page, chart) != before, (chart, box.get_attribute("name"))
    # every link leads somewhere
    for link in page.locator("main a:not([download])").all():
        where = link.get_attribute("href")
        assert server.call("GET", where).status_code == 200, where


def picture(page: Any, chart: str) -> str:
    """What a chart shows."""
    return str(page.evaluate(f"document.querySelector('#{chart} canvas').toDataURL()"))
