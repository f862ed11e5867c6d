"use strict";
// Small helpers: elements, figures with units, places. Text from the app only ever becomes `textContent`.

const $ = (id) => document.getElementById(id);

const on = (node, kind, handler) => node.addEventListener(kind, handler);

// Makes an element; the children are elements and texts.
function element(tag, className = "", ...children) {
  const made = document.createElement(tag);
  made.className = className;
  made.append(...children);
  return made;
}

function shape(tag, attributes = {}, ...children) {
  const made = document.createElementNS("http://www.w3.org/2000/svg", tag);
  set(made, attributes);
  made.append(...children);
  return made;
}

const line = (x1, y1, x2, y2, className) => shape("line", { x1, y1, x2, y2, class: className });
const label = (x, y, text, className = "", anchor = "start") => shape("text", { x, y, class: className, "text-anchor": anchor }, text);

// These write only what has changed, so that the unchanged parts of the page cost no layout.
function set(node, attributes) {
  for (const [name, value] of Object.entries(attributes)) {
    if (node.getAttribute(name) !== String(value)) node.setAttribute(name, value);
  }
}

function say(node, text) {
  const said = String(text ?? "");
  if (node.textContent !== said) node.textContent = said;
}

function show(node, visible) {
  node.toggleAttribute("hidden", !visible);
}

// Makes the children of `parent` match `items`. Nodes are kept by key, so that focus, hover and selection
// survive an update.
function reconcile(parent, items, keyOf, make, update) {
  if (!parent.known) parent.replaceChildren();
  const before = parent.known ?? new Map();
  const known = (parent.known = new Map());
  items.forEach((item, index) => {
    const key = keyOf(item, index);
    const node = before.get(key) ?? make(item);
    before.delete(key);
    known.set(key, node);
    update(node, item);
  });
  for (const node of before.values()) node.remove();
  let index = 0;
  for (const node of known.values()) {
    const there = parent.children[index++];
    if (there !== node) parent.insertBefore(node, there ?? null);
  }
}

// Calls `redraw` with the width of a node, at once and whenever it changes.
function onWidth(node, redraw) {
  new ResizeObserver(([entry]) => redraw(Math.floor(entry.contentRect.width))).observe(node);
}

function tip(event, lines) {
  const box = $("tip");
  show(box, Boolean(lines));
  if (!lines) return;
  box.replaceChildren(...lines.filter(Boolean).map((text) => element("p", "", text)));
  const { clientX: x, clientY: y } = event;
  const above = y + 16 + box.offsetHeight > innerHeight;
  box.style.left = `${Math.max(8, Math.min(x + 12, innerWidth - box.offsetWidth - 8))}px`;
  box.style.top = `${above ? y - box.offsetHeight - 10 : y + 16}px`;
}

// ---- figures

const isNumber = Number.isFinite;
const round = (value) => Math.round(value * 10) / 10;
const sum = (values) => values.reduce((total, value) => total + (value ?? 0), 0);
const highest = (values) => values.reduce((high, value) => Math.max(high, value || 0), 0);

function number(value) {
  if (!isNumber(value)) return "—";
  if (value >= 100 || Number.isInteger(value)) return Math.round(value).toLocaleString("en").replaceAll(",", "\u202f");
  return value.toFixed(value >= 0.1 ? 1 : 2).replace(/\.0+$/, "");
}

const percent = (share) => (isNumber(share) ? `${Math.round(share * 100)}\u00a0%` : "—");

const UNITS = [["d", 86400], ["h", 3600], ["min", 60], ["s", 1]];

function duration(seconds) {
  if (!isNumber(seconds)) return "—";
  const s = Math.max(0, seconds);
  if (s < 5e-6) return "0\u00a0s";
  if (s < 0.9995) return `${(s * 1000).toFixed(s < 0.00095 ? 2 : s < 0.0095 ? 1 : 0)}\u00a0ms`;
  if (s < 59.95) return `${s.toFixed(1)}\u00a0s`;
  const [first, second] = UNITS.slice(UNITS.findIndex(([, size]) => s >= size));
  const rest = Math.floor((s % first[1]) / second[1]);
  return `${Math.floor(s / first[1])}\u00a0${first[0]}${rest ? ` ${rest}\u00a0${second[0]}` : ""}`;
}

const clockFormat = new Intl.DateTimeFormat("en", { hour: "2-digit", minute: "2-digit", second: "2-digit", hourCycle: "h23" });
const clock = (unix) => clockFormat.format(unix * 1000);

// ---- places: the same letter and colour in each chart

const LETTERS = "ABCDEFGH";
const slots = new Map();

const placeKey = (place) => JSON.stringify([place?.route, place?.label, place?.caller]);
const slotOf = (place) => slots.get(placeKey(place)) ?? "";

// Gives letters to the places that matter most, and takes them only from places that have gone.
function assignSlots(live) {
  const weights = live.places.map((place) => ({ key: placeKey(place), seconds: 0 }));
  const add = (place, seconds) => { if (weights[place]) weights[place].seconds += seconds; };
  for (const hold of live.holds) add(hold.place, (hold.to ?? live.now) - hold.from);
  for (const row of live.blame?.last_5_minutes ?? []) add(row.place, 10 * row.blamed_seconds);
  for (const waiter of live.waiters) add(waiter.place, live.now - waiter.since);
  const present = new Set(weights.map(({ key }) => key));
  for (const { key } of weights.sort((a, b) => b.seconds - a.seconds)) {
    if (slots.has(key)) continue;
    const gone = [...slots.keys()].find((other) => !present.has(other));
    if (slots.size < LETTERS.length) slots.set(key, LETTERS[slots.size]);
    else if (gone === undefined) return;
    else slots.set(key, slots.get(gone)) && slots.delete(gone);
  }
}

// The line number is worth more than the first folders.
const shortLine = (caller) => (caller ?? "").split("/").slice(-2).join("/");
const placeName = (place) => [place?.route, place?.label].filter(Boolean).join(" · ") || shortLine(place?.caller) || "a checkout";

// `A GET /report`, with the source line if `withCaller`. Writes only if it is another place than before.
function showPlace(node, place, withCaller) {
  const key = place ? slotOf(place) + placeKey(place) : "";
  if (node.shown === key) return;
  node.shown = key;
  node.replaceChildren();
  if (!place) return;
  const chip = element("span", "chip", slotOf(place) || "·");
  chip.dataset.slot = slotOf(place);
  node.append(chip, placeName(place));
  if (withCaller && place.caller && shortLine(place.caller) !== placeName(place)) node.append(element("span", "caller", place.caller));
}
