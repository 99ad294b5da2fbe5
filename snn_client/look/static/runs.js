// All runs of a stack: live, to be filtered, sorted, compared, noted on and put away.

import { get, poll } from "./api.js";
import { digits, duration, h, keepingFocus, moment, percent, svg, usd, whole } from "./dom.js";
import { csv, saveText } from "./handing.js";
import { flag, link, set, setting } from "./state.js";

const PAGE = 50, MOST_COMPARED = 20;

export function stateBadge(row) {
  const asked = row.state === "RUNNING" && row.cancel_requested;
  return h("span", { class: `state state-${row.state}` }, asked ? "STOPPING" : row.state);
}

export function startedBy(row) {
  const task = row.started_by;
  if (!task) return row.run_id.startsWith("upload-") ? "upload" : "command line";
  const index = task.map_index >= 0 ? `[${task.map_index}]` : "";
  return `${task.dag_id} · ${task.task_id}${index}`;
}

/** Return a metric as people read it: shares as per cent. */
export const metric = (value, name) => value === null || value === undefined ? "–" : /accuracy|rate|share/.test(name) ? percent(value) : digits(value, 4);

function spark(costs) {
  if (!costs?.length) return svg("svg", { class: "spark", viewBox: "0 0 110 26", "aria-hidden": "true" });
  const low = Math.min(...costs), high = Math.max(...costs), wide = Math.max(1, costs.length - 1);
  const points = costs.map((cost, place) => `${(2 + 106 * place / wide).toFixed(1)} ${(24 - 22 * (high > low ? (cost - low) / (high - low) : 0.5)).toFixed(1)}`);
  const said = `cost from ${digits(costs[0])} to ${digits(costs.at(-1))}`;
  return svg("svg", { class: "spark", viewBox: "0 0 110 26", role: "img", "aria-label": said }, svg("path", { d: `M${points.join("L")}` }));
}

const COLUMNS = [
  { key: "state", name: "State", of: stateBadge },
  { key: "run_id", name: "Run", of: (row, see) => [h("a", { href: link(["run", see.stack, row.run_id]) }, row.run_id),
    row.sweep ? [" ", h("a", { class: "chip", href: link(["sweep", see.stack, row.sweep]) }, "sweep")] : null,
    row.tags.map((tag) => [" ", h("span", { class: "chip" }, tag)]), row.note ? h("div", { class: "quiet small" }, row.note) : null] },
  { key: "spark", name: "Cost", sort: null, of: (row, see) => spark(see.sparks.get(row.run_id)?.costs) },
  { key: "epoch", name: "Epochs", number: true, of: (row) => row.state === "RUNNING" ? [whole(row.epoch), " ", h("progress", { max: row.epochs, value: row.epoch, "aria-label": `${row.epoch} of ${row.epochs} epochs` })] : `${whole(row.epoch)} of ${whole(row.epochs)}` },
  { key: "cost", name: "Last cost", number: true, of: (row) => digits(row.cost) },
  { key: "validation_metric", name: "Validation", number: true, of: (row, see) => {
    const best = see.sparks.get(row.run_id)?.best_metric;
    return row.validation_metric === null ? "–" : [metric(row.validation_metric, row.metric), best !== null && best !== undefined ? h("div", { class: "quiet small" }, `best ${metric(best, row.metric)}`) : null];
  } },
  { key: "differs", name: "What differs", sort: null, of: (row) => Object.entries(row.differs).map(([name, value]) => h("span", { class: "chip", title: `${name} ${value}` }, `${name} ${value}`)) },
  { key: "usd", name: "USD", number: true, of: (row) => usd(row.usd).replace(" USD", "") },
  { key: "seconds", name: "Time", number: true, of: (row) => row.started_at ? duration(row.seconds) : "–" },
  { key: "created_at", name: "Started", of: (row) => [moment(row.created_at), h("div", { class: "quiet small" }, startedBy(row))] },
];

function matches(row, words) {
  if (!words.length) return true;
  const text = [row.run_id, row.state, row.note, ...row.tags, startedBy(row), row.words].join(" ").toLowerCase();
  return words.every((word) => text.includes(word));
}

export function showRuns(content, stack) {
  const see = { stack, sparks: new Map() };
  const chosen = new Set(setting("chosen").split(",").filter(Boolean));
  let listed = { runs: [], older: 0, unreadable: [], at: 0 }, page = Number(setting("page", "0"));
  const status = h("span", { class: "quiet" }, "Loading …"), body = h("tbody", {}), pages = h("div", { class: "bar" });
  const headings = h("tr", {});
  const compare = h("a", { role: "button", href: "#", hidden: true });
  const filter = h("input", { type: "search", placeholder: "name, state, tag, parameter …", value: setting("filter"), "aria-label": "Filter the runs", oninput: () => { page = 0; set({ filter: filter.value, page: null }); draw(); } });
  const archived = h("input", { type: "checkbox", checked: flag("archived"), onchange: () => { set({ archived: archived.checked }); draw(); } });
  content.append(h("h2", {}, `Runs of the stack ${stack}`),
    h("div", { class: "bar" }, filter, h("label", {}, archived, " archived ones too"), compare,
      h("button", { type: "button", onclick: () => saveText(`runs of ${stack}.csv`, table()) }, "CSV"), h("span", { class: "grow" }), status),
    h("div", { class: "scroll" }, h("table", { class: "runs" }, h("caption", { class: "hidden-text" }, "Runs"), h("thead", {}, headings), body)), pages);

  const dag = setting("dag"), dagRun = setting("dag_run");
  function rows() {
    const words = filter.value.toLowerCase().split(/\s+/).filter(Boolean), key = setting("sort", "-created_at"), down = key.startsWith("-"), name = key.replace("-", "");
    const found = listed.runs.filter((row) => (archived.checked || !row.archived) && matches(row, words)
      && (!dag || (row.started_by?.dag_id === dag && (!dagRun || row.started_by.dag_run_id === dagRun))));
    // What has no value comes last, whichever way.
    const empty = (value) => value === null || value === undefined || value === "";
    return found.sort((one, other) => {
      const [a, b] = [one[name], other[name]];
      if (empty(a) || empty(b)) return empty(a) - empty(b);
      return (a < b ? -1 : a > b ? 1 : 0) * (down ? -1 : 1);
    });
  }

  const table = () => csv(["run_id", "state", "epoch", "epochs", "cost", "validation_cost", "validation_metric", "usd", "seconds", "created_at", "tags", "note", "differs"],
    rows().map((row) => [row.run_id, row.state, row.epoch, row.epochs, row.cost, row.validation_cost, row.validation_metric, row.usd, row.seconds, row.created_at, row.tags.join(" "), row.note, JSON.stringify(row.differs)]));

  function heading(column) {
    const key = setting("sort", "-created_at"), mine = key.replace("-", "") === column.key;
    if (column.sort === null) return h("th", { scope: "col" }, column.name);
    const order = mine ? (key.startsWith("-") ? "descending" : "ascending") : "none";
    return h("th", { scope: "col", class: column.number ? "number" : null, "aria-sort": order },
      h("button", { type: "button", onclick: () => { set({ sort: mine && order === "descending" ? column.key : `-${column.key}` }); draw(); headings.querySelectorAll("button")[COLUMNS.filter((one) => one.sort !== null).indexOf(column)]?.focus(); } },
        column.name, mine ? (order === "descending" ? " ↓" : " ↑") : ""));
  }

  function choose(run, wanted) {
    if (wanted) chosen.add(run); else chosen.delete(run);
    set({ chosen: [...chosen].join(",") });
    drawCompare();
  }

  function drawCompare() {
    compare.hidden = chosen.size < 2;
    compare.textContent = chosen.size > MOST_COMPARED ? `Compare the first ${MOST_COMPARED}` : `Compare ${chosen.size} runs`;
    compare.href = link(["compare", stack], { runs: [...chosen].slice(0, MOST_COMPARED).join(",") });
  }

  function draw() { keepingFocus(content, drawRows); }

  function drawRows() {
    const found = rows(), last = Math.max(0, Math.ceil(found.length / PAGE) - 1);
    page = Math.min(page, last);
    const seen = found.slice(page * PAGE, (page + 1) * PAGE);
    headings.replaceChildren(h("th", { scope: "col" }, h("span", { class: "hidden-text" }, "Compare")), ...COLUMNS.map(heading));
    body.replaceChildren(...seen.map((row) => h("tr", { "data-run-row": row.run_id },
      h("td", {}, h("input", { type: "checkbox", checked: chosen.has(row.run_id), "data-run": row.run_id, "aria-label": `Compare ${row.run_id}`, onchange: (event) => choose(row.run_id, event.target.checked) })),
      COLUMNS.map((column) => h("td", { class: column.number ? "number" : null }, column.of(row, see))))));
    pages.replaceChildren(...(last ? [
      h("button", { type: "button", disabled: page === 0, onclick: () => turn(-1) }, "Previous"), `Page ${page + 1} of ${last + 1}`,
      h("button", { type: "button", disabled: page === last, onclick: () => turn(1) }, "Next")] : []));
    if (!listed.at) return;
    say(found.length);
    if (!listed.runs.length) body.replaceChildren(h("tr", {}, h("td", { colspan: COLUMNS.length + 1 }, "No runs yet: trigger the DAG snn_training, or type ", h("code", {}, "snn train"), ".")));
    drawCompare();
    askSparks(seen);
  }

  function say(count) {
    const more = listed.older ? `, and ${whole(listed.older)} older ones that are not listed` : "";
    const bad = listed.unreadable.length ? `; ${listed.unreadable.length} cannot be read: ${listed.unreadable.slice(0, 3).join(", ")}` : "";
    status.textContent = `${whole(count)} of ${whole(listed.runs.length)} runs${more}${bad}, updated ${moment(listed.at)}`;
  }

  function turn(by) { page += by; set({ page: page || null }); draw(); }

  let asking = false, over = false;
  async function askSparks(seen) {
    const wanted = seen.filter((row) => see.sparks.get(row.run_id)?.epoch !== row.epoch);
    if (!wanted.length || asking || over) return;
    asking = true;
    try {
      const found = await get("api/sparks", { stack, run: wanted.map((row) => row.run_id) });
      for (const row of wanted) see.sparks.set(row.run_id, { costs: [], ...found[row.run_id], epoch: row.epoch });
    } catch {
      // Without curves the list is a list still. They are asked for again when the run has moved on.
      for (const row of wanted) see.sparks.set(row.run_id, { costs: [], epoch: row.epoch });
    } finally { asking = false; }
    if (!over) draw();
  }

  const ended = poll(async (signal) => {
    const found = await get("api/runs", { stack, known: listed.version }, { signal });
    if (found.runs) { listed = found; draw(); } else { listed.at = found.at; say(rows().length); }
  }, 2);
  return () => { over = true; ended(); };
}
