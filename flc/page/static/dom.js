// Building and replacing parts of the page; text is always text, never markup.

export function h(name, attributes = {}, ...children) {
  const node = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (key === "width") node.style.width = value;
    else if (key === "left") node.style.left = value;
    else if (key.startsWith("on")) node.addEventListener(key.slice(2), value);
    else node.setAttribute(key, value === true ? "" : value);
  }
  node.append(...children.flat().filter((child) => child !== null && child !== undefined && child !== false));
  return node;
}

export const $ = (id) => document.getElementById(id);

// Replaces what is in a container; who stood on one of its buttons stays on it.
export function fill(container, ...nodes) {
  const held = container.contains(document.activeElement) ? document.activeElement.dataset.focus : undefined;
  container.replaceChildren(...nodes.flat().filter(Boolean));
  if (held) container.querySelector(`[data-focus="${CSS.escape(held)}"]`)?.focus();
}

export function text(id, value) {
  const node = $(id);
  if (node.textContent !== value) node.textContent = value;
}

// Milliseconds that the server's clock is ahead of ours.
let ahead = 0;
export const setClock = (now) => { ahead = now - Date.now(); };
export const now = () => Date.now() + ahead;

export const words = (name) => name.replaceAll("_", " ");
export const count = (n, one, many = `${one}s`) => `${n.toLocaleString("en")} ${n === 1 ? one : many}`;
// Decimals of a score: four where three would make it look like its threshold.
export const digits = (distance) => (Math.abs(distance) < 0.001 ? 4 : 3);
export const score = (value, digits = 2) => (value === null || value === undefined ? "–" : value.toFixed(digits));
export const percent = (value) => (value === null || value === undefined ? "–" : `${Math.round(value * 100)} %`);

export function duration(ms) {
  if (ms === null || ms === undefined) return "–";
  if (ms < 1000) return `${Math.round(ms)} ms`;
  if (ms < 60_000) return `${(ms / 1000).toFixed(1)} s`;
  if (ms < 3_600_000) return `${Math.floor(ms / 60_000)} min ${Math.round((ms % 60_000) / 1000)} s`;
  return `${(ms / 3_600_000).toFixed(1)} h`;
}

function since(ms) {
  const s = Math.max(0, Math.round((now() - ms) / 1000));
  if (s < 2) return "now";
  if (s < 60) return `${s} s ago`;
  if (s < 3600) return `${Math.floor(s / 60)} min ago`;
  if (s < 86_400) return `${Math.floor(s / 3600)} h ago`;
  return `${Math.floor(s / 86_400)} d ago`;
}

// A moment that keeps its distance from now current.
export function ago(ms) {
  if (ms === null || ms === undefined) return h("span", { class: "quiet" }, "never");
  const moment = new Date(ms).toISOString();
  return h("time", { datetime: moment, title: moment, "data-ms": ms }, since(ms));
}

export function tick() {
  for (const node of document.querySelectorAll("time[data-ms]")) {
    const shown = since(Number(node.dataset.ms));
    if (node.textContent !== shown) node.textContent = shown;
  }
}
