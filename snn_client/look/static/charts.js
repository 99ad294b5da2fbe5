// A chart in a panel: curves, their logarithmic axes and smoothing, and beside it a table, a CSV file and a picture.

import uPlot from "./vendor/uPlot.esm.js";
import { colour, digits, h, table } from "./dom.js";
import { csv, saveCanvas, saveText } from "./handing.js";

const TABLE_ROWS = 200;

/** Return an exponential moving average that begins without a bias: weight 0 is the curve itself. (Adam's correction.) */
export function smoothed(values, weight) {
  if (!weight) return values;
  let sum = 0, share = 0;
  return values.map((value) => {
    if (value === null || value === undefined) return null;
    sum = weight * sum + (1 - weight) * value;
    share = weight * share + (1 - weight);
    return sum / share;
  });
}

const positive = (values) => values.map((value) => value > 0 ? value : null);

/**
 * A panel with curves. `draw({x, xName, curves, lines})` shows them: each curve {name, values, colour, raw, dash, least,
 * greatest}, each line {name, value}. Options: title, xLog, yLog, zoomed(begin, end).
 */
export class Chart {
  constructor(title, options = {}) {
    this.title = title; this.options = options; this.drawn = null; this.plot = null; this.shape = "";
    this.place = h("div", { class: "chart", role: "img", "aria-label": title });
    this.tablePlace = h("div", { class: "scroll" });
    this.details = h("details", { ontoggle: () => this.fillTable() }, h("summary", {}, "Table"), this.tablePlace);
    this.element = h("section", { class: "panel", "aria-label": title },
      h("header", {}, h("h3", {}, title),
        options.zoomed ? (this.whole = h("button", { type: "button", hidden: true, onclick: () => options.zoomed(null) }, "Whole curve")) : null,
        this.handing = [
          h("button", { type: "button", disabled: true, onclick: () => this.saveCsv(), "aria-label": `CSV of ${title}` }, "CSV"),
          h("button", { type: "button", disabled: true, onclick: () => this.savePng(), "aria-label": `PNG of ${title}` }, "PNG")]),
      this.place, this.details);
    this.resize = new ResizeObserver(() => { if (this.plot && this.place.clientWidth) this.plot.setSize(this.size()); });
    this.resize.observe(this.place);
    this.themed = () => { this.shape = ""; if (this.drawn) this.draw(this.drawn); };
    window.addEventListener("snn-theme", this.themed);
  }

  size() { return { width: Math.max(200, this.place.clientWidth || 480), height: this.options.height || 240 }; }

  end() { this.resize.disconnect(); window.removeEventListener("snn-theme", this.themed); this.plot?.destroy(); this.plot = null; }

  draw(drawn) {
    this.drawn = drawn;
    const { xLog, yLog } = { ...this.options, ...drawn };
    const x = xLog ? drawn.x.map((value) => value > 0 ? value : null) : drawn.x; // null: not known
    // A logarithmic axis has no place for nothing: such points are not drawn.
    const keep = x.map((value, place) => value === null ? -1 : place).filter((place) => place >= 0);
    const pick = (values) => { const kept = keep.length === values.length ? values : keep.map((place) => values[place]); return yLog ? positive(kept) : kept; };
    const data = [keep.map((place) => x[place])], series = [{ label: drawn.xName, value: (_, value) => value === null ? "–" : digits(value, 6) }], bands = [];
    for (const curve of drawn.curves) {
      const stroke = colour(curve.colour);
      if (curve.least?.length) {
        data.push(pick(curve.greatest), pick(curve.least));
        const band = { class: "band", stroke: "transparent", points: { show: false } };
        series.push({ ...band, label: `${curve.name}, greatest` }, { ...band, label: `${curve.name}, least` });
        bands.push({ series: [data.length - 2, data.length - 1], fill: `color-mix(in srgb, ${stroke} 18%, transparent)` });
      }
      if (curve.raw) {
        data.push(pick(curve.raw));
        series.push({ label: `${curve.name}, raw`, stroke: `color-mix(in srgb, ${stroke} 35%, transparent)`, width: 1, points: { show: false }, value: (_, value) => digits(value, 6) });
      }
      data.push(pick(curve.values));
      series.push({ label: curve.name, stroke, width: 2, dash: curve.dash, points: { show: keep.length < 3, size: 6 }, spanGaps: true, value: (_, value) => digits(value, 6) });
    }
    for (const line of drawn.lines || []) {
      data.push(keep.map(() => line.value));
      series.push({ label: line.name, stroke: colour("--bad"), width: 1, dash: [6, 4], points: { show: false }, value: (_, value) => digits(value, 6) });
    }
    const shape = JSON.stringify([series.map((one) => one.label), xLog, yLog, drawn.xName]);
    if (!this.plot || shape !== this.shape) {
      this.shape = shape;
      this.plot?.destroy();
      this.place.replaceChildren();
      const ink = colour("--ink"), grid = colour("--line");
      const axis = { stroke: ink, grid: { stroke: grid, width: 1 }, ticks: { stroke: grid, width: 1 }, font: "12px system-ui" };
      this.plot = new uPlot({
        ...this.size(), series, bands,
        scales: { x: { time: false, distr: xLog ? 3 : 1, log: 10, ...(xLog ? { range: (_, low, high) => [low, high > low ? high : low * 10] } : {}) }, y: { distr: yLog ? 3 : 1, log: 10 } },
        axes: [{ ...axis, label: drawn.xName, labelSize: 18, labelFont: "12px system-ui", values: (_, ticks) => ticks.map((tick) => tick === null ? "" : digits(tick, 4)) },
          { ...axis, size: 62, values: (_, ticks) => ticks.map((tick) => tick === null ? "" : digits(tick, 3)) }],
        legend: { live: true }, cursor: { drag: { x: true, y: false } },
        hooks: { setSelect: [(plot) => this.zoom(plot)] },
      }, data, this.place);
    } else {
      this.plot.setData(data);
    }
    this.handing.forEach((button) => { button.disabled = false; }); // before, there was nothing to hand out
    if (this.whole) this.whole.hidden = !drawn.zoomed;
    const last = drawn.curves.map((curve) => `${curve.name} ${digits(curve.values.findLast((value) => value !== null && value !== undefined), 6)}`);
    this.place.setAttribute("aria-label", `${this.title}, ${drawn.x.length} points; last: ${last.join(", ")}. The table below has the numbers.`);
    if (this.details.open) this.fillTable();
  }

  zoom(plot) {
    if (!this.options.zoomed || plot.select.width < 5 || this.drawn.xName !== "epochs") return;
    const [begin, end] = [plot.select.left, plot.select.left + plot.select.width].map((left) => Math.round(plot.posToVal(left, "x")));
    if (end > begin) this.options.zoomed(Math.max(0, begin - 1), end);
  }

  columns() { return [this.drawn.xName, ...this.drawn.curves.flatMap((curve) => curve.least?.length ? [curve.name, `${curve.name}, least`, `${curve.name}, greatest`] : [curve.name])]; }

  rows() {
    return this.drawn.x.map((x, place) => [x, ...this.drawn.curves.flatMap((curve) => {
      const value = (curve.raw || curve.values)[place];
      return curve.least?.length ? [value, curve.least[place], curve.greatest[place]] : [value];
    })]);
  }

  fillTable() {
    if (!this.details.open || !this.drawn) return;
    const rows = this.rows(), step = Math.max(1, Math.ceil(rows.length / TABLE_ROWS));
    const shown = rows.filter((_, place) => place % step === 0 || place === rows.length - 1);
    const columns = this.columns().map((name, place) => ({ name, number: true, of: (row) => place ? digits(row[place], 6) : String(row[0]) }));
    this.tablePlace.replaceChildren(
      step > 1 ? h("p", { class: "quiet small" }, `1 in ${step} of ${rows.length} points; the CSV file has them all.`) : "",
      table(this.title, columns, shown));
  }

  saveCsv() { if (this.options.csv) this.options.csv(); else if (this.drawn) saveText(`${this.title}.csv`, csv(this.columns(), this.rows())); }

  savePng() {
    const canvas = this.place.querySelector("canvas");
    if (!canvas) return;
    const copy = document.createElement("canvas");
    copy.width = canvas.width; copy.height = canvas.height;
    const context = copy.getContext("2d");
    context.fillStyle = colour("--paper"); context.fillRect(0, 0, copy.width, copy.height);
    context.drawImage(canvas, 0, 0);
    saveCanvas(`${this.title}.png`, copy);
  }
}
