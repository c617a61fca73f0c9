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
  viewed(row);
  const hash = "#sample=" + encodeURIComponent(columns.sample_id[row]);
  if (location.hash !== hash) history.replaceState(null, "", hash);
  if (!$("viewer").open) {
    $("viewer").showModal();
    (pictureOf(row, AFTER) ? $("divider") : $("close")).focus();
  }
  $("viewer").scrollTop = 0;
}

// What a page with more to say about a row adds to the viewer: its own parts, more of the pictures, and what keys and pointers
// do there.
let viewed = () => {}, staged = () => {}, redraw = () => {};
let grabbed = () => false, stageKey = () => false;
let ratioOf = (width, height) => width / height;

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
  $("stage").style.setProperty("--ratio", width && height ? ratioOf(width, height) : 1);
  cut(50);
  detail(row);
  staged(row);
}

// What is around the largest mark of the hole, pixel by pixel, where the page has it.
function detail(row) {
  if (!$("detail")) return;
  const uris = [pictureOf(row, DETAIL_BEFORE), pictureOf(row, DETAIL_AFTER)];
  $("detail").hidden = !uris[0];
  for (const [at, id] of ["detail-before", "detail-after"].entries()) {
    if (uris[at]) $(id).src = uris[at];
    else $(id).removeAttribute("src");
  }
}

function show(image, uri, alt) {
  image.hidden = !uri;
  if (uri) {
    image.onload = () => {
      $("stage").style.setProperty("--ratio", ratioOf(image.naturalWidth, image.naturalHeight));
      redraw();
    };
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
  redraw();
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
  $("left-word").style.visibility = $("divider").value === "0" ? "hidden" : "";
  $("right-word").style.visibility = $("divider").value === "100" ? "hidden" : "";
  redraw();
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
    ["Risk", has("risk", (risk) => risk.toFixed(2) + (value("risk_reason") ? `: likely wrong because ${value("risk_reason")}` : ""))],
    ["Seam score", has("seam_score", (seam) => seam.toFixed(3))],
    ["Known pixels", has("known_pixels_equal", (equal) => (equal ? known(value("largest_known_difference")) : "changed"))],
    ["Dropped", has("dropped", (names) => names.join(", "))],
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

// A lossy file is encoded anew, and its known pixels with it; rows of early editions do not say by how much.
function known(most) {
  if (most === null) return "unchanged before it was encoded";
  return most ? `re-encoded, at most ${most.toLocaleString("en", { maximumFractionDigits: 1 })} of ${most > 255 ? "65,535" : "255"}` : "unchanged";
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
  if (stageKey(event)) return event.preventDefault();
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
  if (grabbed(event)) return;
  if ($("stage").classList.contains("single") || (event.type === "pointermove" && !event.buttons)) return;
  if (event.type === "pointerdown") {
    $("stage").setPointerCapture(event.pointerId);
    $("divider").focus();
    event.preventDefault();
  }
  const box = $("stage").getBoundingClientRect();
  cut(Math.round((100 * (event.clientX - box.left)) / box.width));
}
