"use strict";
// The report's gallery. Everything that came from a manifest reaches the page as text (textContent, attributes set by
// property) or as the value of an image's data URI; markup is never built from strings.

const $ = (id) => document.getElementById(id);

function make(tag, className, text) {
  const element = document.createElement(tag);
  if (className) element.className = className;
  if (text !== undefined) element.textContent = text;
  return element;
}

const BEFORE = 0, AFTER = 1, HOLE = 2, DETAIL_BEFORE = 3, DETAIL_AFTER = 4;

let data, columns, searchable, times;
// Which of the radio buttons a row falls under.
let kindOf = (row) => columns.status[row];
let shown = [];
let showHoles = false;

const percent = (share) => (100 * share).toLocaleString("en", { maximumFractionDigits: share < 0.1 ? 1 : 0 }) + " %";
const number = (value) => value.toLocaleString("en");
const seconds = (value) =>
  value < 1 ? Math.round(1000 * value) + " ms" : value.toLocaleString("en", { maximumFractionDigits: value < 10 ? 2 : 0 }) + " s";

function factsOf(row) {
  if (columns.status[row] === "failed") return columns.error_class[row] || "failed";
  const facts = [];
  if (columns.status[row] === "skipped") facts.push("skipped");
  if (columns.risk[row] !== null) facts.push("risk " + columns.risk[row].toFixed(2));
  if (columns.hole_fraction[row] !== null) facts.push("hole " + percent(columns.hole_fraction[row]));
  return facts.join(" · ");
}

// -------------------------------------------------------------------------------------------------- filter and order

const ORDERS = {
  risk: (a, b) => falling(columns.risk, a, b) || falling(columns.seam_score, a, b),
  seam: (a, b) => falling(columns.seam_score, a, b),
  hole: (a, b) => falling(columns.hole_fraction, a, b),
  time: (a, b) => falling(times, a, b),
  done: (a, b) => -falling(columns.finished_at, a, b),
  name: (a, b) => collator.compare(columns.sample_id[a], columns.sample_id[b]),
};
const collator = new Intl.Collator("en", { numeric: true });

function falling(values, a, b) {
  return (values[b] ?? -Infinity) - (values[a] ?? -Infinity) || 0;
}

function choose() {
  const kind = document.querySelector("input[name=status]:checked").value;
  const words = $("search").value.trim().toLowerCase().split(/\s+/).filter(Boolean);
  shown = [];
  for (let row = 0; row < searchable.length; row++) {
    if (kind && kindOf(row) !== kind) continue;
    if (words.every((word) => searchable[row].includes(word))) shown.push(row);
  }
  const order = ORDERS[$("sort").value];
  shown.sort((a, b) => order(a, b) || a - b);
  const all = searchable.length;
  $("found").textContent = shown.length === all ? `${number(all)} rows` : `${number(shown.length)} of ${number(all)} rows`;
  $("none").hidden = shown.length > 0;
  current = 0;
  drawn.forEach((item) => item.remove());
  drawn.clear();
  draw();
}

// ------------------------------------------------------------------------------------- the grid: only what is in view

const GAP = 12, WORDS_PX = 48, OVERSCAN_ROWS = 2;
const drawn = new Map();
let current = 0;
let layout = { columns: 1, width: 0, height: 0 };

function measure() {
  const width = $("grid").clientWidth;
  const least = width < 600 ? 160 : 212;
  const count = Math.max(1, Math.floor((width + GAP) / (least + GAP)));
  const cell = (width - GAP * (count - 1)) / count;
  layout = { columns: count, width: cell, height: Math.round((cell - 20) / 2) + WORDS_PX + 6 };
  $("grid").style.height = Math.max(0, Math.ceil(shown.length / count) * (layout.height + GAP) - GAP) + "px";
}

function draw() {
  if ($("pictures").hidden || !data) return;
  measure();
  const top = -$("grid").getBoundingClientRect().top;
  const step = layout.height + GAP;
  const first = Math.max(0, Math.floor(top / step) - OVERSCAN_ROWS) * layout.columns;
  const last = Math.min(shown.length, (Math.ceil((top + innerHeight) / step) + OVERSCAN_ROWS) * layout.columns);
  for (const [index, item] of drawn) {
    // What has the focus stays, or the keyboard would lose its place.
    if ((index < first || index >= last) && index !== current) {
      item.remove();
      drawn.delete(index);
    }
  }
  const wanted = new Set(shown.length ? [current] : []);
  for (let index = first; index < last; index++) wanted.add(index);
  for (const index of [...wanted].sort((a, b) => a - b)) {
    let item = drawn.get(index);
    if (!item) {
      item = cell(index);
      drawn.set(index, item);
      // Document order is reading order, also for a screen reader.
      let next = null;
      for (const [other, element] of drawn) if (other > index && (!next || other < next[0])) next = [other, element];
      $("grid").insertBefore(item, next ? next[1] : null);
    } else if (item.dataset.late) {
      fill(item, shown[index]);
    }
    place(item, index);
  }
}

function place(item, index) {
  const x = (index % layout.columns) * (layout.width + GAP);
  const y = Math.floor(index / layout.columns) * (layout.height + GAP);
  item.style.width = layout.width + "px";
  item.style.height = layout.height + "px";
  item.style.transform = `translate(${x}px, ${y}px)`;
}

function cell(index) {
  const row = shown[index];
  const item = make("li");
  item.setAttribute("aria-setsize", shown.length);
  item.setAttribute("aria-posinset", index + 1);
  const button = make("button", "thumb");
  button.type = "button";
  button.tabIndex = index === current ? 0 : -1;
  button.dataset.index = index;
  button.append(make("span", "pair"), make("span", "name", columns.sample_id[row]), make("span", "facts", factsOf(row)));
  if (columns.status[row] === "failed") button.lastChild.classList.add("failed");
  item.append(button);
  fill(item, row);
  decorate(item, row);
  return item;
}

// What a page with more to say about a row adds to its place in the grid.
let decorate = () => {};

function fill(item, row) {
  const late = [BEFORE, AFTER].some((part) => pictureOf(row, part) === undefined);
  if (late) item.dataset.late = "true";
  else delete item.dataset.late;
  item.querySelector(".pair").replaceChildren(frame(row, BEFORE), frame(row, AFTER));
}

function frame(row, part) {
  const element = make("span", "frame");
  const uri = pictureOf(row, part);
  const none = () => { element.textContent = part === BEFORE ? "no source" : "no output"; };
  if (uri === undefined) return element;
  if (uri === null) {
    none();
    return element;
  }
  element.append(picture(uri));
  element.firstChild.onerror = none;
  const hole = showHoles && part === BEFORE && pictureOf(row, HOLE);
  if (hole) {
    const overlay = picture(hole);
    overlay.className = "hole";
    overlay.onerror = () => overlay.remove();
    element.append(overlay);
  }
  return element;
}

function picture(uri) {
  const image = new Image();
  image.decoding = "async";
  image.alt = "";
  image.src = uri;
  return image;
}

function focusOn(index) {
  const target = Math.min(shown.length - 1, Math.max(0, index));
  const before = drawn.get(current);
  if (before) before.firstChild.tabIndex = -1;
  current = target;
  draw();
  const button = drawn.get(target).firstChild;
  button.tabIndex = 0;
  button.focus({ preventScroll: true });
  button.scrollIntoView({ block: "nearest" });
}

function gridKey(event) {
  if (!event.target.dataset.index || event.ctrlKey || event.metaKey || event.altKey) return;
  const page = Math.max(1, Math.floor(innerHeight / (layout.height + GAP)) - 1) * layout.columns;
  const moves = {
    ArrowRight: 1, ArrowLeft: -1, ArrowDown: layout.columns, ArrowUp: -layout.columns,
    PageDown: page, PageUp: -page, Home: -shown.length, End: shown.length,
  };
  if (!(event.key in moves)) return;
  event.preventDefault();
  focusOn(Number(event.target.dataset.index) + moves[event.key]);
}
