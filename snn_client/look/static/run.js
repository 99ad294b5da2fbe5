// One run: live curves, its microscope, invocations, log, report and parameters.

import { get, poll, post } from "./api.js";
import { Chart, smoothed } from "./charts.js";
import { digits, duration, facts, h, moment, say, table, trouble, usd, whole } from "./dom.js";
import { copy, saveText } from "./handing.js";
import { showInvocations } from "./invocations.js";
import { showMicroscope } from "./microscope.js";
import { metric, startedBy, stateBadge } from "./runs.js";
import { flag, link, set, setting, wholeAddress } from "./state.js";

const ENDED = ["COMPLETED", "FAILED", "CANCELLED"];
const TABS = [["live", "Live"], ["microscope", "Microscope"], ["invocations", "Invocations"], ["log", "Log"], ["report", "Report"], ["parameters", "Parameters and cost"]];

export function showRun(content, stack, [run, tab = "live"]) {
  const path = `api/runs/${encodeURIComponent(stack)}/${encodeURIComponent(run)}`;
  const place = h("div", {}), title = h("div", { class: "bar" }, h("h2", {}, run));
  content.append(title, h("nav", { class: "tabs", "aria-label": "Parts of the run" },
    TABS.map(([key, name]) => h("a", { href: link(["run", stack, run, key]), "aria-current": key === tab ? "page" : null }, name))), place);
  const shown = { live: showLive, microscope: showMicroscope, invocations: showInvocations, log: showLog, report: showReport, parameters: showParameters };
  return (shown[tab] || showLive)(place, path, { stack, run, title });
}

function showLive(content, path, { stack, run, title }) {
  let curve = null, latest = null, span = null, turn = 0, arrived = 0;
  const badge = h("span", {}), updated = h("span", { class: "quiet", "data-updated": "" }), notes = h("span", {});
  const stop = h("button", { type: "button", class: "stop", hidden: true, onclick: stopIt }, "Stop");
  const copyLink = h("button", { type: "button", onclick: () => copy(wholeAddress(), "The link") }, "Copy link");
  title.append(badge, stop, h("span", { class: "grow" }), updated, copyLink, h("button", { type: "button", onclick: write }, "Notes …"));
  const summary = h("div", {}), remark = h("div", {});
  const xs = h("select", { "aria-label": "X axis", onchange: () => { set({ x: xs.value }); if (span) { span = null; curve = null; look(); } else draw(); } },
    [["epochs", "by epochs"], ["seconds", "by time"], ["usd", "by USD"]].map(([value, name]) => h("option", { value }, name)));
  xs.value = setting("x", "epochs");
  const box = (name, key, changed) => { const made = h("input", { type: "checkbox", checked: flag(key), onchange: () => { set({ [key]: made.checked }); changed(); } }); return [made, h("label", {}, made, ` ${name}`)]; };
  const [xLog, xLogLabel] = box("logarithmic x", "xlog", () => { curve = null; span = null; look(); });
  const [yLog, yLogLabel] = box("logarithmic y", "ylog", () => draw());
  const weight = h("input", { type: "range", min: 0, max: 0.99, step: 0.01, value: setting("smooth", "0"), "aria-label": "Smoothing", oninput: () => { set({ smooth: weight.value === "0" ? null : weight.value }); shownWeight.textContent = weight.value; draw(); } });
  const shownWeight = h("output", {}, weight.value);
  const zoomed = (begin, end) => { span = begin === null || begin === undefined ? null : [begin, end]; curve = null; look(); };
  const charts = {
    cost: new Chart("Cost", { zoomed, csv: csvFile }), metric: new Chart("Validation metric", { zoomed }), rate: new Chart("Learning rate", { zoomed }), money: new Chart("USD spent", { zoomed }),
  };
  const panels = h("div", { class: "grid" }, Object.values(charts).map((chart) => chart.element));
  content.append(summary, remark, h("div", { class: "bar" }, xs, xLogLabel, yLogLabel, h("label", {}, "smoothing ", weight, " ", shownWeight)), panels);

  async function csvFile() {
    const answer = await fetch(`${path}/curve.csv`, { credentials: "same-origin" });
    if (answer.ok) saveText(`${run}.csv`, await answer.text()); else trouble(`the server answered ${answer.status}`);
  }

  async function look(signal) {
    const mine = ++turn, axis = xLog.checked ? "log" : "linear";
    const asked = curve && !span ? { axis, width: curve.width, first: Math.max(0, curve.epochs.length - 1) } : { axis };
    if (span) Object.assign(asked, { begin: span[0], end: span[1] });
    const found = await get(`${path}/live`, asked, { signal });
    if (mine !== turn) return true; // something else was asked for since: its answer counts
    latest = found;
    arrived = Date.now();
    curve = curve && !span && found.curve.width === curve.width && found.curve.axis === curve.axis && found.curve.first <= curve.epochs.length ? joined(curve, found.curve) : found.curve;
    drawFacts();
    draw();
    return !ENDED.includes(found.row.state);
  }

  function joined(old, now) {
    const cut = (before, after) => [...before.slice(0, now.first), ...after];
    const band = (before, after) => ({ mean: cut(before.mean, after.mean), ...Object.fromEntries(["least", "greatest"].map((name) =>
      // Points of one epoch each have neither: then they are the mean's.
      [name, before[name].length || after[name].length ? cut(before[name].length ? before[name] : before.mean, after[name].length ? after[name] : after.mean) : []])) });
    return { ...now, first: 0, epochs: cut(old.epochs, now.epochs), seconds: cut(old.seconds, now.seconds), usd: cut(old.usd, now.usd), rate: cut(old.rate, now.rate),
      cost: band(old.cost, now.cost), validation_cost: band(old.validation_cost, now.validation_cost), validation_metric: band(old.validation_metric, now.validation_metric) };
  }

  function drawFacts() {
    const { row } = latest, running = !ENDED.includes(row.state);
    const before = badge.textContent;
    badge.replaceChildren(stateBadge({ ...row, cancel_requested: latest.cancel_requested }), row.archived ? h("span", { class: "chip" }, "archived") : "", row.tags.map((tag) => h("span", { class: "chip" }, tag)).length ? h("span", {}, row.tags.map((tag) => h("span", { class: "chip" }, tag))) : "");
    if (before && before !== badge.textContent) say(`The run is ${badge.textContent}`);
    stop.hidden = !running || !row.may_change;
    stop.textContent = latest.cancel_requested ? "Stop again" : "Stop";
    const limit = latest.max_usd ? ` of ${usd(latest.max_usd)}` : "", time = latest.max_seconds ? ` of ${duration(latest.max_seconds)}` : "";
    summary.replaceChildren(facts([
      ["Epochs", `${whole(row.epoch)} of ${whole(row.epochs)}`], ["Step", latest.steps > 1 && running ? `${whole(latest.step)} of ${whole(latest.steps)}` : null],
      ["Cost", digits(row.cost, 6)], ["Validation cost", row.validation_cost === null ? null : digits(row.validation_cost, 6)],
      [row.metric[0].toUpperCase() + row.metric.slice(1), row.validation_metric === null ? null : metric(row.validation_metric, row.metric)],
      ["Best epoch", row.best_epoch === null || row.best_epoch < 0 ? null : whole(row.best_epoch + 1)],
      ["Epochs a second", latest.epochs_per_second === null ? null : digits(latest.epochs_per_second, 3)],
      ["Time left", running && latest.seconds_left !== null ? `about ${duration(latest.seconds_left)}` : null],
      ["Time", row.started_at ? duration(row.seconds) + time : null], ["Spent", usd(row.usd) + limit], ["An epoch costs", latest.epoch_usd ? usd(latest.epoch_usd) : null],
      ["Started by", startedBy(row)], ["Ended because of", row.stopped_by],
    ]));
    const remarks = [];
    if (row.reason) remarks.push(h("p", { class: "note" }, `Why it ended: ${row.reason}`));
    if (latest.memorising) remarks.push(h("p", { class: "note" }, `It memorises: validation was best at epoch ${whole(latest.memorising)}, with ${digits(latest.best_validation)}. Since then the training cost has fallen, and the validation cost has risen.`));
    if (row.note) remarks.push(h("p", {}, h("strong", {}, "Note: "), row.note));
    if (row.resumed_from) remarks.push(h("p", {}, "It goes on from ", h("a", { href: link(["run", stack, row.resumed_from]) }, row.resumed_from), "."));
    remark.replaceChildren(...remarks);
  }

  function draw() {
    if (!curve || !latest) return;
    const by = xs.value, missing = by !== "epochs" && !curve[by].some((value) => value !== null);
    const x = missing ? curve.epochs : curve[by], weightNow = Number(weight.value);
    const names = { epochs: "epochs", seconds: "seconds", usd: "USD" };
    const view = { x, xName: names[missing ? "epochs" : by], xLog: xLog.checked, yLog: yLog.checked, zoomed: Boolean(span) };
    const shown = (name, band, colour) => ({ name, colour, values: smoothed(band.mean, weightNow), raw: weightNow ? band.mean : null, least: band.least, greatest: band.greatest });
    const costs = [shown("training", curve.cost, "--c0")];
    if (curve.validation_cost.mean.length) costs.push(shown("validation", curve.validation_cost, "--c1"));
    const lines = latest.threshold !== null ? [{ name: "threshold", value: latest.threshold }] : [];
    charts.cost.draw({ ...view, curves: costs, lines });
    charts.metric.element.hidden = !curve.validation_metric.mean.length;
    if (curve.validation_metric.mean.length) charts.metric.draw({ ...view, curves: [shown(latest.row.metric, curve.validation_metric, "--c2")] });
    charts.rate.draw({ ...view, curves: [{ name: "learning rate", colour: "--c3", values: curve.rate }] });
    charts.money.element.hidden = !curve.usd.some((value) => value !== null);
    if (!charts.money.element.hidden) charts.money.draw({ ...view, yLog: false, curves: [{ name: "USD", colour: "--c4", values: curve.usd }], lines: latest.max_usd ? [{ name: "budget", value: latest.max_usd }] : [] });
    if (missing && by !== "epochs") trouble("The ledger does not say when these epochs were: they are drawn by epochs."); 
  }

  async function stopIt() {
    stop.disabled = true;
    try { await post(`${path}/stop`); say("The run was asked to stop"); await look(); } catch (error) { trouble(error.message); } finally { stop.disabled = false; }
  }

  function write() {
    if (!latest) return;
    const { row } = latest;
    const tags = h("input", { value: row.tags.join(", "), "aria-label": "Tags", maxlength: 440 }), note = h("textarea", { maxlength: 500, rows: 4, "aria-label": "Note" }, row.note);
    const archived = h("input", { type: "checkbox", checked: row.archived });
    const wrong = h("p", { role: "alert" });
    const shown = h("dialog", { "aria-label": "Notes on the run", onclose: () => shown.remove() }, h("h2", {}, "Notes on the run"),
      h("p", {}, h("label", {}, "Tags, separated by commas", h("br", {}), tags)), h("p", {}, h("label", {}, "Note", h("br", {}), note)), h("p", {}, h("label", {}, archived, " archived: listed only if asked for")), wrong,
      h("div", { class: "bar" }, h("button", { type: "button", disabled: !row.may_change, onclick: save }, "Save"), h("button", { type: "button", onclick: () => shown.close() }, "Cancel")));
    async function save() {
      try {
        await post(`${path}/notes`, { tags: tags.value.split(",").map((tag) => tag.trim()).filter(Boolean), note: note.value, archived: archived.checked });
        shown.close(); await look();
      } catch (error) { wrong.textContent = error.message; }
    }
    document.body.append(shown);
    shown.showModal();
  }

  const ticking = setInterval(() => { if (latest) updated.textContent = ENDED.includes(latest.row.state) ? `ended ${moment(latest.row.ended_at)}` : `updated ${Math.round((Date.now() - arrived) / 1000)} s ago`; }, 500);
  const end = poll(look, 1);
  return () => { end(); clearInterval(ticking); Object.values(charts).forEach((chart) => chart.end()); };
}

function showLog(content, path, { run }) {
  const lines = h("div", { class: "log", tabindex: 0, role: "log", "aria-label": "Log of the functions" }), status = h("p", { class: "quiet" }, "Reading …");
  const known = new Set();
  let since = 0;
  content.append(h("div", { class: "bar" }, h("button", { type: "button", onclick: () => saveText(`${run}.log`, lines.textContent, "text/plain") }, "Save"), status), lines);
  return poll(async (signal) => {
    const found = await get(`${path}/log`, { since }, { signal });
    const down = lines.scrollTop + lines.clientHeight >= lines.scrollHeight - 20;
    const fresh = found.lines.filter((line) => { const key = `${line.at} ${line.stream} ${line.text}`; return !known.has(key) && known.add(key); });
    lines.append(...fresh.map((line) => `${moment(line.at / 1000)} [${line.function}] ${line.text}\n`));
    since = Math.max(since, ...found.lines.map((line) => line.at));
    if (down) lines.scrollTop = lines.scrollHeight;
    status.textContent = known.size ? `${whole(known.size)} lines` : "No lines yet: CloudWatch shows them some seconds after they were printed.";
  }, 3);
}

async function showReport(content, path, { stack, run }) {
  const source = `${path}/report`, answer = await fetch(source, { credentials: "same-origin" });
  if (answer.ok) content.append(h("p", {}, h("a", { href: source }, "The report alone")), h("iframe", { class: "report", src: source, title: `Report of ${run}`, sandbox: "allow-same-origin" }));
  else content.append(h("p", {}, answer.status === 404 ? `There is no report yet. The DAG writes it after the training; without Airflow: ` : `The server answered ${answer.status}.`, answer.status === 404 ? h("code", {}, `snn report ${run} --stack ${stack}`) : ""));
}

async function showParameters(content, path, { run }) {
  let found;
  try { found = await get(path); } catch (error) { trouble(error.message); return; }
  const text = JSON.stringify(found.parameters, null, 2);
  content.append(h("div", { class: "grid" },
    h("section", { class: "panel" }, h("header", {}, h("h3", {}, "parameters.json"), h("button", { type: "button", onclick: () => saveText("parameters.json", text, "application/json") }, "Save"), h("button", { type: "button", onclick: () => copy(text, "parameters.json") }, "Copy")), h("pre", { class: "log", tabindex: 0 }, text)),
    h("section", { class: "panel" }, h("h3", {}, `What it cost: ${usd(found.bill.usd)}`),
      h("div", { class: "scroll" }, table("The bill", [
        { name: "What", of: (line) => line.what }, { name: "Quantity", number: true, of: (line) => `${digits(line.quantity, 4)} ${line.unit}` },
        { name: "Price", number: true, of: (line) => digits(line.price, 3) }, { name: "USD", number: true, of: (line) => digits(line.usd, 3) }], found.bill.lines)),
      h("p", { class: "quiet small" }, `List prices of ${found.bill.prices.date}, ${found.bill.prices.region}. Left out: ${found.bill.left_out}.`)),
    h("section", { class: "panel wide" }, h("h3", {}, "Where it is"), facts([["Training samples", whole(found.samples)], ["Numbers of a sample", whole(found.features)], ["Trainers that handed over", whole(found.continuations)]]),
      table("Files", [{ name: "What", of: ([name]) => name }, { name: "Address", of: ([, where]) => h("span", { class: "mono" }, where) }], [["data set", found.dataset], ...Object.entries(found.artifacts)]))));
}

