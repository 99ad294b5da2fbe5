"""The report page in real Chromium: the right figures in the right places, legible and whole on any screen.

Two classes are told apart by a network trained for real, on itsacat's photos where they are beside the project, else on
scikit-image's faces. What the other pages show is made up: of five, twenty and a hundred classes, of numbers, and of
samples that are no photos.
"""

from __future__ import annotations

import hashlib
import io
import json
import re
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import Browser, Page
from training import saved, trained

from snn_cli.datasets import build_faces, sample_images
from snn_client.judging.answers import Answers
from snn_client.judging.slices import by_slice
from snn_client.reports.metrics import evaluate
from snn_client.reports.page import DataFacts, render_page
from snn_client.reports.report import build_report
from snn_client.runs.estimate import Machine
from snn_cloud.cost.money import cost_of
from snn_cloud.ledger.parameters import Parameters
from snn_cloud.ledger.record import Run, State, StoppedBy, Usage
from snn_data.dataset import Dataset, load_dataset
from snn_data.model import Model
from snn_data.slices import Slices
from snn_photos.reading import load_image

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
KINDS = ("two", "five", "twenty", "hundred", "features", "seen", "numbers")
BEST_EPOCH = 37
LONG = "a-class-whose-name-is-as-long-as-a-sentence-and-has-no-place-where-it-could-be-broken" * 2


@dataclass
class Example:
    """A report, the page made of it, and what both were made of."""

    report: dict[str, Any]
    curves: dict[str, list[float]]
    dataset: Dataset
    sha256: str
    path: Path

    @property
    def costs(self) -> list[float]:
        return self.curves["cost"]

    @property
    def classes(self) -> tuple[str, ...]:
        return self.dataset.classes


def written(
    folder: Path, name: str, dataset: Dataset, parameters: Parameters, curves: dict[str, list[float]],
    test_set: dict[str, Any], new_images: list[dict[str, Any]], photos: list[bytes], sha256: str = "24ef" * 16,
) -> Example:  # fmt: skip
    """The report of a run that ended like this, and its page in a file."""
    run = Run(
        f"{name}-0123456789",
        State.COMPLETED,
        parameters,
        started_at=1_700_000_000.0,
        ended_at=1_700_000_031.25,
        epoch=len(curves["cost"]),
        cost=curves["cost"][-1],
        best_epoch=BEST_EPOCH if len(curves) > 1 else None,
        stopped_by=StoppedBy.EPOCHS,
        usage={"launch": Usage(1, 300, 256), "trainer": Usage(1, 31_000, 1769), "neuron": Usage(1_234, 9_000, 256)},
    )
    prefix = f"s3://snn-data-000000000000/runs/{run.run_id}"
    artifacts = {"report_html": f"{prefix}/report/report.html", "params": f"{prefix}/params.h5"}
    report = build_report(run, test_set, new_images, cost_of(run, Machine(has_cache=True)), artifacts)
    if len(dataset.classes) <= 20:  # what a report leaves out is the matter of the hundred
        report["test_set"] = {"mislabelled_left_out": 0, "classes_left_out": 0, **test_set}
    wrong = report["test_set"]["mislabelled"]
    pictures = dataset.test.stored if len(dataset.shape) > 1 else dataset.pictures
    html = render_page(
        report,
        parameters,
        curves,
        DataFacts.of(dataset, sha256, f"{prefix}/input/datasets.h5"),
        matrix=test_set.get("confusion_matrix") if "per_class" in test_set else None,
        card="# Model card\n" + LONG,
        mislabelled=[pictures[one["index"]] for one in wrong] if pictures is not None else [],
        new_images=photos,
        started_at=run.started_at,
        ended_at=run.ended_at,
    )
    path = folder / f"{name}.html"
    path.write_text(html, encoding="utf-8")
    return Example(report, curves, dataset, sha256, path)


@pytest.fixture(scope="session")
def example(tmp_path_factory: pytest.TempPathFactory) -> Example:
    """The page of two classes."""
    folder = tmp_path_factory.mktemp("page")
    file = SHARED / "datasets" / "datasets.h5"
    photos = [SHARED / "images" / "cat.jpeg", SHARED / "images" / "not_a_cat.jpeg"]
    if not file.exists():
        file = folder / "faces.h5"
        build_faces(file)
        photos = sample_images(folder)
    data, sha256 = load_dataset(file), hashlib.sha256(file.read_bytes()).hexdigest()
    lesson = trained(PARAMETERS, data)
    model = Model(lesson.params, PARAMETERS.activation_per_layer)
    new_images = []
    for photo in photos:
        probability = float(model.answers(load_image(photo, data.shape))[0, 0])
        predicted = int(probability > 0.5)
        name = data.classes[predicted]
        new_images.append({"uri": str(photo), "predicted": predicted, "class_name": name, "probability": probability})
    test_set = dict(evaluate(data.test.y, model.judge(data.test), data.classes))
    curves, files = {"cost": lesson.training.history.costs}, [photo.read_bytes() for photo in photos]
    return written(folder, "example", data, PARAMETERS, curves, test_set, new_images, files, sha256)


def recipe(last: str, neurons: int) -> Parameters:
    """Parameters with all that the page tells of only where it is chosen."""
    classes = {} if last == "identity" else {"label_smoothing": 0.1, "class_weights": "balanced"}
    return Parameters.load(
        {
            "epochs": 60,
            "layers": 2,
            "learning_rate": 0.002,
            "activations": {"layer1": "relu", "layer2": last},
            "neurons": {"layer1": 16, "layer2": neurons},
            "strategy": "sgd",
            "batch_size": 32,
            "optimizer": {"name": "adam", "beta_1": 0.95},
            "schedule": {"name": "cosine", "warmup": 2.0},
            "dtype": "float32",
            "validation": 0.1,
            "patience": 25,
            **classes,
        }
    )


def photo_file() -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(np.arange(48 * 64 * 3, dtype=np.uint8).reshape(48, 64, 3)).save(buffer, "PNG")
    return buffer.getvalue()


def invented(folder: Path, kind: str) -> Example:
    """The page of a kind, with answers drawn at random; some of the names are long."""
    random = np.random.default_rng(7)
    count = {"five": 5, "twenty": 20, "hundred": 100, "features": 3, "seen": 5, "numbers": 0}[kind]
    names = tuple(LONG if k == 2 and kind != "features" else f"kind {k}" + "-of-thing" * (k % 3) for k in range(count))
    samples, shape = {"hundred": 1_000}.get(kind, 400), (6,) if kind in ("features", "seen", "numbers") else (12, 9)
    pixels = random.integers(0, 256, (samples, *shape)).astype(np.uint8)
    x = pixels if len(shape) > 1 else random.standard_normal((samples, *shape))
    y: Any = random.integers(0, count, samples) if count else random.normal(1_000, 300, samples)
    y[:count] = range(count)
    dataset = load_dataset(io.BytesIO(saved(x, y, x, y, classes=names)))
    if kind == "seen":
        pictures = random.integers(0, 256, (samples, 64, 64, 3)).astype(np.uint8)
        dataset = replace(dataset, backbone=json.dumps({"name": "efficientnet-lite0"}), pictures=pictures)
    falling = np.geomspace(2.0, 0.3, 60) * random.uniform(0.95, 1.05, 60)
    curves = {"cost": falling.tolist(), "validation_cost": (0.4 + abs(np.arange(60) - BEST_EPOCH) / 40).tolist()}
    if count:
        logits = random.standard_normal((count, samples))
        logits[y, np.arange(samples)] += 2
        answers = np.exp(logits) / np.exp(logits).sum(axis=0)
        said: dict[str, Any] = {"predicted": 1, "class_name": names[1], "probability": 0.31}
        if kind == "seen":
            said["unlike"] = True
        curves["validation_accuracy"] = np.linspace(0.2, 0.6, 60).tolist()
    else:
        answers = (y + random.normal(0, 90, samples))[None]
        said = {"value": 1234.5}
        curves["validation_r2"] = np.linspace(-1.5, 0.8, 60).tolist()
    test_set = dict(evaluate(y, answers, names))
    slices = Slices(
        "folder", ("day", LONG, "few"), np.minimum(np.arange(samples) % 2 + (np.arange(samples) < 3) * 2, 2)
    )
    test_set["slices"] = by_slice(Answers.of(y, answers, names), slices)
    chosen = recipe("softmax" if count else "identity", count or 1)
    new_images = [{"uri": "photos/new.png", **said}] if len(shape) > 1 or kind == "seen" else []
    return written(folder, kind, dataset, chosen, curves, test_set, new_images, [photo_file()] * len(new_images))


@pytest.fixture(scope="session")
def examples(example: Example, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Example]:
    """The page of every kind."""
    folder = tmp_path_factory.mktemp("kinds")
    return {kind: example if kind == "two" else invented(folder, kind) for kind in KINDS}


@dataclass
class Visit:
    kind: str
    example: Example
    page: Page
    requests: list[str]
    complaints: list[str]


@pytest.fixture(
    scope="module", params=[(DESKTOP, "light"), (DESKTOP, "dark"), (PHONE, "light"), (PHONE, "dark")], ids=str
)
def screen(request: pytest.FixtureRequest) -> tuple[int, str]:
    return request.param  # type: ignore[no-any-return]


@pytest.fixture(scope="module", params=KINDS)
def visit(
    browser: Browser, examples: dict[str, Example], screen: tuple[int, str], request: pytest.FixtureRequest
) -> Iterator[Visit]:
    """A page on a screen, which several tests look at."""
    width, scheme = screen
    with browser.new_context(viewport={"width": width, "height": 844}, color_scheme=scheme) as context:
        seen = Visit(request.param, examples[request.param], context.new_page(), [], [])
        seen.page.on("request", lambda request: seen.requests.append(request.url))
        seen.page.on("console", lambda message: seen.complaints.append(message.text))
        seen.page.on("pageerror", lambda error: seen.complaints.append(str(error)))
        seen.page.goto(seen.example.path.as_uri())
        yield seen


@pytest.fixture
def page(browser: Browser, example: Example) -> Iterator[Page]:
    with browser.new_context(viewport={"width": DESKTOP, "height": 900}) as context:
        page = context.new_page()
        page.goto(example.path.as_uri())
        yield page


def text(page: Page, selector: str) -> str:
    return re.sub(r"\s+", " ", page.locator(selector).inner_text()).strip()


def test_it_loads_nothing_but_itself_and_nothing_complains(visit: Visit) -> None:
    report = visit.example.report
    assert [url for url in visit.requests if not url.startswith("data:")] == [visit.example.path.as_uri()]
    assert visit.complaints == []
    assert visit.page.locator("script").count() == 0
    pictures = visit.page.locator("img")
    shown = len(visit.example.dataset.shape) > 1 or visit.kind == "seen"
    wrong = min(60, len(report["test_set"]["mislabelled"])) if shown else 0
    others = visit.page.locator("#worst-by-class img, .dots img").count()
    assert pictures.count() == (1 if visit.kind == "seen" else 2) * len(report["new_images"]) + wrong + others
    assert (others > 0) == (visit.kind in ("five", "twenty", "hundred", "seen"))
    assert visit.page.locator(".dots img").count() == (visit.kind == "hundred")
    assert pictures.evaluate_all("images => images.every(image => image.complete && image.naturalWidth > 0)")


def test_nothing_sticks_out_sideways(visit: Visit) -> None:
    width = visit.page.viewport_size["width"]  # type: ignore[index]
    assert visit.page.evaluate("document.documentElement.scrollWidth") <= width
    too_wide = visit.page.evaluate(
        """width => [...document.querySelectorAll('main *')]
            .filter(element => element.getClientRects().length && !element.closest('svg, .scroll > *'))
            .filter(element => { const box = element.getBoundingClientRect();
                                 return box.left < 0 || box.right > width + 0.5; })
            .map(element => element.outerHTML.slice(0, 120))""",
        width,
    )
    assert too_wide == []
    if width == DESKTOP:  # a phone scrolls a large matrix, in its own frame
        frames = visit.page.locator(".scroll").evaluate_all("all => all.map(e => e.scrollWidth - e.clientWidth)")
        assert frames == [0] * len(frames)


def test_no_text_lies_on_another(visit: Visit) -> None:
    """Labels of the chart, headings of a matrix, cells of a table."""
    overlaps = visit.page.evaluate(
        """() => {
            const groups = ['.chart .end-label', '.best-label, .legend, .scales > label, #curve .note', '.y-axis span',
                            '.x-axis > *', '.heat thead th[scope=col] > span', '.heat tbody th > span, .heat td',
                            '.list td, .list th', '.confusions li > span', '.tiles dt, .tiles dd', '.errors > div > *'];
            const found = [];
            for (const group of groups) {
                const shown = [...document.querySelectorAll(group)]
                    .filter(e => e.getClientRects().length && e.innerText);
                const boxes = shown.map(e => e.getBoundingClientRect());
                for (let i = 0; i < boxes.length; i++) for (let j = i + 1; j < boxes.length; j++) {
                    const [a, b] = [boxes[i], boxes[j]], [one, other] = [shown[i], shown[j]];
                    // What is scrolled away under the names of the rows is not on the screen.
                    if (one.closest('.scroll') && (one.matches('th *') !== other.matches('th *'))) continue;
                    const across = Math.min(a.right, b.right) - Math.max(a.left, b.left);
                    const down = Math.min(a.bottom, b.bottom) - Math.max(a.top, b.top);
                    if (across > 1 && down > 1) found.push([group, one.innerText, other.innerText]);
                }
            }
            return found; }"""
    )
    assert overlaps == []


def test_all_text_stands_out_from_what_is_behind_it(visit: Visit) -> None:
    """WCAG AA: a contrast of 4.5 to 1, or 3 to 1 for large text."""
    poor = visit.page.evaluate(
        """() => {
            for (const cell of document.querySelectorAll('.cell, .heat .good, .heat .bad'))
                cell.style.setProperty('--heat', '100%');
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
    assert text(page, "#seconds") == "31 s"
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
    curves = {"cost": [0.7 * 0.9**epoch for epoch in range(80)]}
    path = tmp_path / "page.html"
    path.write_text(render_page({**example.report, "new_images": []}, PARAMETERS, curves, data), encoding="utf-8")
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
    for fact in (
        "Learning rate 0.01",
        "Optimizer gradient_descent",
        "full-batch: one step on all data",
        "batch: the trainer computes",
        "Seed 1",
    ):
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


@pytest.mark.parametrize("kind", KINDS)
def test_it_can_be_printed(browser: Browser, examples: dict[str, Example], kind: str) -> None:
    with browser.new_context(viewport={"width": 718, "height": 1000}, color_scheme="dark") as context:  # of A4
        page = context.new_page()
        page.goto(examples[kind].path.as_uri())
        page.emulate_media(media="print")
        assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
        assert page.evaluate("document.documentElement.scrollWidth") <= 718
        pdf = page.pdf(format="A4", print_background=True)
        pages = len(re.findall(rb"/Type\s*/Page\b(?!s)", pdf))
        # 60 photos, a table of 20 classes, curves, slices and the worst mistakes of each class among them
        assert 2 <= pages <= 14


def test_markup_in_names_does_nothing(browser: Browser, example: Example, tmp_path: Path) -> None:
    mark = uuid.uuid4().hex
    evil = f"<img src=x onerror=\"document.title='{mark}'\"><b>"
    report = json.loads(json.dumps(example.report))
    report["run_id"] = evil
    report["new_images"] = [{"uri": evil, "predicted": 1, "class_name": evil, "probability": 0.9}]
    data = DataFacts((evil, evil), (1, 1, 3), (1, 1), (17, 33), evil, evil)
    path = tmp_path / "page.html"
    path.write_text(render_page(report, PARAMETERS, example.curves, data), encoding="utf-8")
    with browser.new_context(viewport={"width": PHONE, "height": 800}) as context:
        page = context.new_page()
        page.goto(path.as_uri())
        assert page.locator("h1").inner_text() == evil
        assert page.locator("img").count() == 0
        assert mark not in page.title().split("'")[0]
        assert page.evaluate("document.documentElement.scrollWidth") <= PHONE


# More than two classes


def opened(browser: Browser, example: Example, **options: Any) -> Page:
    page = browser.new_page(viewport={"width": DESKTOP, "height": 900}, **options)
    page.goto(example.path.as_uri())
    return page


@pytest.mark.parametrize("kind", ["five", "twenty"])
def test_the_matrix_of_many_classes_has_a_count_and_a_heat_in_every_cell(
    browser: Browser, examples: dict[str, Example], kind: str
) -> None:
    example = examples[kind]
    matrix = example.report["test_set"]["confusion_matrix"]
    with opened(browser, example) as page:
        rows = page.locator(".heat tbody tr").all()
        assert [[int(count) for count in row.locator("td").all_inner_texts()] for row in rows] == matrix
        table = page.get_by_role("table", name="Confusion matrix")
        for name in (example.classes[0], LONG, example.classes[-1]):  # a long name is cut for the eye only
            for role in ("rowheader", "columnheader"):
                assert table.get_by_role(role, name=name, exact=True).count() == 1
        assert table.get_by_role("columnheader", name="called", exact=True).count() == 1
        right = rows[1].locator("td").nth(1)
        share = right.evaluate("cell => parseFloat(cell.style.getPropertyValue('--heat'))")
        assert share == pytest.approx(100 * matrix[1][1] / sum(matrix[1]), abs=0.01)
        assert right.get_attribute("title") == f"really {example.classes[1]}, called {example.classes[1]}"
        # The more of its row a cell has, the further its colour is from the card's.
        colours = (
            rows[1]
            .locator("td.bad")
            .evaluate_all(
                """cells => { const brush = document.createElement('canvas').getContext('2d');
                const number = cell => { brush.fillStyle = getComputedStyle(cell).backgroundColor;
                    brush.fillRect(0, 0, 1, 1); return [...brush.getImageData(0, 0, 1, 1).data].slice(0, 3); };
                return cells.map(cell => [Number(cell.innerText), number(cell).reduce((a, b) => a + b)]); }"""
            )
        )
        by_count = sorted(colours)
        assert by_count[0][0] < by_count[-1][0]
        assert by_count[0][1] > by_count[-1][1]  # darker, on white


def test_of_a_hundred_classes_the_most_frequent_confusions_are_listed(
    browser: Browser, examples: dict[str, Example]
) -> None:
    example = examples["hundred"]
    test_set = example.report["test_set"]
    assert test_set["confusion_matrix"] is None  # too large to travel by XCom
    with opened(browser, example) as page:
        assert page.locator(".heat").count() == 0
        assert "A matrix of so many classes is a picture, below." in text(page, "#test-set > .note")
        assert page.locator("#matrix svg").count() == 1
        lines = [re.sub(r"\s+", " ", line) for line in page.locator(".confusions li").all_inner_texts()]
        assert len(lines) == 20
        counts: dict[tuple[int, int], int] = {}
        for one in test_set["mislabelled"]:
            pair = (one["label"], one["predicted"])
            counts[pair] = counts.get(pair, 0) + 1
        for line in lines:
            match = re.fullmatch(r"really (.+), called (.+): (?:≥ )?(\d+) of (\d+)", line)
            assert match, line
            label, predicted = (example.classes.index(name) for name in match.groups()[:2])
            assert int(match[3]) == counts[label, predicted]
            assert int(match[4]) == (example.dataset.test.y == label).sum()
        first, last = (int(re.search(r": (?:≥ )?(\d+)", line)[1]) for line in (lines[0], lines[-1]))  # type: ignore[index]
        assert first == max(counts.values()) >= last


def test_the_headline_of_many_classes_and_the_baseline(browser: Browser, examples: dict[str, Example]) -> None:
    example = examples["five"]
    test_set, y = example.report["test_set"], example.dataset.test.y
    matrix, counts = np.array(test_set["confusion_matrix"]), np.bincount(y)
    with opened(browser, example) as page:
        assert "Distinguishes 5 classes in photos of 9×12 pixels." in text(page, "header")
        assert float(text(page, "#accuracy").rstrip(" %")) == pytest.approx(100 * test_set["accuracy"], abs=0.051)
        assert f"classified correctly: {np.trace(matrix)} of 400." in text(page, ".score")
        name, share = re.search(r"always saying “(.+)”: ([\d.]+) %$", text(page, ".share-key")).groups()  # type: ignore[union-attr]
        assert name == example.classes[counts.argmax()]
        assert float(share) == pytest.approx(100 * counts.max() / 400, abs=0.051)
        line = page.locator(".share u").evaluate("e => e.offsetLeft / e.parentElement.clientWidth")
        assert line == pytest.approx(counts.max() / 400, abs=0.01)


def test_the_rates_of_classes_come_worst_first_under_their_averages(
    browser: Browser, examples: dict[str, Example]
) -> None:
    example = examples["twenty"]
    matrix = np.array(example.report["test_set"]["confusion_matrix"])
    recall, precision = np.diag(matrix) / matrix.sum(axis=1), np.diag(matrix) / matrix.sum(axis=0)
    f1 = 2 * recall * precision / (recall + precision)
    with opened(browser, example) as page:
        rows = [row.locator("td").all_inner_texts() for row in page.locator("#per-class .classes tr").all()]
        assert len(rows) == 20
        values = [float(row[3].rstrip("\xa0%")) for row in rows]
        assert values == sorted(values)
        for name, *figures, support in rows:
            k = example.classes.index(name)
            expected = [100 * rate[k] for rate in (precision, recall, f1)]
            assert [float(each.rstrip("\xa0%")) for each in figures] == pytest.approx(expected, abs=0.051)
            assert int(support) == matrix[k].sum()
        averages = [float(each.rstrip("\xa0%")) for each in page.locator("#macro td.n").all_inner_texts()[:3]]
        assert averages == pytest.approx([100 * rate.mean() for rate in (precision, recall, f1)], abs=0.051)
        weighted = page.locator("#weighted td.n").all_inner_texts()
        assert float(weighted[1].rstrip("\xa0%")) == pytest.approx(100 * np.trace(matrix) / matrix.sum(), abs=0.051)
        assert weighted[3] == "400"


def test_photos_of_many_classes_have_the_probability_of_what_they_were_called(
    browser: Browser, examples: dict[str, Example]
) -> None:
    example = examples["five"]
    wrong = sorted(example.report["test_set"]["mislabelled"], key=lambda one: -one["probability"])[:60]
    with opened(browser, example) as page:
        captions = [re.sub(r"\s+", " ", each) for each in page.locator("#mislabelled .caption").all_inner_texts()]
        assert len(captions) == len(wrong)
        for one, caption in zip(wrong, captions, strict=True):
            said, truth = example.classes[one["predicted"]], example.classes[one["label"]]
            assert caption.startswith(f"{said} really {truth} ")
            shown = float(re.search(r" ([\d.]+) %$", caption)[1])  # type: ignore[index]
            assert shown == pytest.approx(100 * one["probability"], abs=0.051)
        (photo,) = page.locator("#new-images .photo").all()
        assert re.sub(r"\s+", " ", photo.inner_text()).strip() == f"{example.classes[1]} 31 % new.png"
        left, right = photo.locator(".verdict").evaluate(
            """e => { const bar = e.querySelector('i').getBoundingClientRect(), box = e.getBoundingClientRect();
                     return [(bar.left - box.left) / box.width, (bar.right - box.left) / box.width]; }"""
        )
        assert (left, right) == (0, pytest.approx(0.31, abs=0.01))


# Samples that are no photos, or features of some, and numbers


def test_what_a_backbone_saw_is_told_and_what_is_unlike_all_of_it(
    browser: Browser, examples: dict[str, Example]
) -> None:
    example = examples["seen"]
    with opened(browser, example) as page:
        note = text(page, "#new-images .note")
        assert note.startswith("Photos it was asked to classify. It saw them by the 6 features of efficientnet-lite0.")
        (photo,) = page.locator("#new-images .photo").all()
        told = re.sub(r"\s+", " ", photo.inner_text()).strip()
        assert told == f"{example.classes[1]} 31 % new.png unlike all that was learned"
        assert photo.locator("img").count() == 1
        first = page.locator("#mislabelled img").first
        assert first.evaluate("image => [image.naturalWidth, image.naturalHeight]") == [128, 128]


def test_samples_that_are_no_photos_are_told_of_in_tables(browser: Browser, examples: dict[str, Example]) -> None:
    example = examples["features"]
    wrong = sorted(example.report["test_set"]["mislabelled"], key=lambda one: -one["probability"])[:60]
    with opened(browser, example) as page:
        assert page.locator("img").count() == 0
        assert page.locator("#new-images").count() == 0
        assert "photo" not in page.locator("main").inner_text()
        assert "samples of 6 features" in text(page, "header")
        rows = [row.locator("td").all_inner_texts() for row in page.locator("#mislabelled tbody tr").all()]
        assert len(rows) == len(wrong)
        for (index, really, called, probability), one in zip(rows, wrong, strict=True):
            assert (index, really) == (str(one["index"]), example.classes[one["label"]])
            assert called == example.classes[one["predicted"]]
            assert float(probability.rstrip("\xa0%")) == pytest.approx(100 * one["probability"], abs=0.051)


def test_numbers_have_their_errors_and_those_furthest_off(browser: Browser, examples: dict[str, Example]) -> None:
    example = examples["numbers"]
    test_set = example.report["test_set"]
    with opened(browser, example) as page:
        assert float(text(page, "#r2")) == pytest.approx(test_set["r2"], abs=0.0005)
        assert float(text(page, "#mae")) == pytest.approx(test_set["mae"], rel=0.001)
        assert float(text(page, "#rmse")) == pytest.approx(test_set["rmse"], rel=0.001)
        assert "R² of 400 test samples" in text(page, ".score")
        assert page.locator("#test-set, .matrix, .heat, #accuracy").count() == 0
        bar = page.locator(".share i").evaluate("bar => bar.offsetWidth / bar.parentElement.clientWidth")
        assert bar == pytest.approx(test_set["r2"], abs=0.01)
        rows = [row.locator("td").all_inner_texts() for row in page.locator("#mislabelled tbody tr").all()]
        assert len(rows) == 20
        off = [abs(float(row[3].replace(",", ""))) for row in rows]
        assert off == sorted(off, reverse=True)
        found = {one["index"]: one for one in test_set["mislabelled"]}
        for index, *figures in rows:
            one = found[int(index)]
            expected = [one["label"], one["predicted"], one["predicted"] - one["label"]]
            assert [float(each.replace(",", "")) for each in figures] == pytest.approx(expected, rel=0.001)
            assert figures[2].startswith("+" if one["predicted"] > one["label"] else "-")
        assert "Mean squared error" in text(page, "#curve .note >> nth=0")


# A training that was validated


@pytest.mark.parametrize("look", ["light", "dark", "print"])
def test_the_validation_is_a_line_of_its_own(browser: Browser, examples: dict[str, Example], look: str) -> None:
    example = examples["five"]
    with opened(browser, example, color_scheme="light" if look == "light" else "dark") as page:
        if look == "print":
            page.emulate_media(media="print")
        scale = page.locator(".chart:visible")
        styles = scale.evaluate(
            """chart => ['.curve', '.validation'].map(name => getComputedStyle(chart.querySelector(name)))
                .map(style => [style.strokeDasharray, style.stroke])"""
        )
        (solid, blue), (dashed, orange) = styles
        assert (solid, dashed) == ("none", "8px, 5px")
        assert blue != orange
        keys = page.locator(".legend span").evaluate_all(
            "all => all.map(e => [e.innerText, getComputedStyle(e, '::before').borderTopStyle, "
            "getComputedStyle(e, '::before').borderTopColor])"
        )
        assert keys == [["cost", "solid", blue], ["validation cost", "dashed", orange]]
        ends = scale.locator(".end-label").all_inner_texts()
        assert ends == [f"{example.costs[-1]:.3g}", f"{example.curves['validation_cost'][-1]:.3g}"]


def test_the_best_epoch_is_marked_where_it_is(browser: Browser, examples: dict[str, Example]) -> None:
    example = examples["five"]
    with opened(browser, example) as page:
        scale = page.locator(".chart:visible")
        assert scale.locator(".best-label").inner_text() == f"best: epoch {BEST_EPOCH}"
        x, y, low, high = scale.evaluate(
            """chart => { const plot = chart.querySelector('.plot').getBoundingClientRect();
                const middle = e => { const box = e.getBoundingClientRect();
                    return [(box.left + box.right) / 2 - plot.left, (box.top + box.bottom) / 2 - plot.top]; };
                const dot = middle(chart.querySelector('.best-dot'));
                const ticks = [...chart.querySelectorAll('.y-axis span')].map(e => [Number(e.innerText), middle(e)[1]]);
                return [dot[0] / plot.width, dot[1], ticks[0], ticks[ticks.length - 1]]; }"""
        )
        assert x == pytest.approx(BEST_EPOCH / 59, abs=0.005)
        assert "chart-linear" in (scale.get_attribute("class") or "")
        best = example.curves["validation_cost"][BEST_EPOCH]
        assert y == pytest.approx(low[1] + (best - low[0]) / (high[0] - low[0]) * (high[1] - low[1]), abs=1.5)
        assert f"Epoch {BEST_EPOCH} validated best; the model is that epoch's." in text(page, "#curve .note >> nth=1")
        accuracy = example.curves["validation_accuracy"][BEST_EPOCH]
        assert (
            text(page, "#validation-cost") == f"{best:.4g} accuracy {100 * accuracy:.1f} %, best, in epoch {BEST_EPOCH}"
        )


def test_the_numbers_of_the_curves_stand_in_a_table(browser: Browser, examples: dict[str, Example]) -> None:
    for kind, heading in (("five", "Validation accuracy"), ("numbers", "Validation R²")):
        example = examples[kind]
        with opened(browser, example) as page:
            page.get_by_text("As numbers").click()
            table = page.locator("#curve table")
            assert table.locator("th").all_inner_texts() == ["Epoch", "Cost", "Validation cost", heading]
            rows = [row.locator("td").all_inner_texts() for row in table.locator("tbody tr").all()]
            assert len(rows) == 12
            assert [rows[0][0], rows[-1][0]] == ["0", "59"]
            assert f"{BEST_EPOCH}, best" in [row[0] for row in rows]
            for epoch, *figures in rows:
                place = int(epoch.removesuffix(", best"))
                expected = [curve[place] for curve in example.curves.values()]
                assert [float(each) for each in figures] == pytest.approx(expected, rel=1e-5)


def test_what_was_chosen_for_the_training_is_told(browser: Browser, examples: dict[str, Example]) -> None:
    with opened(browser, examples["five"]) as page:
        names, values = page.locator("#training dt").all_inner_texts(), page.locator("#training dd").all_inner_texts()
    facts = dict(zip(names, values, strict=True))
    assert facts["Optimizer"] == "adam: beta_1 0.95"
    assert facts["Schedule"] == "cosine: warmup 2, final 0"
    assert facts["Validation"] == "0.1 of the training samples, held out"
    assert facts["Arithmetic"] == "float32"
    assert not {"Dropout", "L2", "Gradient clipping", "Augmentation"} & facts.keys()
