// Runs side by side: their curves over each other, mean and spread over seeds, and what differs.

import { get, poll } from "./api.js";
import { Chart, smoothed } from "./charts.js";
import { CURVE_COLOURS, colour, digits, duration, h, keepingFocus, table, trouble, usd, whole } from "./dom.js";
import { copy } from "./handing.js";
import { metric, stateBadge } from "./runs.js";
import { flag, link, set, setting, wholeAddress } from "./state.js";

const KINDS = [["cost", "training cost"], ["validation_cost", "validation cost"], ["validation_metric", "validation metric"]];
const DASHES = [undefined, [8, 4], [2, 3]];

/** Return runs in groups of those whose parameters differ by their seeds only. */
function bySeeds(runs) {
  const groups = new Map();
  for (const run of runs) {
    const key = JSON.stringify(Object.entries(run.parameters).filter(([name]) => name !== "seed").sort());
    groups.set(key, [...(groups.get(key) || []), run]);
  }
  return [...groups.values()];
}

/** Return the mean of a group's curves, its least and its greatest, where each run of the group has a point. */
function together(group, kind) {
  const longest = group.map((run) => run.curve).reduce((one, other) => other.epochs.length > one.epochs.length ? other : one);
  const epochs = longest.epochs, values = group.map((run) => new Map(run.curve.epochs.map((epoch, place) => [epoch, run.curve[kind].mean[place]])));
  const at = epochs.map((epoch) => values.map((known) => known.get(epoch)).filter((value) => value !== undefined && value !== null));
  return { x: epochs, mean: at.map((found) => found.length === group.length ? found.reduce((sum, value) => sum + value, 0) / found.length : null),
    least: at.map((found) => found.length === group.length ? Math.min(...found) : null), greatest: at.map((found) => found.length === group.length ? Math.max(...found) : null) };
}

export function showCompare(content, stack) {
  const names = setting("runs").split(",").filter(Boolean);
  let runs = [];
  const select = (label, key, options, otherwise) => { const made = h("select", { "aria-label": label, onchange: () => { set({ [key]: made.value }); draw(); } }, options.map(([value, name]) => h("option", { value }, name))); made.value = setting(key, otherwise); return made; };
  const kind = select("Curve", "curve", KINDS, "cost"), by = select("X axis", "x", [["epochs", "by epochs"], ["seconds", "by time"], ["usd", "by USD"]], "epochs");
  const box = (name, key) => { const made = h("input", { type: "checkbox", checked: flag(key), onchange: () => { set({ [key]: made.checked }); draw(); } }); return [made, h("label", {}, made, ` ${name}`)]; };
  const [xLog, xLabel] = box("logarithmic x", "xlog"), [yLog, yLabel] = box("logarithmic y", "ylog"), [seeds, seedsLabel] = box("mean and spread over seeds", "seeds");
  const weight = h("input", { type: "range", min: 0, max: 0.99, step: 0.01, value: setting("smooth", "0"), "aria-label": "Smoothing", oninput: () => { set({ smooth: weight.value }); draw(); } });
  const chart = new Chart("Runs compared", { height: 380 }), differs = h("div", { class: "scroll" });
  content.append(h("div", { class: "bar" }, h("h2", {}, `${names.length} runs compared`), h("span", { class: "grow" }), h("button", { type: "button", onclick: () => copy(wholeAddress(), "The link") }, "Copy link")),
    h("div", { class: "bar" }, kind, by, xLabel, yLabel, seedsLabel, h("label", {}, "smoothing ", weight)), chart.element, h("h3", {}, "What differs"), differs);

  function draw() {
    if (!runs.length) return;
    const smooth = Number(weight.value), curves = [], groups = seeds.checked ? bySeeds(runs) : runs.map((run) => [run]);
    const xs = new Set(), of = groups.map((group) => {
      if (group.length > 1) return together(group, kind.value);
      const [{ curve }] = group, axis = seeds.checked ? "epochs" : by.value;
      return { x: curve[axis], ...curve[kind.value] };
    });
    const timeless = of.some((found) => found.x.some((x) => x === null)) ? "Epochs of which the ledger does not say when they were are left out." : "";
    of.forEach((found) => found.x.forEach((x) => { if (x !== null) xs.add(x); }));
    const x = [...xs].sort((one, other) => one - other), place = new Map(x.map((value, number) => [value, number]));
    const spread = (found, values) => { const all = new Array(x.length).fill(null); values.forEach((value, number) => { if (found.x[number] !== null) all[place.get(found.x[number])] = value; }); return all; };
    groups.forEach((group, number) => {
      const found = of[number], label = group.length > 1 ? `${group.length} seeds of ${group[0].row.run_id}` : group[0].row.run_id;
      if (!found.mean.length) return;
      curves.push({ name: label, colour: CURVE_COLOURS[number % CURVE_COLOURS.length], dash: DASHES[Math.floor(number / CURVE_COLOURS.length) % 3], values: spread(found, smoothed(found.mean, smooth)),
        raw: smooth ? spread(found, found.mean) : null, ...(group.length > 1 ? { least: spread(found, found.least), greatest: spread(found, found.greatest) } : {}) });
    });
    trouble(curves.length ? timeless : kind.value === "cost" ? "None of these runs has ended an epoch yet." : "None of these runs validates: choose another curve.");
    chart.draw({ x, xName: { epochs: "epochs", seconds: "seconds", usd: "USD" }[seeds.checked ? "epochs" : by.value], xLog: xLog.checked, yLog: yLog.checked, curves });
    const fields = [...new Set(runs.flatMap((run) => Object.keys(run.parameters)))].filter((field) => new Set(runs.map((run) => run.parameters[field] ?? "")).size > 1);
    const rows = [["state", (run) => stateBadge(run.row)], ["epochs done", (run) => whole(run.row.epoch)], ["last cost", (run) => digits(run.row.cost)], ["validation", (run) => metric(run.row.validation_metric, run.row.metric)],
      ["time", (run) => duration(run.row.seconds)], ["cost", (run) => usd(run.row.usd)], ...fields.map((field) => [field, (run) => run.parameters[field] ?? "–"])];
    keepingFocus(differs, () => differs.replaceChildren(table("What differs", [{ name: "", of: ([name]) => h("strong", {}, name) },
      ...runs.map((run, number) => ({ name: h("a", { href: link(["run", stack, run.row.run_id]), style: { color: seeds.checked ? colour("--accent") : colour(CURVE_COLOURS[number % CURVE_COLOURS.length]) } }, run.row.run_id), of: ([, cell]) => cell(run) }))], rows)));
  }

  const end = poll(async (signal) => {
    if (names.length < 2) { content.append(h("p", {}, "Choose two runs or more in the list.")); return false; }
    runs = await get("api/compare", { stack, run: names }, { signal });
    draw();
    return runs.some((run) => ["RUNNING", "PENDING"].includes(run.row.state));
  }, 2);
  return () => { end(); chart.end(); };
}
