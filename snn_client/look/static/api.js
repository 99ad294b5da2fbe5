// Asking the server. A failure is an Error whose message a person can read.

import { trouble } from "./dom.js";

class Refused extends Error {
  constructor(status, message) { super(message); this.status = status; }
}

async function ask(path, options) {
  let answer;
  try {
    answer = await fetch(path, { credentials: "same-origin", cache: "no-cache", ...options });
  } catch {
    throw new Refused(0, "the server does not answer: is it still there? This page tries again.");
  }
  if (answer.ok) { trouble(""); return answer; }
  let said = "";
  try { said = (await answer.json()).error; } catch { /* no JSON: some proxy's */ }
  if (answer.status === 401) said = "Your session is over: log in again, then reload this page.";
  throw new Refused(answer.status, said || `the server answered ${answer.status}`);
}

/** Return what the server answers to a GET: path, and the parameters that are not empty. */
export async function get(path, parameters = {}, options = {}) {
  return (await ask(address(path, parameters), options)).json();
}

export async function post(path, body = {}) {
  return (await ask(path, { method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify(body) })).json();
}

export async function send(path, file, parameters = {}) {
  const options = { method: "POST", headers: { "content-type": "application/octet-stream" }, body: file };
  return (await ask(address(path, parameters), options)).json();
}

export function address(path, parameters = {}) {
  const query = new URLSearchParams();
  for (const [name, value] of Object.entries(parameters)) {
    if (value === null || value === undefined || value === "") continue;
    for (const one of Array.isArray(value) ? value : [value]) query.append(name, one);
  }
  return query.size ? `${path}?${query}` : path;
}

/** Call `look` now and then every `seconds` after it has ended, as long as the page is seen; return what ends that. */
export function poll(look, seconds) {
  let timer = 0, over = false, busy = false;
  const ended = new AbortController();
  async function turn() {
    clearTimeout(timer);
    if (over || busy || document.hidden) return;
    busy = true;
    try {
      if (await look(ended.signal) === false) over = true;
    } catch (error) {
      if (over || error.name === "AbortError") return;
      trouble(error.message);
      if (error.status === 401 || error.status === 403 || error.status === 404) over = true;
    } finally { busy = false; }
    if (!over) timer = setTimeout(turn, 1000 * seconds);
  }
  const seen = () => { if (!document.hidden) turn(); };
  document.addEventListener("visibilitychange", seen);
  turn();
  return () => { over = true; ended.abort(); clearTimeout(timer); document.removeEventListener("visibilitychange", seen); };
}
