// Making elements, and saying numbers: what all views share.

const SVG = "http://www.w3.org/2000/svg";

function made(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes || {})) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (name === "style") for (const [rule, wanted] of Object.entries(value)) element.style.setProperty(rule, wanted);
    else if (name === "value") element.value = value;
    else if (name === "checked" || name === "disabled" || name === "hidden") element[name] = Boolean(value);
    else element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children.flat(Infinity).filter((child) => child !== null && child !== undefined && child !== false));
  return element;
}

/** Return a new element of HTML: h("a", {href: "#/"}, "text", child). */
export const h = (tag, attributes, ...children) => made(document.createElement(tag), attributes, children);

/** Return a new element of SVG. */
export const svg = (tag, attributes, ...children) => made(document.createElementNS(SVG, tag), attributes, children);

/** Return a table: columns are {name, number, of: row -> text or element}. */
export function table(caption, columns, rows, attributes = {}) {
  return h("table", attributes,
    caption ? h("caption", { class: "hidden-text" }, caption) : null,
    h("thead", {}, h("tr", {}, columns.map((one) => h("th", { scope: "col", class: one.number ? "number" : null }, one.name)))),
    h("tbody", {}, rows.map((row) => h("tr", {}, columns.map((one) => h("td", { class: one.number ? "number" : null }, one.of(row)))))));
}

/** Return a list of facts: [[name, text or element], …]; empty ones are left out. */
export const facts = (pairs) => h("dl", { class: "facts" },
  pairs.filter(([, value]) => value !== null && value !== undefined && value !== "").map(([name, value]) => h("div", {}, h("dt", {}, name), h("dd", {}, value))));

export const whole = (value) => value === null || value === undefined ? "–" : Math.round(value).toLocaleString("en-US");

/** Return a number with so many significant digits, as people write it. */
export function digits(value, count = 4) {
  if (value === null || value === undefined || Number.isNaN(value)) return "–";
  if (value === 0) return "0";
  const size = Math.abs(value);
  if (size >= 1e6 || size < 1e-4) return value.toExponential(Math.max(0, count - 1)).replace("e+", "e");
  return String(Number(value.toPrecision(count)));
}

export function usd(value) {
  if (value === null || value === undefined) return "–";
  if (value === 0) return "0 USD";
  return `${value >= 0.01 ? value.toFixed(4) : Number(value.toPrecision(3)).toFixed(Math.min(12, 2 - Math.floor(Math.log10(value))))} USD`;
}

export function duration(seconds) {
  if (seconds === null || seconds === undefined) return "–";
  if (seconds < 59.95) return `${seconds.toFixed(1)} s`;
  const rounded = Math.round(seconds), parts = [[86400, "d"], [3600, "h"], [60, "min"], [1, "s"]];
  const first = parts.findIndex(([unit]) => rounded >= unit);
  const [unit, name] = parts[first], [below, lower] = parts[first + 1] || [1, ""];
  const more = Math.floor(rounded % unit / below);
  return `${Math.floor(rounded / unit)} ${name}${lower && more ? ` ${more} ${lower}` : ""}`;
}

export const percent = (share) => share === null || share === undefined ? "–" : `${(100 * share).toFixed(1)} %`;

/** Return a moment (seconds since 1970) as local time, with its date if that is not today. */
export function moment(seconds) {
  if (!seconds) return "–";
  const at = new Date(seconds * 1000), today = at.toDateString() === new Date().toDateString();
  const pad = (part) => String(part).padStart(2, "0");
  const time = `${pad(at.getHours())}:${pad(at.getMinutes())}:${pad(at.getSeconds())}`;
  return today ? time : `${at.getFullYear()}-${pad(at.getMonth() + 1)}-${pad(at.getDate())} ${time}`;
}

/** Say something to a screen reader. */
export function say(text) { document.getElementById("said").textContent = text; }

/** Show what went wrong on top of the page, or, without a text, nothing. */
export function trouble(text) {
  const place = document.getElementById("trouble");
  place.hidden = !text;
  if (place.textContent !== (text || "")) place.textContent = text || "";
}

/** Return the value of a colour of the page's own. */
export const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

const keyOf = (element) => `${element.closest("[data-run-row]")?.dataset.runRow || ""} ${element.tagName} ${element.getAttribute("aria-label") || element.textContent}`;

/** Draw something anew by `draw`, and give the focus back to what had it within `place`. */
export function keepingFocus(place, draw) {
  const held = place.contains(document.activeElement) ? document.activeElement : null, key = held && keyOf(held);
  draw();
  if (held && !held.isConnected) [...place.querySelectorAll("a, button, input, select, summary")].find((element) => keyOf(element) === key)?.focus();
}

export const CURVE_COLOURS = ["--c0", "--c1", "--c2", "--c3", "--c4", "--c5", "--c6", "--c7"];
