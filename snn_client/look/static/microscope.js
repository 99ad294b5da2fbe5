// The microscope: the network after any epoch, its layers, its neurons, and samples on their way through it.

import { address, get, poll, send } from "./api.js";
import { colour, digits, facts, h, percent, say, table, trouble, whole } from "./dom.js";
import { copy, csv, pictures as sideBySide, saveCanvas, saveSvg, saveText } from "./handing.js";
import { conditionText, legend, networkPicture } from "./network.js";
import { neuronView } from "./neuron.js";
import { set, setting, wholeAddress } from "./state.js";
import { photoInput, wayView } from "./way.js";

const TILES = 100, TILE = 32, PLAY_SECONDS = 0.7, HELD = 40, FOLLOW_SECONDS = 5;

export function showMicroscope(content, path, { run }) {
  let about = null, seen = null, playing = false, over = false, turn = 0, way = null, own = null, pending = {};
  const networks = new Map();
  const number = (name, otherwise) => { const value = setting(name, ""); return value === "" || Number.isNaN(Number(value)) ? otherwise : Number(value); };
  const slider = h("input", { type: "range", min: 0, max: 0, step: 1, "aria-label": "Kept epochs", style: { width: "min(40rem, 50vw)" }, oninput: () => choose({ epoch: about.kept[Number(slider.value)] }) });
  const exact = h("input", { type: "number", min: 0, style: { width: "8rem" }, "aria-label": "Epoch", onchange: () => choose({ epoch: Number(exact.value) }) });
  const play = h("button", { type: "button", "aria-pressed": "false", onclick: () => { playing = !playing; play.setAttribute("aria-pressed", String(playing)); play.textContent = playing ? "Pause" : "Play"; if (playing) step(); } }, "Play");
  const keys = h("input", { type: "checkbox", checked: setting("keys", "1") === "1", onchange: () => set({ keys: keys.checked ? null : "0" }) });
  const label = h("span", { "data-epoch": "" }), busy = h("span", { class: "quiet", role: "status" });
  const pictured = h("section", { class: "panel network-part", "aria-label": "The network" }), grid = h("section", { class: "panel layer-part", "aria-label": "A layer's neurons" }), close = h("section", { class: "panel neuron-part", "aria-label": "One neuron" }), sampled = h("section", { class: "panel sample-part", "aria-label": "A sample's way" });
  content.append(h("div", { class: "bar" }, play, slider, h("label", {}, "epoch ", exact), label, busy, h("span", { class: "grow" }), h("button", { type: "button", onclick: () => copy(wholeAddress(), "The link") }, "Copy link")),
    h("p", { class: "quiet small" }, h("kbd", {}, "←"), " ", h("kbd", {}, "→"), " next neuron · ", h("kbd", {}, "↑"), " ", h("kbd", {}, "↓"), " next layer · ", h("kbd", {}, "["), " ", h("kbd", {}, "]"), " next kept epoch · ", h("kbd", {}, "space"), " play ", h("label", {}, keys, " keys")),
    h("div", { class: "microscope" }, pictured, grid, close, sampled));

  async function network(epoch) {
    if (!networks.has(epoch)) {
      networks.set(epoch, get(`${path}/epochs/${epoch}/network`));
      if (networks.size > HELD) networks.delete(networks.keys().next().value);
      networks.get(epoch).catch(() => networks.delete(epoch));
    }
    return networks.get(epoch);
  }

  const chosen = () => ({ epoch: number("epoch", about.kept.at(-1)), layer: Math.min(Math.max(1, number("layer", 1)), about.layers.length), neuron: number("neuron", 0), part: setting("part", ""), place: number("place", null) });

  function choose(changes) {
    const now = chosen(), first = number("first", null);
    // The page of tiles goes with the neuron.
    if (changes.layer !== undefined && changes.layer !== now.layer) changes = { first: null, ...changes };
    else if (changes.neuron !== undefined && Math.floor(changes.neuron / TILES) !== Math.floor((first ?? now.neuron) / TILES)) changes = { first: null, ...changes };
    set(changes);
    return draw(changes);
  }

  async function draw(changes = { epoch: 0 }) {
    const mine = ++turn, now = chosen();
    // What an earlier draw did not come to, this one does.
    pending = { ...pending, ...changes };
    changes = pending;
    busy.textContent = "looking …";
    try {
      const found = await network(now.epoch);
      if (over || mine !== turn) return;
      seen = found;
      trouble("");
      const place = about.kept.findLastIndex((epoch) => epoch <= now.epoch);
      slider.value = Math.max(0, place);
      slider.setAttribute("aria-valuetext", `epoch ${now.epoch}`);
      exact.value = now.epoch;
      label.replaceChildren(h("strong", {}, `epoch ${whole(now.epoch)}`), seen.recomputed ? h("span", { class: "state state-CANCELLED", title: about.exact ? "computed again from the kept epoch below: the same bits on a machine like the trainer's" : "computed again from the kept epoch below, as one trainer would: equal but for rounding" }, "recomputed") : h("span", { class: "state state-COMPLETED", title: "as the trainer kept it" }, "kept"),
        about.model_epoch === now.epoch ? h("span", { class: "chip" }, "the run's model") : "");
      now.neuron = Math.min(Math.max(0, now.neuron), about.layers[now.layer - 1].neurons - 1);
      drawNetwork(now);
      const jobs = [];
      if (changes.epoch !== undefined || changes.layer !== undefined || changes.first !== undefined) jobs.push(drawGrid(now, mine)); else markTile(now);
      jobs.push(drawNeuron(now, mine));
      if (own && changes.epoch !== undefined) jobs.push(upload(own, false));
      if (now.part && now.place !== null && (changes.epoch !== undefined || changes.part !== undefined || changes.place !== undefined)) jobs.push(drawWay(now, mine));
      await Promise.all(jobs);
      if (mine === turn) { busy.textContent = ""; pending = {}; }
    } catch (error) {
      if (over || mine !== turn) return;
      busy.textContent = "";
      trouble(error.message);
      playing = false; play.textContent = "Play"; play.setAttribute("aria-pressed", "false");
    }
  }

  function drawNetwork(now) {
    const focused = pictured.contains(document.activeElement) ? document.activeElement.getAttribute("aria-label")?.split(",")[0] : null;
    const dead = seen.layers.map((neurons) => neurons.filter((one) => one.dead).length).reduce((sum, count) => sum + count, 0);
    const rows = seen.layers.flatMap((neurons, layer) => neurons.map((one, place) => ({ layer: layer + 1, place, ...one })));
    const file = () => saveText(`${run} epoch ${now.epoch}.csv`, csv(["layer", "neuron", "fires", "samples", "dead", "saturated", "mean", "norm", "gradient", "update_ratio", "bias"], rows.map((one) => [one.layer, one.place, one.fires, seen.samples, one.dead, one.saturated, one.mean, one.norm, one.slope, one.ratio, one.bias])));
    const open = pictured.querySelector("details")?.open;
    pictured.replaceChildren(h("header", {}, h("h3", {}, "The network"), h("button", { type: "button", onclick: file, "aria-label": "CSV of the neurons" }, "CSV"),
      h("button", { type: "button", onclick: () => saveSvg(`${run} epoch ${now.epoch}.png`, pictured.querySelector("svg.network"), colour("--paper")), "aria-label": "PNG of the network" }, "PNG")),
      facts([["Training cost", digits(seen.cost, 6)], ["Right, of those looked at", seen.accuracy === null ? null : percent(seen.accuracy)], ["Right, of the test set", seen.test_accuracy === null ? null : percent(seen.test_accuracy)], ["Dead neurons", whole(dead)], ["Samples looked at", about.looked < about.samples ? `${whole(about.looked)} of ${whole(about.samples)}` : whole(about.looked)]]),
      networkPicture(about, seen, { layer: now.layer, neuron: now.neuron, activations: way?.layers, choose: (layer, neuron) => choose({ layer, neuron }) }),
      legend(way ? "Circles show the sample below." : "Circles show mean activations."),
      h("details", { open: open || null, ontoggle: (event) => { if (event.target.open && event.target.childElementCount === 1) event.target.append(neuronTable(rows)); } }, h("summary", {}, "Table of the neurons"), open ? neuronTable(rows) : ""),
      mistakes());
    if (focused) pictured.querySelector(`[aria-label^="${CSS.escape(focused)},"]`)?.focus();
  }

  const neuronTable = (rows) => h("div", { class: "scroll" }, table("Neurons", [{ name: "Layer", number: true, of: (one) => one.layer }, { name: "Neuron", number: true, of: (one) => h("button", { type: "button", onclick: () => choose({ layer: one.layer, neuron: one.place }) }, one.place) }, { name: "How it is", of: (one) => conditionText(one, seen.samples) }, { name: "Mean", number: true, of: (one) => digits(one.mean) }, { name: "‖weights‖", number: true, of: (one) => digits(one.norm) }, { name: "‖gradient‖", number: true, of: (one) => digits(one.slope) }, { name: "Update / weight", number: true, of: (one) => digits(one.ratio, 3) }], rows.slice(0, 500)), rows.length > 500 ? h("p", { class: "quiet small" }, `The first 500 of ${whole(rows.length)}; the CSV file has them all.`) : "");

  function mistakes() {
    if (!seen.mistakes.length) return seen.test_accuracy === null ? "" : h("p", {}, "It gets every test sample right.");
    const open = pictured.querySelector("[data-mistakes]")?.open;
    return h("details", { "data-mistakes": "", open: open || null }, h("summary", {}, `Test samples that it gets wrong: ${whole(seen.mistakes_count)}`), h("div", { class: "samples" }, seen.mistakes.map((one) => h("button", { type: "button", "aria-label": `test sample ${one.place}: ${one.truth}, taken for ${one.predicted}`, title: `${one.truth}, taken for ${one.predicted} (${percent(one.probability)})`, onclick: () => sample("test", one.place) }, about.shape.length ? h("img", { src: `${path}/samples/test/${one.place}.png`, alt: "", loading: "lazy" }) : `#${one.place}`))));
  }

  async function drawGrid(now, mine) {
    const neurons = about.layers[now.layer - 1].neurons, first = Math.min(number("first", Math.floor(now.neuron / TILES) * TILES), neurons - 1), count = Math.min(TILES, neurons - first);
    const pictures = about.shape.length && now.layer === 1;
    let source = null, rows = null;
    if (pictures) {
      source = new Image();
      source.src = address(`${path}/epochs/${now.epoch}/layers/1/weights.png`, { first, count, size: TILE, v: seen.scale[0] });
      await source.decode();
    } else rows = await get(`${path}/epochs/${now.epoch}/layers/${now.layer}/bars`, { first, count });
    if (over || mine !== turn) return;
    const scale = seen.scale[now.layer - 1], columns = Math.min(10, count), width = pictures ? source.width / columns : 0, height = pictures ? source.height / Math.ceil(count / columns) : 0;
    const focused = grid.contains(document.activeElement) ? document.activeElement.dataset.neuron : null;
    const tiles = Array.from({ length: count }, (_, place) => {
      const neuron = first + place, one = seen.layers[now.layer - 1][neuron], canvas = h("canvas", { width: pictures ? width : 64, height: pictures ? height : 64, "aria-hidden": "true" }), context = canvas.getContext("2d");
      if (pictures) context.drawImage(source, place % columns * width, Math.floor(place / columns) * height, width, height, 0, 0, width, height);
      else drawBars(context, rows.rows[place], scale);
      return h("button", { type: "button", class: `tile ${one.dead ? "dead" : one.saturated ? "saturated" : ""}`, "data-neuron": neuron, "aria-pressed": String(neuron === now.neuron), "aria-label": `neuron ${neuron}, ${conditionText(one, seen.samples)}`, onclick: () => choose({ layer: now.layer, neuron }) }, canvas, `${neuron}${one.dead ? " dead" : one.saturated ? " sat." : ""}`);
    });
    const turnPage = (by) => choose({ first: Math.max(0, first + by * TILES) });
    grid.replaceChildren(h("header", {}, h("h3", {}, `Layer ${now.layer}: the weights of its ${whole(neurons)} neurons`),
      rows ? h("button", { type: "button", onclick: () => saveText(`${run} epoch ${now.epoch} layer ${now.layer}.csv`, csv(["neuron", ...rows.rows[0].map((_, place) => rows.inputs > 1 ? `inputs from ${place * rows.inputs}` : `input ${place}`)], rows.rows.map((row, place) => [first + place, ...row]))), "aria-label": "CSV of the layer" }, "CSV") : "",
      h("button", { type: "button", onclick: () => saveCanvas(`${run} epoch ${now.epoch} layer ${now.layer}.png`, sideBySide([...grid.querySelectorAll("canvas")], Math.min(10, count), 64, 64, colour("--paper"))), "aria-label": "PNG of the layer" }, "PNG")),
      h("div", { class: "bar" }, about.layers.length > 1 ? h("label", {}, "layer ", h("select", { "aria-label": "Layer", onchange: (event) => choose({ layer: Number(event.target.value), neuron: 0, first: null }) }, about.layers.map((_, place) => h("option", { value: place + 1, selected: place + 1 === now.layer }, place + 1)))) : "",
        h("span", { class: "legend" }, `−${digits(scale, 3)} `, h("span", { class: `scale ${about.shape[2] === 3 && pictures ? "rgb" : ""}` }), ` ${digits(scale, 3)}, the same for all epochs`),
        neurons > TILES ? [h("button", { type: "button", disabled: first === 0, onclick: () => turnPage(-1) }, "Before"), `${first} to ${first + count - 1}`, h("button", { type: "button", disabled: first + count >= neurons, onclick: () => turnPage(1) }, "Next")] : "",
        rows && rows.inputs > 1 ? h("span", { class: "quiet small" }, `each bar the strongest of ${rows.inputs} inputs`) : ""),
      h("div", { class: "tiles" }, tiles));
    if (focused) grid.querySelector(`[data-neuron="${focused}"]`)?.focus();
  }

  function drawBars(context, values, scale) {
    const width = 64 / values.length;
    context.fillStyle = colour("--zero"); context.fillRect(0, 0, 64, 64);
    values.forEach((value, place) => {
      const size = 31 * Math.min(1, Math.abs(value) / (scale || 1));
      context.fillStyle = value >= 0 ? colour("--above") : colour("--below");
      context.fillRect(place * width, value >= 0 ? 32 - size : 32, Math.max(0.8, width - 0.4), size);
    });
  }

  function markTile(now) { grid.querySelectorAll(".tile").forEach((tile) => tile.setAttribute("aria-pressed", String(Number(tile.dataset.neuron) === now.neuron))); }

  async function drawNeuron(now, mine) {
    const asked = now.part && now.place !== null ? { part: now.part, place: now.place } : {};
    const found = await get(`${path}/epochs/${now.epoch}/layers/${now.layer}/neurons/${now.neuron}`, asked);
    if (over || mine !== turn) return;
    const name = `${run} epoch ${now.epoch} layer ${found.layer} neuron ${found.neuron}`, named = (place) => found.layer > 1 ? `neuron ${place} of layer ${found.layer - 1}` : about.names[place] || `input ${place}`;
    const file = () => saveText(`${name}.csv`, found.weights.length ? csv(["input", "weight", "learned", "gradient"], found.weights.map((weight, place) => [named(place), weight, found.learned[place], found.slopes[place]])) : csv(["input", "weight"], found.below.map((one) => [one.name, one.weight])));
    const picture = () => { const drawn = [...close.querySelectorAll(".pictures img")]; return drawn.length ? saveCanvas(`${name}.png`, sideBySide(drawn, drawn.length, 200, 200, colour("--paper"))) : saveSvg(`${name}.png`, close.querySelector("svg.bars"), colour("--paper")); };
    close.replaceChildren(h("header", {}, h("h3", {}, `Neuron ${found.neuron} of layer ${found.layer}`), h("button", { type: "button", onclick: file, "aria-label": "CSV of the neuron" }, "CSV"), h("button", { type: "button", onclick: picture, "aria-label": "PNG of the neuron" }, "PNG")), neuronView(found, { path, about, choose: (layer, neuron) => choose({ layer, neuron }), sample }));
    say(`neuron ${found.neuron} of layer ${found.layer}, ${conditionText(found, found.samples)}`);
  }

  function sample(part, place) { own = null; choose({ part, place }).then(() => sampled.scrollIntoView({ block: "nearest" })); }

  function frame(...inside) {
    const parts = Object.keys(about.parts), now = chosen();
    const part = h("select", { "aria-label": "Part of the data set" }, parts.map((name) => h("option", { value: name, selected: name === now.part }, name))), place = h("input", { type: "number", min: 0, value: now.place ?? 0, style: { width: "7rem" }, "aria-label": "Number of the sample" });
    const file = () => saveText(`${run} sample.csv`, csv(["input", "value", "part"], way.spoke.map((one) => [one.name, one.input, one.part])));
    const picture = () => { const drawn = [...sampled.querySelectorAll(".pictures img")]; return drawn.length ? saveCanvas(`${run} sample.png`, sideBySide(drawn, drawn.length, 200, 200, colour("--paper"))) : saveSvg(`${run} sample.png`, sampled.querySelector("svg.bars"), colour("--paper")); };
    sampled.replaceChildren(h("header", {}, h("h3", {}, "A sample's way through the network"), way ? [h("button", { type: "button", onclick: file, "aria-label": "CSV of the sample" }, "CSV"), h("button", { type: "button", onclick: picture, "aria-label": "PNG of the sample" }, "PNG")] : ""),
      h("div", { class: "bar" }, part, place, h("button", { type: "button", onclick: () => sample(part.value, Number(place.value)) }, "Show"), now.part || own ? h("button", { type: "button", onclick: () => { way = own = null; frame(); choose({ part: null, place: null }); } }, "None") : "",
        about.shape.length || about.backbone ? photoInput("or a photo of yours", upload) : ""), ...inside);
  }

  async function drawWay(now, mine) {
    const found = await get(`${path}/epochs/${now.epoch}/samples/${now.part}/${now.place}`);
    if (over || mine !== turn) return;
    way = found;
    frame(h("p", {}, `${now.part} sample ${now.place}, epoch ${whole(now.epoch)}`), wayView(way, { choose: (layer, neuron) => choose({ layer, neuron }), classes: about.classes }));
    drawNetwork(now);
  }

  async function upload(file, anew = true) {
    const now = chosen();
    own = file;
    set({ part: null, place: null });
    if (anew) frame(h("p", { role: "status" }, `${file.name}: on its way …`));
    try {
      const found = await send(`${path}/epochs/${now.epoch}/photo`, file, { name: file.name });
      if (over || own !== file || chosen().epoch !== now.epoch) return;
      way = found;
      frame(h("p", {}, `${file.name}, epoch ${whole(now.epoch)}`), wayView(way, { choose: (layer, neuron) => choose({ layer, neuron }), classes: about.classes }));
      drawNetwork(now);
    } catch (error) { own = null; frame(h("p", { role: "alert" }, error.message)); }
  }

  async function step() {
    if (!playing || over) return;
    const place = about.kept.findLastIndex((epoch) => epoch <= chosen().epoch), next = about.kept[place + 1 < about.kept.length ? place + 1 : 0];
    await choose({ epoch: next });
    if (playing && !over) setTimeout(step, 1000 * PLAY_SECONDS);
  }

  function key(event) {
    // Keys are for the picture and the tiles, or for nobody else: what scrolls, scrolls.
    const place_ = document.activeElement, here = place_ === document.body || place_.id === "main" || pictured.contains(place_) || grid.contains(place_);
    if (!here || !keys.checked || !about || !seen || event.ctrlKey || event.altKey || event.metaKey || /^(INPUT|SELECT|TEXTAREA)$/.test(event.target.tagName) || document.querySelector("dialog[open]")) return;
    const now = chosen(), neurons = about.layers[now.layer - 1].neurons, place = about.kept.findLastIndex((epoch) => epoch <= now.epoch);
    const moves = {
      ArrowRight: () => choose({ neuron: (now.neuron + 1) % neurons }), ArrowLeft: () => choose({ neuron: (now.neuron + neurons - 1) % neurons }),
      ArrowDown: () => choose({ layer: Math.min(about.layers.length, now.layer + 1), neuron: 0, first: null }), ArrowUp: () => choose({ layer: Math.max(1, now.layer - 1), neuron: 0, first: null }),
      "]": () => choose({ epoch: about.kept[Math.min(about.kept.length - 1, place + 1)] }), "[": () => choose({ epoch: about.kept[Math.max(0, now.epoch > about.kept[place] ? place : place - 1)] }),
      " ": () => { if (event.target.tagName === "BUTTON" || event.target.getAttribute("role") === "button" || event.target.tagName === "SUMMARY" || event.target.tagName === "A") return false; play.click(); },
    };
    if (moves[event.key] && moves[event.key]() !== false) event.preventDefault();
  }

  (async () => {
    busy.textContent = "The data of the run are being read …";
    try {
      about = await get(`${path}/microscope`);
      if (over) return;
      slider.max = about.kept.length - 1;
      exact.max = about.last;
      frame();
      await draw();
      if (about.goes_on) following = poll(follow, FOLLOW_SECONDS);
    } catch (error) { busy.textContent = ""; trouble(error.message); content.append(h("p", {}, "There is nothing to look at.")); }
  })();
  let following = () => {};
  async function follow(signal) {
    const found = await get(`${path}/microscope`, {}, { signal });
    const atEnd = Number(slider.value) === about.kept.length - 1 && setting("epoch", "") === "";
    about = found;
    slider.max = about.kept.length - 1;
    exact.max = about.last;
    if (atEnd) await draw({ epoch: 0 }); else slider.value = Math.max(0, about.kept.findLastIndex((epoch) => epoch <= chosen().epoch));
    return about.goes_on;
  }
  document.addEventListener("keydown", key);
  const themed = () => { if (about && seen) draw({ layer: 0 }); };
  window.addEventListener("snn-theme", themed);
  return () => { over = true; playing = false; following(); document.removeEventListener("keydown", key); window.removeEventListener("snn-theme", themed); };
}

