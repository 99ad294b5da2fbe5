// Models: their versions, which of them reigned, what the present champion says of a photo, and what the endpoint answers.

import { get, send } from "./api.js";
import { digits, duration, facts, h, moment, percent, table, trouble } from "./dom.js";
import { metric } from "./runs.js";
import { link } from "./state.js";
import { photoInput, wayView } from "./way.js";

export function showChampion(content, stack) {
  const history = h("div", {}), said = h("div", {}), versions = h("div", {}), answered = h("div", { "data-endpoint": true, "aria-live": "polite" });
  content.append(h("h2", {}, "Champion"), history, versions, h("section", { class: "panel" }, h("h3", {}, "Try a photo"),
    photoInput("A photo for the champion", async (file) => {
      said.replaceChildren(h("p", {}, "The champion looks …"));
      try {
        const found = await send(`api/champion/${encodeURIComponent(stack)}/photo`, file, { name: file.name });
        said.replaceChildren(h("p", {}, "By run ", found.run_id ? h("a", { href: link(["run", stack, found.run_id]) }, found.run_id) : "(its file does not say)", "."), wayView(found.way));
      } catch (error) { said.replaceChildren(h("p", { role: "alert" }, error.message)); }
    }), said), h("section", { class: "panel" }, h("h3", {}, "Ask the endpoint"),
    h("p", {}, "The photo goes to the address that every other client uses, with this connection's signature."),
    photoInput("A photo for the endpoint", async (file) => {
      answered.replaceChildren(h("p", {}, "The endpoint answers …"));
      try { answered.replaceChildren(answerView(await send(`api/models/${encodeURIComponent(stack)}/ask`, file))); }
      catch (error) { answered.replaceChildren(h("p", { role: "alert" }, error.message)); }
    }), answered));
  (async () => {
    try {
      const reigns = await get(`api/champion/${encodeURIComponent(stack)}`);
      history.replaceChildren(reigns.length ? h("div", {},
        facts([["Now", reigns[0].reign.until === null ? reigns[0].reign.run_id || "a file that names no run" : "none"], ["Since", moment(reigns[0].reign.since)]]),
        h("div", { class: "scroll" }, table("Champions", [
          { name: "Run", of: ({ reign, row }) => row ? h("a", { href: link(["run", stack, reign.run_id]) }, reign.run_id) : reign.run_id || "not said" },
          { name: "From", of: ({ reign }) => moment(reign.since) }, { name: "For", of: ({ reign }) => reign.until === null ? "now" : duration(reign.until - reign.since) },
          { name: "Validation", number: true, of: ({ row }) => row ? metric(row.validation_metric, row.metric) : "–" }, { name: "Version", of: ({ reign }) => h("span", { class: "mono small" }, reign.version) }], reigns)))
        : h("p", {}, "There is no champion yet: the DAG promotes a run that is better, and so does ", h("code", {}, "snn train --promote"), "."));
      versions.replaceChildren(...(await get(`api/models/${encodeURIComponent(stack)}`)).map((model) => modelView(model, stack)));
    } catch (error) { trouble(error.message); }
  })();
}

/** Return a model's versions as a table, and its trial, if there was one. */
function modelView({ model, versions, trial }, stack) {
  return h("section", { class: "panel" }, h("h3", {}, `Model ${model}`),
    trial ? h("p", {}, `Version ${trial.number} ${trial.ended ? `was ${trial.ended}: ${trial.reason}` : trial.kind === "canary" ? `answers ${percent(trial.share)} of the requests` : "is asked silently, beside the champion"}.`) : null,
    h("div", { class: "scroll" }, table(`Versions of ${model}`, [
      { name: "Version", number: true, of: ({ version }) => version.number },
      { name: "Status", of: ({ status }) => status },
      { name: "Run", of: ({ version }) => h("a", { href: link(["run", stack, version.run_id]) }, version.run_id) },
      { name: "Accuracy or R²", number: true, of: ({ version }) => worth(version.metrics) },
      { name: "Registered", of: ({ version }) => moment(version.created) },
      { name: "Decided by", of: ({ version }) => version.decided ? `${version.decided.by || "–"}${version.decided.reason ? `: ${version.decided.reason}` : ""}` : "–" },
      { name: "Requests", number: true, of: ({ served }) => served ? served.requests : 0 },
      { name: "Errors", number: true, of: ({ served }) => served ? served.errors : 0 }], versions)));
}

function worth(metrics) {
  const found = metrics.accuracy || metrics.r2;
  return found ? `${digits(found.value)}${found.low === undefined ? "" : ` (${digits(found.low)}–${digits(found.high)})`}` : "–";
}

/** Return what the endpoint answered to one photo. */
function answerView({ predictions: [one], model, classes }) {
  const by = `${model.name}, version ${model.version || model.run_id}`;
  if (one.value !== undefined) return facts([["Answer", digits(one.value)], ["By", by]]);
  return h("div", {}, facts([["Answer", one.class_name], ["By", by], ...(one.unlike ? [["Beware", "unlike anything that it was trained on"]] : [])]),
    table("Probabilities", [{ name: "Class", of: ([name]) => name }, { name: "Probability", number: true, of: ([, probability]) => digits(probability) }],
      classes.map((name, place) => [name, one.probabilities[place]])));
}
