// The page's frame: which view is seen, by the address; the stack; the theme, where there is no Airflow to say it.

import { get } from "./api.js";
import { h, trouble } from "./dom.js";
import { here, link, setting } from "./state.js";
import { showChampion } from "./champion.js";
import { showCompare } from "./compare.js";
import { showRun } from "./run.js";
import { showRuns } from "./runs.js";
import { showSweep } from "./sweep.js";

const main = document.getElementById("main");
let end = () => {}, known = null;

const VIEWS = { runs: showRuns, run: showRun, compare: showCompare, sweep: showSweep, champion: showChampion };

async function start() {
  // Its address has no view: the # of the skip link would be taken for one.
  document.querySelector(".skip").addEventListener("click", (event) => { event.preventDefault(); main.focus(); });
  document.getElementById("theme").hidden = window.parent !== window;
  document.getElementById("theme").addEventListener("click", () => {
    localStorage.setItem("theme", document.documentElement.classList.contains("dark") ? "light" : "dark");
    window.snnTheme();
  });
  try {
    known = await get("api/me");
    if (await fromAirflow()) return;
  } catch (error) {
    trouble(error.message);
    main.replaceChildren(h("p", {}, "Nothing can be shown."));
    return;
  }
  document.getElementById("who").textContent = known.name;
  const choice = document.getElementById("stack");
  choice.append(...known.stacks.map((name) => h("option", { value: name }, name)));
  document.getElementById("stack-choice").hidden = known.stacks.length < 2;
  choice.addEventListener("change", () => { location.hash = link(["runs"], { stack: choice.value }); });
  window.addEventListener("hashchange", show);
  show();
}

/** Follow a tab of Airflow's: to the run that the DAG, its run or the task has made. Return whether there is none. */
async function fromAirflow() {
  const asked = new URLSearchParams(location.search), dag = asked.get("dag_id");
  if (!dag || location.hash) return false;
  const filled = (name) => { const value = asked.get(name) || ""; return value.startsWith("{") ? "" : value; };
  const found = await get("api/find", { dag_id: dag, dag_run_id: filled("dag_run_id"), task_id: filled("task_id"), map_index: filled("map_index") });
  if (!found.length) {
    const what = filled("task_id") ? "This task" : filled("dag_run_id") ? "This run of the DAG" : "This DAG";
    main.replaceChildren(h("p", {}, `${what} has trained no neural network (yet). `, h("a", { href: "#/runs" }, "All runs"), "."));
    window.addEventListener("hashchange", () => location.reload(), { once: true });
    return true;
  }
  const [first] = found;
  history.replaceState(null, "", found.length === 1 ? link(["run", first.stack, first.run_id]) : link(["runs"], { stack: first.stack, dag, dag_run: filled("dag_run_id") }));
  return false;
}

function show() {
  const { path } = here(), view = VIEWS[path[0]] ? path[0] : "runs";
  const stack = view === "runs" ? setting("stack", known.stacks[0]) : path[1] || known.stacks[0];
  end();
  trouble("");
  document.getElementById("stack").value = stack;
  document.getElementById("views").replaceChildren(
    h("a", { href: link(["runs"], { stack }), "aria-current": view === "runs" ? "page" : null }, "Runs"),
    h("a", { href: link(["champion", stack]), "aria-current": view === "champion" ? "page" : null }, "Champion"));
  const content = h("div", {});
  main.replaceChildren(content);
  document.title = `${path[2] || view} · Neural networks`;
  const ended = VIEWS[view](content, stack, path.slice(2));
  end = typeof ended === "function" ? ended : () => {};
}

start();
