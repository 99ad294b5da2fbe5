// Handing things out: files, pictures, the address. In a frame that forbids downloads, as text to copy.

import { h, say } from "./dom.js";

function mayDownload() {
  try {
    const frame = window.frameElement;
    return !frame || !frame.hasAttribute("sandbox") || frame.sandbox.contains("allow-downloads");
  } catch { return false; }
}

function dialog(title, ...content) {
  const made = h("dialog", { "aria-label": title, onclose: () => made.remove() },
    h("h2", {}, title), content, h("form", { method: "dialog" }, h("button", { autofocus: true }, "Close")));
  // A sandboxed frame has no forms of its own here: the button closes by script.
  made.querySelector("form").addEventListener("submit", (event) => { event.preventDefault(); made.close(); });
  document.body.append(made);
  made.showModal();
  return made;
}

const MOST_TO_COPY = 200_000; // characters: millions of them would keep a browser busy for a minute

function toCopy(title, text) {
  const cut = text.length > MOST_TO_COPY, shownText = cut ? text.slice(0, text.lastIndexOf("\n", MOST_TO_COPY) + 1) : text;
  const area = h("textarea", { readonly: true, "aria-label": title }, shownText);
  const said = cut ? `This frame allows no downloads. These are the first ${shownText.split("\n").length - 1} of ${text.split("\n").length - 1} lines: copy them, or open the page by itself, by "Copy link", and save them all there.` : "Copy this text:";
  const shown = dialog(title, h("p", {}, said), area);
  area.focus(); area.select();
  return shown;
}

export function saveText(name, text, kind = "text/csv") {
  if (!mayDownload()) return toCopy(name, text);
  save(name, new Blob([text], { type: kind }));
}

export function saveCanvas(name, canvas) {
  if (!mayDownload()) {
    const data = canvas.toDataURL("image/png");
    return dialog(name, h("p", {}, "This frame allows no downloads: copy the picture, or its address."), h("img", { src: data, alt: name }), h("textarea", { readonly: true, "aria-label": "address of the picture" }, data));
  }
  canvas.toBlob((blob) => save(name, blob), "image/png");
}

const DRAWN = ["fill", "stroke", "stroke-width", "stroke-dasharray", "stroke-opacity", "font-size", "font-family", "text-anchor"];

/** Hand out a drawing as a picture, with the styles that it has here. */
export async function saveSvg(name, drawing, paper) {
  const copy = drawing.cloneNode(true), box = drawing.getBoundingClientRect();
  const from = [drawing, ...drawing.querySelectorAll("*")], to = [copy, ...copy.querySelectorAll("*")];
  from.forEach((element, place) => { const style = getComputedStyle(element); for (const rule of DRAWN) to[place].setAttribute(rule, style.getPropertyValue(rule)); });
  copy.setAttribute("width", box.width); copy.setAttribute("height", box.height);
  const image = new Image();
  image.src = `data:image/svg+xml,${encodeURIComponent(new XMLSerializer().serializeToString(copy))}`;
  await image.decode();
  saveCanvas(name, pictures([image], 1, box.width, box.height, paper));
}

/** Return pictures side by side on one canvas, `columns` in a row, each of this size. */
export function pictures(images, columns, width, height, paper) {
  const canvas = document.createElement("canvas"), gap = images.length > 1 ? 4 : 0, rows = Math.ceil(images.length / columns);
  canvas.width = columns * (width + gap) - gap; canvas.height = rows * (height + gap) - gap;
  const context = canvas.getContext("2d");
  context.imageSmoothingEnabled = false;
  context.fillStyle = paper; context.fillRect(0, 0, canvas.width, canvas.height);
  images.forEach((image, place) => context.drawImage(image, place % columns * (width + gap), Math.floor(place / columns) * (height + gap), width, height));
  return canvas;
}

function save(name, blob) {
  const address = URL.createObjectURL(blob), anchor = h("a", { href: address, download: name });
  document.body.append(anchor); anchor.click(); anchor.remove();
  setTimeout(() => URL.revokeObjectURL(address), 10_000);
  say(`${name} was saved`);
}

export async function copy(text, what) {
  try { await navigator.clipboard.writeText(text); say(`${what} was copied`); return true; } catch { toCopy(what, text); return false; }
}

export const csv = (columns, rows) => [columns, ...rows].map((row) => row.map((cell) => {
  const said = cell === null || cell === undefined ? "" : String(cell);
  // A spreadsheet takes a text that begins so for a formula.
  const text = typeof cell === "string" && /^[=+\-@\t\r]/.test(said) ? `'${said}` : said;
  return /[",\n\r]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
}).join(",")).join("\n") + "\n";
