// The network as a picture: layers from left to right, neurons as circles, strong connections between them.

import { colour, h, svg, whole } from "./dom.js";

const SHOWN = 24; // neurons of a layer; the server sends connections between these
const WIDE = 900, RADIUS = 9, STEP = 26, TOP = 34;

export function conditionText(neuron, samples) {
  const fires = `fires on ${whole(neuron.fires)} of ${whole(samples)}`;
  return neuron.dead ? `dead: ${fires}` : neuron.saturated ? `saturated: ${fires}` : fires;
}

/** Return the picture. `activations` of one sample fill the circles, else their means; `choose(layer, neuron)`. */
export function networkPicture(about, seen, { layer, neuron, activations, choose }) {
  const most = Math.max(...seen.layers.map((one) => Math.min(one.length, SHOWN)), 3), high = TOP + most * STEP + 16;
  const columns = seen.layers.length + 1, x = (place) => 70 + (WIDE - 140) * place / (columns - 1);
  const y = (count, place) => TOP + (most - Math.min(count, SHOWN)) * STEP / 2 + (place + 0.5) * STEP;
  const below = colour("--below"), above = colour("--above");
  const strongest = Math.max(...seen.connections.map((one) => Math.abs(one.weight)), 1e-12);
  const lines = seen.connections.map((one) => {
    const from = [x(one.layer), y(seen.layers[one.layer - 1].length, one.source)], to = [x(one.layer + 1), y(seen.layers[one.layer].length, one.target)], share = Math.abs(one.weight) / strongest;
    return svg("path", { class: "link", d: `M${from[0] + RADIUS} ${from[1]}C${(from[0] + to[0]) / 2} ${from[1]} ${(from[0] + to[0]) / 2} ${to[1]} ${to[0] - RADIUS} ${to[1]}`, stroke: one.weight >= 0 ? above : below, "stroke-width": (0.4 + 3 * share).toFixed(2), "stroke-opacity": (0.15 + 0.75 * share).toFixed(2) });
  });
  const input = svg("g", {}, svg("rect", { x: x(0) - 46, y: high / 2 - 24, width: 92, height: 56, rx: 8, fill: "none", stroke: colour("--ink") }),
    svg("text", { x: x(0), y: high / 2, "text-anchor": "middle" }, whole(about.layers[0].inputs)), svg("text", { x: x(0), y: high / 2 + 16, "text-anchor": "middle" }, about.shape.length ? "pixels" : "inputs"));
  const fans = seen.layers[0].slice(0, SHOWN).map((_, place) => svg("path", { class: "link", d: `M${x(0) + 46} ${high / 2 + 4}L${x(1) - RADIUS} ${y(seen.layers[0].length, place)}`, stroke: colour("--line"), "stroke-width": 0.7 }));
  const layers = seen.layers.map((neurons, number) => {
    const values = activations ? activations[number] : neurons.map((one) => one.mean), top = Math.max(...values.slice(0, SHOWN).map(Math.abs), 1e-12);
    return [
      svg("text", { x: x(number + 1), y: 14, "text-anchor": "middle" }, `layer ${number + 1} · ${about.layers[number].activation}`),
      neurons.slice(0, SHOWN).map((one, place) => {
        const share = Math.min(1, Math.abs(values[place] ?? 0) / top), chosen = layer === number + 1 && neuron === place;
        const state = one.dead ? "dead" : one.saturated ? "saturated" : "";
        const name = `neuron ${place} of layer ${number + 1}, ${conditionText(one, seen.samples)}`;
        const act = () => choose(number + 1, place);
        return svg("g", { tabindex: 0, role: "button", "aria-label": name, "aria-pressed": chosen ? "true" : "false", onclick: act, onkeydown: (event) => { if (event.key === "Enter" || event.key === " ") { event.preventDefault(); act(); } } },
          svg("title", {}, name), svg("circle", { class: `neuron ${state} ${chosen ? "chosen" : ""}`, cx: x(number + 1), cy: y(neurons.length, place), r: RADIUS, fill: `color-mix(in srgb, ${(values[place] ?? 0) >= 0 ? above : below} ${Math.round(100 * share)}%, ${colour("--paper")})` }),
          one.dead ? svg("text", { x: x(number + 1), y: y(neurons.length, place) + 4, "text-anchor": "middle", "pointer-events": "none" }, "✕") : null);
      }),
      neurons.length > SHOWN ? svg("text", { x: x(number + 1), y: high - 4, "text-anchor": "middle" }, `and ${whole(neurons.length - SHOWN)} more`) : null,
    ];
  });
  return svg("svg", { class: "network", viewBox: `0 0 ${WIDE} ${high}`, role: "group", "aria-label": "The network: layers from left to right; the table below says the same" }, fans, lines, input, layers);
}

export function legend(exactSaid) {
  return h("p", { class: "quiet small" }, h("span", { class: "legend" }, "below 0 ", h("span", { class: "scale" }), " above 0"), " · thick: a strong weight · ✕ dashed: dead, it fires on no sample · thick border: saturated. ", exactSaid);
}
