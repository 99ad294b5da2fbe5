// The invocations of an epoch, for granularity neuron and layer: who waited for whom, what was cold, and where the money went.

import { get } from "./api.js";
import { CURVE_COLOURS, colour, digits, duration, facts, h, moment, table, trouble, usd, whole } from "./dom.js";
import { csv, saveCanvas, saveText } from "./handing.js";
import { set, setting } from "./state.js";

const ROWS = 300, LANE = 14, MARGIN = 44;

/** Return for each invocation the lane that it is drawn in: the first that is free when it is sent. */
function lanesOf(invocations) {
  const free = [];
  return invocations.map((one) => {
    let lane = free.findIndex((until) => until <= one.sent + 1e-9);
    if (lane < 0) lane = free.length;
    free[lane] = one.answered;
    return lane;
  });
}

const neurons = (one) => one.last > one.first ? `neurons ${one.first} to ${one.last}` : `neuron ${one.first}`;
const what = (one) => `layer ${one.layer}, ${neurons(one)}, ${one.direction}`;

export function showInvocations(content, path, { run }) {
  let kept = [], seen = null, over = false, lanes = [], chosen = null;
  const slider = h("input", { type: "range", min: 0, max: 0, "aria-label": "Kept epochs", style: { width: "min(40rem, 50vw)" }, oninput: () => { set({ epoch: kept[Number(slider.value)] }); look(); } });
  const label = h("strong", {}), status = h("span", { class: "quiet", role: "status" }), place = h("div", {});
  content.append(h("div", { class: "bar" }, slider, label, status), place);

  async function look() {
    const epoch = Number(setting("epoch", kept.at(-1)));
    slider.value = Math.max(0, kept.indexOf(epoch));
    label.textContent = `epoch ${whole(epoch)}`;
    status.textContent = "looking …";
    try {
      const found = await get(`${path}/epochs/${epoch}/invocations`);
      if (over || Number(setting("epoch", kept.at(-1))) !== epoch) return;
      status.textContent = "";
      trouble("");
      seen = found; chosen = null;
      if (!found.recorded) { place.replaceChildren(h("p", {}, found.why)); return; }
      seen.rows = found.rows.map((row) => Object.fromEntries(found.columns.map((name, number) => [name, row[number]])));
      lanes = lanesOf(seen.rows);
      draw();
    } catch (error) { status.textContent = ""; trouble(error.message); }
  }

  function draw() {
    const { summary } = seen, detail = h("div", {}), canvas = h("canvas", { class: "timeline", tabindex: 0, role: "img", "aria-label": `Timeline of ${seen.rows.length} invocations; the table below has them` });
    const file = () => saveText(`${run} epoch ${seen.epoch} invocations.csv`, csv(seen.columns, seen.rows.map((row) => seen.columns.map((name) => row[name]))));
    place.replaceChildren(
      facts([["The epoch took", duration(summary.seconds)], ["Waiting for neurons", duration(summary.waiting_seconds)], ["The trainer's own", duration(summary.trainer_seconds)], ["Invocations", whole(summary.invocations)],
        ["Cold starts", `${whole(summary.cold)}${summary.cold ? `, ${whole(summary.init_ms)} ms` : ""}`], ["Failed", whole(summary.failed)], ["Repeated", whole(summary.repeated)], ["Not noted", summary.left_out ? whole(summary.left_out) : null],
        ["Billed to neurons", `${whole(summary.neuron_ms)} ms, ${digits(summary.neuron_gb_seconds, 3)} GB-s`], ["Neurons cost", usd(summary.neuron_usd)], ["The trainer cost", usd(summary.trainer_usd)], ["Began", moment(seen.started_at)]]),
      h("section", { class: "panel" }, h("header", {}, h("h3", {}, "Timeline"), h("button", { type: "button", onclick: file, "aria-label": "CSV of the invocations" }, "CSV"), h("button", { type: "button", onclick: () => saveCanvas(`${run} epoch ${seen.epoch}.png`, canvas), "aria-label": "PNG of the timeline" }, "PNG")),
        h("p", { class: "quiet small" }, "A bar is an invocation, from when the trainer sent it to its answer; its dark part is what the function itself took. Striped: a cold start. Red: it failed or was repeated. A colour a layer; pale: backward."),
        h("div", { class: "timeline-scroll", tabindex: 0, role: "region", "aria-label": "Timeline" }, canvas), detail),
      h("section", { class: "panel" }, h("h3", {}, "Who waited for whom"), h("div", { class: "scroll" }, table("Waves", [
        { name: "From", number: true, of: (wave) => `${wave.sent.toFixed(3)} s` }, { name: "Wave", of: (wave) => `layer ${wave.layer}, ${wave.direction}` }, { name: "Step", number: true, of: (wave) => wave.step }, { name: "Mini-batch", number: true, of: (wave) => wave.batch },
        { name: "Invocations", number: true, of: (wave) => whole(wave.invocations) }, { name: "Took", number: true, of: (wave) => `${(1000 * (wave.answered - wave.sent)).toFixed(0)} ms` }, { name: "The last to answer", of: (wave) => wave.slowest }, { name: "Alone for", number: true, of: (wave) => `${(1000 * wave.alone).toFixed(0)} ms` }], seen.path.slice(0, ROWS)))),
      h("section", { class: "panel" }, h("h3", {}, "The invocations"), h("div", { class: "scroll" }, table("Invocations", [
        { name: "Sent", number: true, of: (one) => `${one.sent.toFixed(3)} s` }, { name: "What", of: (one) => what(one) }, { name: "Mini-batch", number: true, of: (one) => one.batch }, { name: "Answered after", number: true, of: (one) => `${(1000 * (one.answered - one.sent)).toFixed(0)} ms` },
        { name: "Billed", number: true, of: (one) => `${whole(one.milliseconds)} ms` }, { name: "Cold start", number: true, of: (one) => one.init_ms ? `${whole(one.init_ms)} ms` : "" }, { name: "Memory", number: true, of: (one) => `${whole(one.memory_mb)} MB` }, { name: "Outcome", of: (one) => one.attempt > 1 ? `${one.outcome}, attempt ${one.attempt}` : one.outcome },
        { name: "Log", of: (one) => h("button", { type: "button", onclick: () => show(one, detail, canvas) }, "Log") }], seen.rows.slice(0, ROWS))), seen.rows.length > ROWS ? h("p", { class: "quiet small" }, `The first ${ROWS} of ${whole(seen.rows.length)}; the CSV file has them all.`) : ""));
    paint(canvas);
    canvas.addEventListener("click", (event) => { const found = at(canvas, event); if (found) show(found, detail, canvas); });
    canvas.addEventListener("mousemove", (event) => { const found = at(canvas, event); canvas.title = found ? `${what(found)}: ${(1000 * (found.answered - found.sent)).toFixed(0)} ms, billed ${found.milliseconds} ms` : ""; });
  }

  const scale = (canvas) => (canvas.width - MARGIN - 8) / Math.max(seen.summary.seconds, 1e-6);

  function paint(canvas) {
    const count = Math.max(1, ...lanes.map((lane) => lane + 1)), high = Math.max(3, Math.min(LANE, Math.floor(9000 / count)));
    canvas.width = Math.max(700, place.clientWidth - 30); canvas.height = Math.min(9000, 26 + count * high);
    const context = canvas.getContext("2d"), by = scale(canvas), ink = colour("--ink");
    context.fillStyle = colour("--paper"); context.fillRect(0, 0, canvas.width, canvas.height);
    context.font = "11px system-ui"; context.fillStyle = ink; context.strokeStyle = colour("--line");
    for (let tick = 0; tick <= 8; tick += 1) {
      const at = MARGIN + tick / 8 * (canvas.width - MARGIN - 8);
      context.beginPath(); context.moveTo(at, 16); context.lineTo(at, canvas.height); context.stroke();
      context.fillText(`${(seen.summary.seconds * tick / 8).toFixed(2)} s`, Math.min(at, canvas.width - 40), 11);
    }
    seen.rows.forEach((one, number) => {
      const left = MARGIN + one.sent * by, wide = Math.max(1, (one.answered - one.sent) * by), top = 20 + lanes[number] * high, bad = one.outcome !== "done" || one.attempt > 1 || one.round > 1;
      const fill = bad ? colour("--bad") : colour(CURVE_COLOURS[(one.layer - 1) % CURVE_COLOURS.length]);
      context.fillStyle = fill; context.globalAlpha = one.direction === "backward" ? 0.25 : 0.4; context.fillRect(left, top, wide, high - 1);
      const own = Math.min(wide, one.milliseconds / 1000 * by);
      context.globalAlpha = one.direction === "backward" ? 0.6 : 1; context.fillRect(left, top, own, high - 1);
      if (one.init_ms) { context.globalAlpha = 1; context.strokeStyle = ink; for (let x = left; x < left + Math.min(own, Math.max(3, one.init_ms / 1000 * by)); x += 3) { context.beginPath(); context.moveTo(x, top + high - 1); context.lineTo(x + 2, top); context.stroke(); } }
      context.globalAlpha = 1;
      if (one === chosen) { context.strokeStyle = ink; context.strokeRect(left - 1, top - 1, wide + 2, high + 1); }
    });
    canvas.dataset.lane = high;
  }

  function at(canvas, event) {
    const box = canvas.getBoundingClientRect(), x = (event.clientX - box.left) * canvas.width / box.width, y = (event.clientY - box.top) * canvas.height / box.height;
    const lane = Math.floor((y - 20) / Number(canvas.dataset.lane)), when = (x - MARGIN) / scale(canvas);
    return seen.rows.find((one, number) => lanes[number] === lane && one.sent <= when && when <= one.answered) || null;
  }

  async function show(one, detail, canvas) {
    chosen = one;
    paint(canvas);
    const lines = h("div", { class: "log", tabindex: 0, role: "log", "aria-label": "Log of the invocation" }, "reading its log …");
    detail.replaceChildren(h("h4", {}, what(one)), facts([["Sent", `${one.sent.toFixed(3)} s`], ["Answered", `${one.answered.toFixed(3)} s`], ["Billed", `${whole(one.milliseconds)} ms`], ["Cold start", one.init_ms ? `${whole(one.init_ms)} ms` : "no"], ["Memory", `${whole(one.memory_mb)} MB`], ["Request", one.request_id || "not known"], ["Stream", one.log_stream || "not known"]]), lines);
    detail.scrollIntoView({ block: "nearest" });
    if (!one.request_id) { lines.textContent = "It failed before it could say which request it was: its log is not known."; return; }
    try {
      const found = await get(`${path}/epochs/${seen.epoch}/invocations/log`, { request_id: one.request_id });
      lines.textContent = found.lines.length ? found.lines.map((line) => `${moment(line.at / 1000)} ${line.text}`).join("\n") : "CloudWatch has no lines of it: it keeps them for as long as the stack says.";
    } catch (error) { lines.textContent = error.message; }
  }

  (async () => {
    status.textContent = "The run is being read …";
    try {
      const about = await get(`${path}/microscope`);
      if (over) return;
      kept = about.kept.filter((epoch) => epoch > 0);
      slider.max = Math.max(0, kept.length - 1);
      if (!kept.length) { status.textContent = ""; place.replaceChildren(h("p", {}, "No epoch was kept, so no invocation was noted.")); return; }
      await look();
    } catch (error) { status.textContent = ""; trouble(error.message); }
  })();
  const themed = () => { if (seen?.recorded) draw(); };
  window.addEventListener("snn-theme", themed);
  return () => { over = true; window.removeEventListener("snn-theme", themed); };
}
