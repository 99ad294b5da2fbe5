// A sample's way through a network: what was seen, what was said, and what spoke for it.

import { colour, digits, h, percent, svg, table } from "./dom.js";

const MOST_BYTES = 20 * 1024 * 1024;

export function photoInput(label, taken) {
  const input = h("input", { type: "file", accept: "image/*", "aria-label": label, onchange: () => {
    const [file] = input.files;
    if (!file) return;
    if (file.size > MOST_BYTES) { taken.refused?.(`${file.name} has more than 20 MB`); return; }
    taken(file);
  } });
  return h("p", {}, h("label", {}, `${label}: `, input));
}

/** Return a strip of a layer's activations: a bar a neuron, the strongest named. */
function strip(values, layer, choose) {
  const shown = values.slice(0, 200), most = Math.max(...shown.map(Math.abs), 1e-12), width = Math.max(2, Math.min(16, 640 / shown.length));
  const strongest = values.map((value, neuron) => [neuron, value]).sort((one, other) => Math.abs(other[1]) - Math.abs(one[1])).slice(0, 5);
  return h("div", {}, h("strong", {}, `Layer ${layer}`), " ",
    svg("svg", { class: "bars", viewBox: `0 0 ${width * shown.length} 40`, height: 40, preserveAspectRatio: "none", role: "img", "aria-label": `Activations of layer ${layer}; strongest: ${strongest.map(([neuron, value]) => `neuron ${neuron} ${digits(value, 3)}`).join(", ")}` },
      shown.map((value, neuron) => svg("rect", { x: neuron * width, width: Math.max(1, width - 1), y: value >= 0 ? 20 - 18 * value / most : 20, height: Math.max(0.5, 18 * Math.abs(value) / most), fill: value >= 0 ? colour("--above") : colour("--below") }))),
    h("div", { class: "small" }, "strongest: ", strongest.map(([neuron, value], place) => [place ? ", " : "", choose ? h("button", { type: "button", onclick: () => choose(layer, neuron) }, `neuron ${neuron}`) : `neuron ${neuron}`, ` ${digits(value, 3)}`])));
}

export function wayView(way, { choose, classes } = {}) {
  const names = classes?.length ? classes : way.probabilities.map((_, number) => number === way.predicted ? way.class_name : `class ${number}`);
  const probable = way.probabilities.map((value, number) => ({ value, number })).sort((one, other) => other.value - one.value).slice(0, 8);
  return h("div", {},
    h("p", { "data-answer": "" }, way.predicted === null ? h("strong", {}, `It says ${digits(way.value, 6)}`) : h("strong", {}, `It says ${way.class_name}, with ${percent(way.probabilities[way.predicted])}`),
      way.truth_name ? ` · labelled ${way.truth_name}` : way.truth !== null ? ` · labelled ${digits(way.truth)}` : "", way.wrong ? h("span", { class: "state state-FAILED" }, "wrong") : way.wrong === false ? h("span", { class: "state state-COMPLETED" }, "right") : "",
      way.unlike ? h("p", { class: "note" }, "Unlike anything that it was trained on: do not trust this answer.") : ""),
    h("div", { class: "pictures" },
      way.picture ? h("figure", {}, h("img", { src: `data:image/png;base64,${way.picture}`, alt: "what the network saw" }), h("figcaption", {}, "what the network saw")) : "",
      way.spoke_picture ? h("figure", {}, h("img", { src: `data:image/png;base64,${way.spoke_picture}`, alt: "what spoke for the answer" }), h("figcaption", {}, "orange spoke for the answer, blue against it")) : "",
      probable.length ? h("div", {}, h("h4", {}, "Probabilities"), table("Probabilities", [{ name: "Class", of: (one) => names[one.number] }, { name: "", of: (one) => h("meter", { min: 0, max: 1, value: one.value, "aria-label": `${names[one.number]} ${percent(one.value)}` }) }, { name: "Probability", number: true, of: (one) => percent(one.value) }], probable)) : ""),
    h("p", { class: "formula" }, `${way.predicted === null ? "answer" : "logit"} ${digits(way.logit, 6)} = inputs ${digits(way.slope_sum, 6)} + biases and bends ${digits(way.rest, 6)}`),
    h("details", {}, h("summary", {}, "The inputs that spoke most"), table("Inputs", [{ name: "Input", of: (one) => one.name }, { name: "Value", number: true, of: (one) => digits(one.input) }, { name: "For the answer (+) or against it (−)", number: true, of: (one) => digits(one.part) }], way.spoke)),
    way.layers.map((values, number) => strip(values, number + 1, choose)));
}
