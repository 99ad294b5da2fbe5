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

export function toCopy(title, text) {
  const area = h("textarea", { readonly: true, "aria-label": title }, text);
  const shown = dialog(title, h("p", {}, "Copy this text:"), area);
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
  const text = cell === null || cell === undefined ? "" : String(cell);
  return /[",\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
}).join(",")).join("\n") + "\n";
