"""The report page in real Chromium: the right figures in the right places, legible and whole on any screen.

The network is trained for real, on itsacat's photos where they are beside the project, else on scikit-image's faces.
"""

from __future__ import annotations

import hashlib
import json
import re
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import oracle
import pytest
from playwright.sync_api import Browser, Page

from snn.dataset import load_dataset
from snn.images import load_image
from snn.metrics import evaluate
from snn.model import Model
from snn.network import Layer, initial_weights
from snn.parameters import Parameters
from snn.training import StoppedBy
from snn_cli.datasets import build_faces, sample_images
from snn_cloud.money import cost_of
from snn_cloud.record import Run, State, Usage
from snn_cloud.report import build_report
from snn_cloud.report_page import DataFacts, render_page

SHARED = Path(__file__).parents[3] / "shared"
PHONE, DESKTOP = 390, 1280
PARAMETERS = Parameters.load(
    {
        "epochs": 120,
        "layers": 3,
        "learning_rate": 0.01,
        "threshold": 0.001,
        "activations": {"layer1": "relu", "layer2": "relu", "layer3": "sigmoid"},
        "neurons": {"layer1": 20, "layer2": 5, "layer3": 1},
    }
)


@dataclass
class Example:
    """A report, the page made of it, and what both were made of."""

    report: dict[str, Any]
    costs: list[float]
    classes: tuple[str, str]
    sha256: str
    path: Path


@pytest.fixture(scope="session")
def example(tmp_path_factory: pytest.TempPathFactory) -> Example:
    folder = tmp_path_factory.mktemp("page")
    file = SHARED / "datasets" / "datasets.h5"
    photos = [SHARED / "images" / "cat.jpeg", SHARED / "images" / "not_a_cat.jpeg"]
    if not file.exists():
        file = folder / "faces.h5"
        build_faces(file)
        photos = sample_images(folder)
    data, sha256 = load_dataset(file), hashlib.sha256(file.read_bytes()).hexdigest()
    functions = PARAMETERS.activation_per_layer
    Ws, bs = zip(*initial_weights(PARAMETERS, data.features))
    batch = (data.train_x, data.train_y)
    Ws, bs, costs = oracle.train(Ws, bs, functions, [batch], PARAMETERS.learning_rate, PARAMETERS.epochs, "full-batch")
    model = Model([Layer(W, b) for W, b in zip(Ws, bs)], functions)
    new_images = []
    for photo in photos:
        probability = float(model.probabilities(load_image(photo, data.image_shape))[0, 0])
        predicted = int(probability > 0.5)
        new_images.append(
            {
                "uri": str(photo),
                "predicted": predicted,
                "class_name": data.classes[predicted],
                "probability": probability,
            }
        )
    run = Run(
        "example-0123456789",
        State.COMPLETED,
        PARAMETERS,
        started_at=1_700_000_000.0,
        ended_at=1_700_000_031.25,
        epoch=len(costs),
        cost=costs[-1],
        stopped_by=StoppedBy.EPOCHS,
        usage={"launch": Usage(1, 300, 256), "trainer": Usage(1, 31_000, 1769), "neuron": Usage(1_234, 9_000, 256)},
    )
    test_set = evaluate(data.test_y, model.probabilities(data.test_x)).model_dump()
    prefix = "s3://snn-data-000000000000/runs/example-0123456789"
    report = build_report(
        run,
        test_set,
        new_images,
        cost_of(run, has_cache=True, architecture="arm64"),
        {
            "report_html": f"{prefix}/report/report.html",
            "params": f"{prefix}/params.h5",
        },
    )
    html = render_page(
        report,
        PARAMETERS,
        costs,
        DataFacts.of(data, sha256, f"{prefix}/input/datasets.h5"),
        mislabelled=[data.test_pixels[wrong["index"]] for wrong in report["test_set"]["mislabelled"]],
        new_images=[photo.read_bytes() for photo in photos],
        started_at=run.started_at,
        ended_at=run.ended_at,
    )
    path = folder / "report.html"
    path.write_text(html, encoding="utf-8")
    return Example(report, costs, data.classes, sha256, path)


@dataclass
class Visit:
    page: Page
    requests: list[str]
    complaints: list[str]


@pytest.fixture(params=[(DESKTOP, "light"), (DESKTOP, "dark"), (PHONE, "light"), (PHONE, "dark")], ids=str)
def visit(browser: Browser, example: Example, request: pytest.FixtureRequest) -> Iterator[Visit]:
    width, scheme = request.param
    with browser.new_context(viewport={"width": width, "height": 844}, color_scheme=scheme) as context:
        seen = Visit(context.new_page(), [], [])
        seen.page.on("request", lambda request: seen.requests.append(request.url))
        seen.page.on("console", lambda message: seen.complaints.append(message.text))
        seen.page.on("pageerror", lambda error: seen.complaints.append(str(error)))
        seen.page.goto(example.path.as_uri())
        yield seen


@pytest.fixture
def page(browser: Browser, example: Example) -> Iterator[Page]:
    with browser.new_context(viewport={"width": DESKTOP, "height": 900}) as context:
        page = context.new_page()
        page.goto(example.path.as_uri())
        yield page


def text(page: Page, selector: str) -> str:
    return re.sub(r"\s+", " ", page.locator(selector).inner_text()).strip()


def test_it_loads_nothing_but_itself_and_nothing_complains(visit: Visit, example: Example) -> None:
    assert [url for url in visit.requests if not url.startswith("data:")] == [example.path.as_uri()]
    assert visit.complaints == []
    assert visit.page.locator("script").count() == 0
    pictures = visit.page.locator("img")
    assert pictures.count() == 2 * len(example.report["new_images"]) + len(example.report["test_set"]["mislabelled"])
    assert pictures.evaluate_all("images => images.every(image => image.complete && image.naturalWidth > 0)")


def test_nothing_sticks_out_sideways(visit: Visit) -> None:
    width = visit.page.viewport_size["width"]  # type: ignore[index]
    assert visit.page.evaluate("document.documentElement.scrollWidth") <= width
    too_wide = visit.page.evaluate(
        """width => [...document.querySelectorAll('main *')]
            .filter(element => element.getClientRects().length && !element.closest('svg'))
            .filter(element => { const box = element.getBoundingClientRect();
                                 return box.left < 0 || box.right > width + 0.5; })
            .map(element => element.outerHTML.slice(0, 120))""",
        width,
    )
    assert too_wide == []


def test_all_text_stands_out_from_what_is_behind_it(visit: Visit) -> None:
    """WCAG AA: a contrast of 4.5 to 1, or 3 to 1 for large text."""
    poor = visit.page.evaluate(
        """() => {
            for (const cell of document.querySelectorAll('.cell')) cell.style.setProperty('--heat', '100%');
            const canvas = Object.assign(document.createElement('canvas'), {width: 1, height: 1});
            const brush = canvas.getContext('2d', {willReadFrequently: true});
            const paint = colours => { brush.clearRect(0, 0, 1, 1);
                for (const colour of colours) { brush.fillStyle = colour; brush.fillRect(0, 0, 1, 1); }
                return [...brush.getImageData(0, 0, 1, 1).data].slice(0, 3); };
            const light = colour => colour.map(v => v / 255)
                .map(v => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4)
                .reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
            const behind = element => { const layers = [];
                for (let at = element; at; at = at.parentElement) layers.unshift(getComputedStyle(at).backgroundColor);
                return layers; };
            const poor = [];
            for (const element of document.querySelectorAll('body *')) {
                if (![...element.childNodes].some(node => node.nodeType === 3 && node.textContent.trim())) continue;
                if (!element.getClientRects().length || element.closest('svg')) continue;
                const style = getComputedStyle(element), ground = behind(element);
                const [a, b] = [light(paint(ground)), light(paint([...ground, style.color]))];
                const contrast = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
                const large = parseFloat(style.fontSize) >= 24;
                if (contrast < (large ? 3 : 4.5)) poor.push([element.outerHTML.slice(0, 100), contrast]);
            }
            return poor; }"""
    )
    assert poor == []


def test_the_headline(page: Page, example: Example) -> None:
    training, test_set = example.report["training"], example.report["test_set"]
    right = test_set["confusion_matrix"]["tn"] + test_set["confusion_matrix"]["tp"]
    total = sum(test_set["confusion_matrix"].values())
    assert text(page, "h1") == "example-0123456789"
    assert text(page, "#accuracy") == f"{100 * test_set['accuracy']:g} %"
    assert f"classified correctly: {right} of {total}." in text(page, ".score")
    assert text(page, "#final-cost") == f"{training['final_cost']:.4g} from {example.costs[0]:.4g}"
    assert text(page, "#epochs") == "120 of 120, all epochs done"
    assert text(page, "#seconds") == "31.2 s"
    assert text(page, "#invocations") == "1,236"
    price = page.locator("#usd").inner_text()
    assert float(price.removeprefix("$")) == pytest.approx(example.report["cost"]["usd"], rel=0.05)
    share = page.locator(".share i").evaluate("bar => bar.offsetWidth / bar.parentElement.clientWidth")
    assert share == pytest.approx(test_set["accuracy"], abs=0.01)


def test_the_confusion_matrix_and_the_seven_rates(page: Page, example: Example) -> None:
    test_set = example.report["test_set"]
    for name, count in test_set["confusion_matrix"].items():
        assert page.locator(f"#{name} b").inner_text() == str(count)
    assert page.locator(".rates li").count() == 7
    for name in ("accuracy", "error", "sensitivity", "specificity", "false_positive_rate", "precision", "f1"):
        value, shown = test_set[name], page.locator(f"#rate-{name} .value").inner_text()
        part, whole, share = re.fullmatch(r"(\d+) / (\d+)\s*([\d.]+|–)(?:\xa0%)?", shown).groups()  # type: ignore[union-attr]
        if value is None:
            assert (share, whole) == ("–", "0")
        else:
            assert float(share) == pytest.approx(100 * value, abs=0.051)
            assert int(part) / int(whole) == pytest.approx(value)
        assert len(text(page, f"#rate-{name} p")) > 20


def test_the_curve_ends_where_the_training_ended(page: Page, example: Example) -> None:
    scale = page.locator(".chart:visible")
    assert scale.count() == 1
    assert scale.locator(".end-label").inner_text() == f"{example.costs[-1]:.3g}"
    assert page.locator("#curve .hover title").last.text_content() == f"epoch 119: cost {example.costs[-1]:.6g}"
    path = scale.locator("path.curve").get_attribute("d") or ""
    assert path.count("L") == len(example.costs) - 1
    # A tick of the axis and the curve's end, in pixels: does the curve hang where the axis says?
    places = scale.evaluate(
        """chart => { const plot = chart.querySelector('.plot').getBoundingClientRect();
            const at = e => { const box = e.getBoundingClientRect(); return (box.top + box.bottom) / 2 - plot.top; };
            return {end: at(chart.querySelector('.end')),
                    ticks: [...chart.querySelectorAll('.y-axis span')].map(e => [Number(e.innerText), at(e)])}; }"""
    )
    (low, low_y), (high, high_y) = places["ticks"][0], places["ticks"][-1]
    if "chart-linear" in (scale.get_attribute("class") or ""):
        expected = low_y + (example.costs[-1] - low) / (high - low) * (high_y - low_y)
        assert places["end"] == pytest.approx(expected, abs=1.5)


def test_the_scale_can_be_changed_without_a_script(browser: Browser, example: Example, tmp_path: Path) -> None:
    data = DataFacts(("no", "yes"), (1, 1, 3), (1, 1), (1, 1), "", "")
    costs = [0.7 * 0.9**epoch for epoch in range(80)]
    path = tmp_path / "page.html"
    path.write_text(render_page({**example.report, "new_images": []}, PARAMETERS, costs, data), encoding="utf-8")
    with browser.new_context() as context:
        page = context.new_page()
        page.goto(path.as_uri())
        assert page.locator(".chart:visible").get_attribute("class") == "chart chart-log"
        page.get_by_text("linear", exact=True).click()
        assert page.locator(".chart:visible").get_attribute("class") == "chart chart-linear"
        page.keyboard.press("ArrowLeft")
        assert page.locator(".chart:visible").get_attribute("class") == "chart chart-log"


def test_the_photos(page: Page, example: Example) -> None:
    wrong = sorted(example.report["test_set"]["mislabelled"], key=lambda one: -abs(one["probability"] - 0.5))
    numbers = page.locator("#mislabelled .number").all_inner_texts()
    assert numbers == [f"#{one['index']}" for one in wrong]
    captions = [re.sub(r"\s+", " ", caption) for caption in page.locator("#mislabelled .caption").all_inner_texts()]
    assert len(captions) == len(wrong) > 0
    for one, caption in zip(wrong, captions, strict=True):
        said, truth = example.classes[one["predicted"]], example.classes[one["label"]]
        assert caption.startswith(f"{said} really {truth} ")
        assert caption.endswith(f"% {example.classes[1]}")
        shown = float(re.search(r"([\d.]+) %", caption).group(1))  # type: ignore[union-attr]
        assert shown == pytest.approx(100 * one["probability"], abs=0.1)
    assert page.locator("#mislabelled img").first.evaluate("e => getComputedStyle(e).imageRendering") == "pixelated"

    for answer, photo in zip(example.report["new_images"], page.locator("#new-images .photo").all(), strict=True):
        caption = re.sub(r"\s+", " ", photo.locator(".caption").inner_text())
        sure = answer["probability"] if answer["predicted"] else 1 - answer["probability"]
        assert caption.startswith(answer["class_name"])
        assert float(re.search(r"([\d.]+) %", caption).group(1)) == pytest.approx(100 * sure, abs=0.1)  # type: ignore[union-attr]
        assert Path(answer["uri"]).name in caption
        bar, middle = photo.locator(".verdict").evaluate(
            """e => { const bar = e.querySelector('i').getBoundingClientRect(), box = e.getBoundingClientRect();
                     return [[(bar.left - box.left) / box.width, (bar.right - box.left) / box.width], 0.5]; }"""
        )
        assert sorted(bar) == pytest.approx(sorted([middle, answer["probability"]]), abs=0.01)


def test_how_it_was_trained_what_it_cost_and_where_it_is(page: Page, example: Example) -> None:
    training = text(page, "#training")
    for fact in ("Learning rate 0.01", "full-batch: every epoch", "batch: the trainer computes", "Seed 1"):
        assert fact in training
    assert re.search(r"inputs → 20 relu → 5 relu → 1 sigmoid", training)
    assert text(page, "#invocations-neuron") == "1,234"
    lines = example.report["cost"]["lines"]
    assert page.locator("#money tbody tr").count() == len(lines)
    assert text(page, "#money tbody tr >> nth=0").startswith("LaunchLambda invocations 1 requests")
    provenance = text(page, "#provenance")
    assert example.sha256 in provenance
    assert "2023-11-14 22:13:20 UTC" in provenance
    for uri in example.report["artifacts"].values():
        assert uri in provenance


def test_it_can_be_printed(browser: Browser, example: Example) -> None:
    with browser.new_context(color_scheme="dark") as context:
        page = context.new_page()
        page.goto(example.path.as_uri())
        page.emulate_media(media="print")
        assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
        pdf = page.pdf(format="A4", print_background=True)
        pages = len(re.findall(rb"/Type\s*/Page\b(?!s)", pdf))
        assert 2 <= pages <= 8


def test_markup_in_names_does_nothing(browser: Browser, example: Example, tmp_path: Path) -> None:
    mark = uuid.uuid4().hex
    evil = f"<img src=x onerror=\"document.title='{mark}'\"><b>"
    report = json.loads(json.dumps(example.report))
    report["run_id"] = evil
    report["new_images"] = [{"uri": evil, "predicted": 1, "class_name": evil, "probability": 0.9}]
    data = DataFacts((evil, evil), (1, 1, 3), (1, 1), (17, 33), evil, evil)
    path = tmp_path / "page.html"
    path.write_text(render_page(report, PARAMETERS, example.costs, data), encoding="utf-8")
    with browser.new_context(viewport={"width": PHONE, "height": 800}) as context:
        page = context.new_page()
        page.goto(path.as_uri())
        assert page.locator("h1").inner_text() == evil
        assert page.locator("img").count() == 0
        assert mark not in page.title().split("'")[0]
        assert page.evaluate("document.documentElement.scrollWidth") <= PHONE
