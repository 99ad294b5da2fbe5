// The champion: which models reigned, and what the present one says of a photo.

import { get, send } from "./api.js";
import { duration, facts, h, moment, table, trouble } from "./dom.js";
import { metric } from "./runs.js";
import { link } from "./state.js";
import { photoInput, wayView } from "./way.js";

export function showChampion(content, stack) {
  const history = h("div", {}), said = h("div", {});
  content.append(h("h2", {}, "Champion"), history, h("section", { class: "panel" }, h("h3", {}, "Try a photo"),
    photoInput("A photo for the champion", async (file) => {
      said.replaceChildren(h("p", {}, "The champion looks …"));
      try {
        const found = await send(`api/champion/${encodeURIComponent(stack)}/photo`, file, { name: file.name });
        said.replaceChildren(h("p", {}, "By run ", found.run_id ? h("a", { href: link(["run", stack, found.run_id]) }, found.run_id) : "(its file does not say)", "."), wayView(found.way));
      } catch (error) { said.replaceChildren(h("p", { role: "alert" }, error.message)); }
    }), said));
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
    } catch (error) { trouble(error.message); }
  })();
}
