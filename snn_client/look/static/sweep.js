// A sweep: its runs, and, once it has ended, the table that it found.

import { get, poll } from "./api.js";
import { digits, duration, facts, h, keepingFocus, table, usd, whole } from "./dom.js";
import { metric, stateBadge } from "./runs.js";
import { link } from "./state.js";

export function showSweep(content, stack, [sweep]) {
  const place = h("div", {});
  content.append(h("h2", {}, `Sweep ${sweep}`), place);
  return poll(async (signal) => {
    const found = await get(`api/sweeps/${encodeURIComponent(stack)}/${encodeURIComponent(sweep)}`, {}, { signal });
    const runs = [...found.runs].sort((one, other) => one.run_id.localeCompare(other.run_id, "en", { numeric: true }));
    const ended = runs.filter((row) => !["RUNNING", "PENDING"].includes(row.state)).length;
    const rows = found.table?.rows || [];
    keepingFocus(place, () => place.replaceChildren(
      facts([["Runs", whole(runs.length)], ["Ended", whole(ended)], ["Spent", usd(runs.reduce((sum, row) => sum + row.usd, 0))], ["Winner", found.table?.winner ? JSON.stringify(found.table.winner.overrides) : null]]),
      rows.length ? h("section", { class: "panel" }, h("h3", {}, "What it found"), h("div", { class: "scroll" }, table("What it found", [
        { name: "Combination", number: true, of: (row) => row.combination }, { name: "What is different", of: (row) => Object.entries(row.overrides).map(([name, value]) => h("span", { class: "chip" }, `${name} ${JSON.stringify(value)}`)) },
        { name: "Score", number: true, of: (row) => digits(row.score) }, { name: "± over folds", number: true, of: (row) => digits(row.std) }, { name: "USD", number: true, of: (row) => digits(row.usd, 3) }], rows))) : "",
      h("p", {}, h("a", { href: link(["compare", stack], { runs: runs.slice(0, 20).map((row) => row.run_id).join(","), seeds: "1" }) }, runs.length > 20 ? "Compare the curves of its first 20 runs" : "Compare the curves of its runs")),
      h("div", { class: "scroll" }, table("Runs of the sweep", [
        { name: "Run", of: (row) => h("a", { href: link(["run", stack, row.run_id]) }, row.run_id) }, { name: "State", of: stateBadge },
        { name: "What differs", of: (row) => Object.entries(row.differs).map(([name, value]) => h("span", { class: "chip" }, `${name} ${value}`)) },
        { name: "Epochs", number: true, of: (row) => whole(row.epoch) }, { name: "Cost", number: true, of: (row) => digits(row.cost) },
        { name: "Validation", number: true, of: (row) => metric(row.validation_metric, row.metric) }, { name: "Time", number: true, of: (row) => duration(row.seconds) }, { name: "USD", number: true, of: (row) => digits(row.usd, 3) }], runs))));
    return ended < runs.length;
  }, 2);
}
