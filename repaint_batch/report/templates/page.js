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

// ---------------------------------------------------------------------------------------------------------- the data

function bytesOf(base64) {
  if (Uint8Array.fromBase64) return Uint8Array.fromBase64(base64);
  const text = atob(base64);
  const bytes = new Uint8Array(text.length);
  for (let i = 0; i < text.length; i++) bytes[i] = text.charCodeAt(i);
  return bytes;
}

async function readRows() {
  const packed = new Blob([bytesOf($("rows").textContent)]).stream();
  return JSON.parse(await new Response(packed.pipeThrough(new DecompressionStream("gzip"))).text());
}

const blocks = new Map();
const TYPES = ["image/webp", "image/webp", "image/png"];
const BEFORE = 0, AFTER = 1, HOLE = 2;

// A row's picture as a data URI cut from its block, or null. Pieces start on base64's own boundaries.
function pictureOf(row, part) {
  const place = data.places[row];
  if (!place[2 + part]) return null;
  if (!blocks.has(place[0])) blocks.set(place[0], $("pictures-" + place[0]).textContent);
  let start = place[1];
  for (let before = 0; before < part; before++) start += place[2 + before];
  return `data:${TYPES[part]};base64,` + blocks.get(place[0]).slice(start, start + place[2 + part]);
}

let data, columns, searchable, times;
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
  if (columns.seam_score[row] !== null) facts.push("seam " + columns.seam_score[row].toFixed(2));
  if (columns.hole_fraction[row] !== null) facts.push("hole " + percent(columns.hole_fraction[row]));
  return facts.join(" · ");
}

// -------------------------------------------------------------------------------------------------- filter and order

const ORDERS = {
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

function statusChosen() {
  return document.querySelector("input[name=status]:checked").value;
}

function choose() {
  const status = statusChosen();
  const words = $("search").value.trim().toLowerCase().split(/\s+/).filter(Boolean);
  shown = [];
  for (let row = 0; row < searchable.length; row++) {
    if (status && columns.status[row] !== status) continue;
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
  const pair = make("span", "pair");
  pair.append(frame(row, BEFORE), frame(row, AFTER));
  const facts = make("span", "facts", factsOf(row));
  if (columns.status[row] === "failed") facts.classList.add("failed");
  button.append(pair, make("span", "name", columns.sample_id[row]), facts);
  item.append(button);
  return item;
}

function frame(row, part) {
  const element = make("span", "frame");
  const uri = pictureOf(row, part);
  if (!uri) {
    element.textContent = part === BEFORE ? "no source" : "no output";
    return element;
  }
  element.append(picture(uri));
  const hole = showHoles && part === BEFORE && pictureOf(row, HOLE);
  if (hole) {
    const overlay = picture(hole);
    overlay.className = "hole";
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

// -------------------------------------------------------------------------------------------------------- the viewer

let open = null;

function view(row) {
  open = row;
  const at = shown.indexOf(row);
  $("viewer-name").textContent = columns.sample_id[row];
  $("viewer-place").textContent = at < 0 ? "not in the filtered list" : `${number(at + 1)} of ${number(shown.length)}`;
  $("previous").disabled = at <= 0;
  $("next").disabled = at >= shown.length - 1;
  stage(row);
  reason(row);
  details(row);
  const hash = "#sample=" + encodeURIComponent(columns.sample_id[row]);
  if (location.hash !== hash) history.replaceState(null, "", hash);
  if (!$("viewer").open) {
    $("viewer").showModal();
    (pictureOf(row, AFTER) ? $("divider") : $("close")).focus();
  }
  $("viewer").scrollTop = 0;
}

function stage(row) {
  const uris = [pictureOf(row, BEFORE), pictureOf(row, AFTER), pictureOf(row, HOLE)];
  const both = uris[BEFORE] && uris[AFTER];
  const any = uris[BEFORE] || uris[AFTER];
  const name = columns.sample_id[row];
  $("stage-side").hidden = !any;
  $("viewer-body").classList.toggle("bare", !any);
  $("stage").classList.toggle("single", !both);
  $("divider").hidden = !both;
  show($("before"), uris[BEFORE], `${name} before`);
  show($("after"), uris[AFTER], `${name} after`);
  $("left-word").textContent = uris[BEFORE] ? "Before" : "";
  $("right-word").textContent = uris[AFTER] ? "After" : "";
  $("mask").hidden = !uris[HOLE];
  $("hole").dataset.uri = uris[HOLE] || "";
  overlay();
  const width = columns.width_px[row], height = columns.height_px[row];
  $("stage").style.setProperty("--ratio", width && height ? width / height : 1);
  cut(50);
}

function show(image, uri, alt) {
  image.hidden = !uri;
  if (uri) {
    image.onload = () => $("stage").style.setProperty("--ratio", image.naturalWidth / image.naturalHeight);
    image.src = uri;
    image.alt = alt;
  } else {
    image.removeAttribute("src");
    image.alt = "";
  }
}

function overlay() {
  const on = $("mask").getAttribute("aria-pressed") === "true" && $("hole").dataset.uri;
  $("hole").hidden = !on;
  if (on) $("hole").src = $("hole").dataset.uri;
}

function toggle(button) {
  const on = button.getAttribute("aria-pressed") !== "true";
  button.setAttribute("aria-pressed", on);
  return on;
}

function cut(value) {
  $("divider").value = value;
  $("stage").style.setProperty("--cut", $("divider").value + "%");
  $("divider").setAttribute("aria-valuetext", `${$("divider").value} % before, ${100 - $("divider").value} % after`);
}

function reason(row) {
  const box = $("reason");
  box.hidden = !columns.reason[row];
  box.className = "reason " + columns.status[row];
  box.replaceChildren();
  if (columns.error_class[row]) box.append(make("b", "", columns.error_class[row]));
  box.append(columns.reason[row] || "");
}

function details(row) {
  const value = (name) => columns[name][row];
  const has = (name, words) => (value(name) === null ? null : words(value(name)));
  const took = [["decode_s", "decode"], ["inpaint_s", "sample"], ["encode_s", "encode"]]
    .filter(([name]) => value(name) !== null).map(([name, word]) => `${word} ${seconds(value(name))}`).join(", ");
  const facts = [
    ["Status", value("status")],
    ["Size", has("width_px", (width) => `${number(width)} × ${number(value("height_px") ?? 0)} px`)],
    ["Hole", has("hole_fraction", percent)],
    ["Seam score", has("seam_score", (seam) => seam.toFixed(3))],
    ["Known pixels", has("known_pixels_equal", (equal) => (equal ? "unchanged" : "changed"))],
    ["Windows", has("windows", number)],
    ["Evaluations", has("nfe", number)],
    ["Time", took || null],
    ["Seed", has("seed", String)],
    ["Shard", String(value("shard"))],
    ["Worker", value("worker")],
    ["Finished", has("finished_at", (at) => new Date(1000 * at).toISOString().slice(0, 19).replace("T", " ") + " UTC")],
    ["Source", value("image_uri")],
    ["Mask", value("mask_uri")],
    ["Output", value("output_uri")],
    ["Encoded", has("output_bytes", (bytes) => `${value("output_format") ?? ""} ${number(bytes)} bytes`)],
    ["SHA-256", value("output_sha256")],
    ["Job", value("job_id")],
    ...Object.entries(data.own).map(([name, values]) => [name, values[row]]),
  ];
  const list = $("details");
  list.replaceChildren();
  for (const [name, words] of facts) {
    if (words !== null && words !== undefined && words !== "") list.append(make("dt", "", name), make("dd", "", words));
  }
}

function step(by) {
  const at = shown.indexOf(open) + by;
  if (open !== null && at >= 0 && at < shown.length) view(shown[at]);
}

// Closes at once and not in the dialog's own later event, so that a key pressed in between finds the focus in its place.
function shut() {
  const at = shown.indexOf(open);
  $("viewer").close();
  open = null;
  if (location.hash.startsWith("#sample=")) history.replaceState(null, "", "#pictures");
  if (at >= 0 && !$("pictures").hidden) focusOn(at);
}

function viewerKey(event) {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  const key = event.key.toLowerCase();
  if (key === "j") step(1);
  else if (key === "k") step(-1);
  else if (key === "escape") shut();
  else if (key === "m" && !$("mask").hidden) $("mask").click();
  else return;
  event.preventDefault();
}

function drag(event) {
  if ($("stage").classList.contains("single") || (event.type === "pointermove" && !event.buttons)) return;
  if (event.type === "pointerdown") {
    $("stage").setPointerCapture(event.pointerId);
    $("divider").focus();
    event.preventDefault();
  }
  const box = $("stage").getBoundingClientRect();
  cut(Math.round((100 * (event.clientX - box.left)) / box.width));
}

// ----------------------------------------------------------------------------------------- tabs, links, and the start

const TABS = ["pictures", "run", "failed"];

function tab(name) {
  for (const other of TABS) {
    const button = $("tab-" + other);
    button.setAttribute("aria-selected", other === name);
    button.tabIndex = other === name ? 0 : -1;
    $(other).hidden = other !== name;
  }
  draw();
}

function tabKey(event) {
  const at = TABS.indexOf(event.target.id.replace("tab-", ""));
  const to = { ArrowRight: (at + 1) % 3, ArrowLeft: (at + 2) % 3, Home: 0, End: 2 }[event.key];
  if (at < 0 || to === undefined) return;
  event.preventDefault();
  $("tab-" + TABS[to]).click();
  $("tab-" + TABS[to]).focus();
}

function follow() {
  const hash = location.hash.slice(1);
  if (TABS.includes(hash)) tab(hash);
  if (!hash.startsWith("sample=") || !data) return;
  let name = hash.slice(7);
  try { name = decodeURIComponent(name); } catch { /* a hand-written link: taken as it stands */ }
  const row = columns.sample_id.indexOf(name);
  if (row < 0) {
    $("found").textContent = "The linked sample is not in this report.";
    return;
  }
  tab("pictures");
  view(row);
}

function listen() {
  let waiting = false;
  const soon = () => {
    if (waiting) return;
    waiting = true;
    requestAnimationFrame(() => { waiting = false; draw(); });
  };
  addEventListener("scroll", soon, { passive: true });
  addEventListener("resize", soon);
  addEventListener("hashchange", follow);
  $("search").addEventListener("input", choose);
  $("sort").addEventListener("change", choose);
  document.querySelectorAll("input[name=status]").forEach((input) => input.addEventListener("change", choose));
  $("holes").addEventListener("click", () => { showHoles = toggle($("holes")); choose(); });
  $("clear").addEventListener("click", () => {
    $("search").value = "";
    document.querySelector("input[name=status][value='']").checked = true;
    choose();
    $("search").focus();
  });
  $("grid").addEventListener("keydown", gridKey);
  $("grid").addEventListener("click", (event) => {
    const button = event.target.closest(".thumb");
    if (!button) return;
    focusOn(Number(button.dataset.index));
    view(shown[current]);
  });
  $("viewer").addEventListener("cancel", (event) => { event.preventDefault(); shut(); });
  $("viewer").addEventListener("keydown", viewerKey);
  $("viewer").addEventListener("click", (event) => { if (event.target === $("viewer")) shut(); });
  $("close").addEventListener("click", shut);
  $("previous").addEventListener("click", () => step(-1));
  $("next").addEventListener("click", () => step(1));
  $("mask").addEventListener("click", () => { toggle($("mask")); overlay(); });
  $("divider").addEventListener("input", () => cut($("divider").value));
  $("stage").addEventListener("pointerdown", drag);
  $("stage").addEventListener("pointermove", drag);
}

function badge(status, count) {
  const label = document.querySelector(`input[name=status][value="${status}"] + .label`);
  label.append(make("small", "", number(count)));
}

async function start() {
  document.querySelector(".tabs").hidden = false;
  document.querySelector(".tabs").addEventListener("keydown", tabKey);
  for (const name of TABS) {
    $("tab-" + name).addEventListener("click", () => { tab(name); history.replaceState(null, "", "#" + name); });
  }
  tab(TABS.includes(location.hash.slice(1)) ? location.hash.slice(1) : "pictures");
  $("opening").hidden = false;
  if (!window.DecompressionStream) {
    $("opening").textContent = "The gallery needs a browser of 2023 or later; the other tabs work in this one.";
    return;
  }
  data = await readRows();
  columns = data.columns;
  times = columns.sample_id.map((_, row) =>
    (columns.decode_s[row] ?? 0) + (columns.inpaint_s[row] ?? 0) + (columns.encode_s[row] ?? 0));
  const own = Object.values(data.own);
  searchable = columns.sample_id.map((name, row) =>
    [name, columns.error_class[row], columns.reason[row], columns.image_uri[row], ...own.map((values) => values[row])]
      .filter(Boolean).join("\n").toLowerCase());
  const counts = { ok: 0, skipped: 0, failed: 0 };
  for (const status of columns.status) counts[status]++;
  for (const status in counts) badge(status, counts[status]);
  $("opening").hidden = true;
  $("gallery").hidden = false;
  listen();
  choose();
  follow();
  document.documentElement.dataset.ready = "true";
}

start();
