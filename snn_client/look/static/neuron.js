// One neuron, closely.

import { colour, digits, facts, h, svg, table, whole } from "./dom.js";
import { conditionText } from "./network.js";

function barsSvg(values, label, scale, names = []) {
  const high = 90, wide = Math.max(1, Math.min(14, 900 / values.length)), top = scale || Math.max(...values.map(Math.abs), 1e-12);
  return svg("svg", { class: "bars", viewBox: `0 0 ${wide * values.length} ${high}`, height: high, preserveAspectRatio: "none", role: "img", "aria-label": label },
    values.map((value, place) => {
      const size = Math.min(1, Math.abs(value) / top) * (high / 2 - 2);
      return svg("rect", { x: place * wide, width: Math.max(0.6, wide - 0.6), y: value >= 0 ? high / 2 - size : high / 2, height: Math.max(0.4, size), fill: value >= 0 ? colour("--above") : colour("--below") }, svg("title", {}, `${names[place] || `input ${place}`}: ${digits(value)}`));
    }));
}

function histogramSvg(edges, counts) {
  const top = Math.max(...counts, 1);
  return svg("svg", { class: "bars", viewBox: `0 0 ${counts.length * 10} 80`, height: 80, preserveAspectRatio: "none", role: "img", "aria-label": `Histogram of activations from ${digits(edges[0], 3)} to ${digits(edges.at(-1), 3)}` },
    counts.map((count, place) => svg("rect", { x: place * 10, width: 9, y: 78 - 76 * count / top, height: Math.max(count ? 1 : 0, 76 * count / top), fill: colour("--c0") }, svg("title", {}, `${digits(edges[place], 3)} to ${digits(edges[place + 1], 3)}: ${count}`))));
}

const linkTable = (caption, links, choose) => links.length ? h("div", {}, h("h4", {}, caption), table(caption, [
  { name: "With", of: (one) => one.layer ? h("button", { type: "button", onclick: () => choose(one.layer, one.neuron) }, one.name) : one.name }, { name: "Weight", number: true, of: (one) => digits(one.weight) }], links)) : "";

/** Return what there is to see of a neuron. `context` has path, about, choose(layer, neuron), sample(part, place). */
export function neuronView(seen, { path, about, choose, sample }) {
  const picture = about.shape.length && seen.layer === 1, address = (kind) => `${path}/epochs/${seen.epoch}/layers/1/${kind}.png?first=${seen.neuron}&v=${seen.scale}`;
  const photo = (place) => about.shape.length ? h("img", { src: `${path}/samples/train/${place}.png`, alt: `training sample ${place}`, loading: "lazy" }) : `#${place}`;
  const { formula } = seen;
  const terms = formula.terms.map((term) => `${digits(term.weight, 3)}·${digits(term.input, 3)}`).join(" + ");
  return h("div", {},
    facts([["Fires", conditionText(seen, seen.samples)], ["Mean activation", digits(seen.mean)], ["‖weights‖", digits(seen.norm)], ["‖gradient‖", digits(seen.slope)],
      ["Update / weight", seen.ratio === null ? "– (the last epoch)" : digits(seen.ratio, 3)], ["Bias", digits(seen.bias)], ["Activation", seen.activation]]),
    seen.dead ? h("p", { class: "note" }, "This neuron is dead: it fires on no sample, so its gradient is nothing and it learns no more.") : seen.saturated ? h("p", { class: "note" }, "This neuron is saturated: on every sample it is at the end of its range, where it hardly learns.") : "",
    picture ? h("div", { class: "pictures" },
      h("figure", {}, h("img", { src: address("weights"), alt: `weights of neuron ${seen.neuron}`, "data-weights": "" }), h("figcaption", {}, about.shape[2] === 3 ? `weights; mid-grey is 0, ±${digits(seen.scale, 3)} are black and white` : `weights; white is 0, ±${digits(seen.scale, 3)} are full colours`)),
      !seen.learned_scale ? "" : h("figure", {}, h("img", { src: address("learned"), alt: `what neuron ${seen.neuron} has learned` }), h("figcaption", {}, `what it has learned: weights less the first ones, ±${digits(seen.learned_scale, 3)}`)),
      h("figure", {}, h("img", { src: address("slopes"), alt: `gradient of neuron ${seen.neuron}` }), h("figcaption", {}, `gradient, on its own scale of ±${digits(seen.slope_scale, 3)}`)))
      : seen.weights.length ? h("div", {}, h("h4", {}, "Weights"), barsSvg(seen.weights, `Weights of neuron ${seen.neuron}`, seen.scale, seen.layer === 1 ? about.names : []), !seen.learned.length ? "" : h("h4", {}, "What it has learned: weights less the first ones"), !seen.learned.length ? "" : barsSvg(seen.learned, `What neuron ${seen.neuron} has learned`, seen.learned_scale, seen.layer === 1 ? about.names : []), h("h4", {}, "Gradient"), barsSvg(seen.slopes, `Gradient of neuron ${seen.neuron}`, seen.slope_scale, seen.layer === 1 ? about.names : [])) : "",
    h("h4", {}, `Activations over ${whole(seen.samples)} samples, from ${digits(seen.edges[0], 3)} to ${digits(seen.edges.at(-1), 3)}`), histogramSvg(seen.edges, seen.counts),
    h("details", {}, h("summary", {}, "Table"), table("Histogram", [{ name: "From", number: true, of: ([place]) => digits(seen.edges[place]) }, { name: "To", number: true, of: ([place]) => digits(seen.edges[place + 1]) }, { name: "Samples", number: true, of: ([, count]) => whole(count) }], seen.counts.map((count, place) => [place, count]))),
    h("h4", {}, "What excites it"), table("What excites it", [{ name: "Class", of: (one) => one.class_name },
      ...[["Most", "most"], ["Least", "least"]].map(([name, key]) => ({ name, of: (one) => h("div", { class: "samples" }, one[key].map(([place, value]) => h("button", { type: "button", title: `sample ${place}: ${digits(value, 3)}`, "aria-label": `training sample ${place}, activation ${digits(value, 3)}`, onclick: () => sample("train", place) }, photo(place)))) }))], seen.excites),
    seen.classes_left_out ? h("p", { class: "quiet small" }, `and ${seen.classes_left_out} more classes`) : "",
    h("h4", {}, `Its sum for ${formula.part} sample ${formula.place}`),
    h("p", { class: "formula" }, `z = ${terms}${formula.others ? ` + ${whole(formula.others)} more terms: ${digits(formula.rest)}` : ""} + bias ${digits(formula.bias)} = ${digits(formula.z, 6)};  a = ${formula.activation}(z) = ${digits(formula.a, 6)}`),
    h("details", {}, h("summary", {}, "Its largest terms"), table("Terms", [{ name: "Input", of: (term) => term.name }, { name: "Weight", number: true, of: (term) => digits(term.weight) }, { name: "Value", number: true, of: (term) => digits(term.input) }, { name: "Product", number: true, of: (term) => digits(term.product) }], formula.terms)),
    h("div", { class: "grid" }, linkTable("Strongest from below", seen.below, choose), linkTable("Strongest to above", seen.above, choose)));
}
