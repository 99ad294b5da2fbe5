// All that a person has chosen is in the address, behind the #: a path such as run/snn/my-run/live, and settings.

export function here() {
  const [path, query] = location.hash.replace(/^#\/?/, "").split("?");
  return { path: path.split("/").filter(Boolean).map(decodeURIComponent), settings: new URLSearchParams(query || "") };
}

export function link(path, settings = {}) {
  const query = new URLSearchParams();
  for (const [name, value] of Object.entries(settings)) if (value !== null && value !== undefined && value !== "" && value !== false) query.set(name, value);
  return `#/${path.map(encodeURIComponent).join("/")}${query.size ? `?${query}` : ""}`;
}

/** Set some settings of the present view, without a new entry in the browser's history; null takes one away. */
export function set(changes) {
  const { path, settings } = here();
  for (const [name, value] of Object.entries(changes)) {
    if (value === null || value === undefined || value === "" || value === false) settings.delete(name);
    else settings.set(name, value === true ? "1" : value);
  }
  history.replaceState(null, "", link(path, Object.fromEntries(settings)));
}

export const setting = (name, otherwise = "") => here().settings.get(name) ?? otherwise;
export const flag = (name) => setting(name) === "1";

/** Return the whole address of what is seen now: it opens by itself, outside of a frame too. */
export function wholeAddress() {
  const address = new URL(location.href);
  address.search = "";
  return address.href;
}
