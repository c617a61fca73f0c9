// ------------------------------------------------------------------ correcting the mask: brush, eraser, line, and undo

const HOLE_COLOUR = "rgb(255 46 126 / 60%)", HOLE_ABGR = 0x997e2eff;
const MOST_STROKES = 200, MOST_SIZE = 400, NEAR_PX = 4, FAR = 10;
const TOOLS = { brush: "Brush", eraser: "Eraser", line: "Line" };

// What was drawn, by row, as long as this page is open: a mask, the one that the picture was restored by, and the strokes,
// as patches that take them back.
const drafts = new Map();
let draft = null;                         // the one that is being drawn; null while nobody corrects
let tool = "brush", size = 0;             // size: pixels of the picture across; 0: to be chosen by its size
let pen = null;                           // where the tool is, in the picture's pixels
let stroke = null;                        // what is being drawn: by which tool, from where to where, and the mask before it
const firsts = new Map();                 // rows' own masks, once one has asked for them

const isMasking = () => draft !== null;
const isUnsent = ({ isSent }) => isSent === false;

async function bitsOf(row, which) {
  const answer = await fetch(`mask/${which}/${addressOf(row)}`);
  if (!answer.ok) throw new Error(await answer.text());
  return new Uint8Array(await answer.arrayBuffer());
}

// The row's own mask; undefined while it is on its way.
function firstOf(row) {
  if (!firsts.has(row)) {
    firsts.set(row, undefined);
    if (firsts.size > 8) firsts.delete(firsts.keys().next().value);
    bitsOf(row, "first").then((bits) => { firsts.set(row, bits); redraw(); }, () => {});
  }
  return firsts.get(row);
}

async function correct() {
  if (isMasking()) return stopCorrecting();
  const row = open;
  if (facts.fixed) return told(facts.fixed);
  if (!drafts.has(row)) {
    try {
      const asked = data.asked[row]?.mask_sha256;
      const first = await bitsOf(row, "first");
      const bits = asked ? await bitsOf(row, asked) : first.slice();
      drafts.set(row, { mask: maskOf(facts.width, facts.height, bits), first, done: [], undone: [] });
    } catch (error) {
      return told(`The mask cannot be had: ${error.message}`);
    }
  }
  if (open !== row || isMasking()) return;
  draft = drafts.get(row);
  size ||= Math.max(1, Math.round(Math.max(facts.width, facts.height) / 100));
  pen = [eye.x, eye.y];
  maskingIs(true);
  use(tool);
  cut(100);
  $("pixels").focus();
  told("");
}

function stopCorrecting() {
  if (!isMasking()) return;
  endStroke(false);
  draft = null;
  maskingIs(false);
  if (drawnOf(open)) $("redo").disabled = false;
  if (!$("divider").hidden) $("divider").focus();
  cut(50);
}

function maskingIs(on) {
  $("viewer-body").classList.toggle("masking", on);
  $("stage").classList.toggle("masking", on);
  $("tools").hidden = !on;
  $("correct").setAttribute("aria-pressed", on);
  $("divider").hidden = on || $("stage").classList.contains("single");
  const canvas = $("pixels");
  if (on) {
    canvas.tabIndex = 0;
    canvas.setAttribute("role", "application");
    canvas.setAttribute("aria-label", `Mask of ${columns.sample_id[open]}: arrows move, space draws`);
    canvas.removeAttribute("aria-hidden");
    $("mask").setAttribute("aria-pressed", true);
  } else {
    for (const name of ["tabindex", "role", "aria-label"]) canvas.removeAttribute(name);
    canvas.setAttribute("aria-hidden", true);
    $("mask").setAttribute("aria-pressed", false);
  }
}

function told(words) {
  $("told").textContent = words;
}

function use(name) {
  endStroke(false);
  tool = name;
  for (const other in TOOLS) $(other).setAttribute("aria-pressed", other === name);
  sized(size);
}

function sized(pixels) {
  size = clamp(Math.round(pixels), 1, MOST_SIZE);
  $("size").value = Math.round(100 * Math.log(size) / Math.log(MOST_SIZE));
  $("size").setAttribute("aria-valuetext", `${size} pixels`);
  $("size-words").textContent = `${size} px`;
  strokes();
}

function strokes() {
  $("back").disabled = !draft?.done.length;
  $("again").disabled = !draft?.undone.length;
  const isSame = !draft || !difference(draft.mask, draft.first);
  $("afresh").disabled = $("redo-mask").disabled = isSame;
  redraw();
}

// ------------------------------------------------------------------------------------------------------------ strokes

function begin(at, kind) {
  stroke = { kind, from: at, to: at, before: draft.mask.bits.slice() };
  if (kind !== "line") put(at, at);
}

const put = (from, to) => fillLine(draft.mask, from, to, size, stroke.kind !== "eraser");

function beginStroke(event) {
  $("pixels").focus();
  pen = under(event.clientX, event.clientY);
  // The other end of a pen, and the second button of a mouse, erase.
  begin(pen, event.button === 5 || event.button === 2 ? "eraser" : tool);
  redraw();
}

function drawOn(event) {
  const events = event.getCoalescedEvents?.() ?? [];
  for (const one of events.length ? events : [event]) extend(under(one.clientX, one.clientY));
}

function extend(at) {
  if (stroke && stroke.kind !== "line") put(stroke.to, at);
  if (stroke) stroke.to = at;
  pen = at;
  redraw();
}

// Ends what is being drawn: it stays, or is taken back.
function endStroke(stays) {
  if (!stroke) return;
  if (!stays) {
    draft.mask.bits.set(stroke.before);
  } else {
    if (stroke.kind === "line") put(stroke.from, stroke.to);
    keep(stroke.before);
  }
  stroke = null;
  strokes();
}

// Remembers how to get from the mask as it is to what it was.
function keep(before) {
  const patch = difference(draft.mask, before);
  if (!patch) return;
  draft.isSent = false;
  draft.done.push(patch);
  if (draft.done.length > MOST_STROKES) draft.done.shift();
  draft.undone.length = 0;
}

function back(from = draft.done, to = draft.undone) {
  endStroke(false);
  const patch = from.pop();
  if (patch) {
    swap(draft.mask, patch);
    to.push(patch);
  }
  told(patch ? (from === draft.done ? "stroke undone" : "stroke drawn again") : "nothing to take back");
  strokes();
}

const again = () => back(draft.undone, draft.done);

// The mask that the picture was restored by; that can be undone too.
function afresh() {
  endStroke(false);
  const before = draft.mask.bits.slice();
  draft.mask.bits.set(draft.first);
  keep(before);
  strokes();
}

function redoWithMask() {
  if (!isMasking()) return;
  endStroke(true);
  if (!difference(draft.mask, draft.first)) return told("The mask is as it was; draw on it first.");
  if (!draft.mask.bits.some(Boolean)) return told("The mask marks nothing, so there would be nothing to restore.");
  draft.isSent = false;
  press("redo");
}

// What was drawn on a row and not sent yet, as it is now; null where there is nothing to restore by.
function drawnOf(row) {
  const made = drafts.get(row);
  if (!made || !isUnsent(made) || !difference(made.mask, made.first) || !made.mask.bits.some(Boolean)) return null;
  return maskOf(made.mask.width, made.mask.height, made.mask.bits.slice());
}

// ------------------------------------------------------------------------------------------------- the keyboard's pen

function maskKey(event) {
  const key = event.key.toLowerCase();
  if (event.ctrlKey || event.metaKey) {
    if (event.altKey || !(key === "z" || key === "y")) return false;
    if (key === "y" || event.shiftKey) again();
    else back();
    return true;
  }
  if (event.altKey) return false;
  const moves = { arrowleft: [-1, 0], arrowright: [1, 0], arrowup: [0, -1], arrowdown: [0, 1] };
  const tools = { b: "brush", e: "eraser", l: "line" };
  const isField = event.target.matches("input, select");
  if (key in moves && !isField) {
    move(moves[key], event.shiftKey);
  } else if (key === " " && event.target === $("pixels")) {
    if (!event.repeat) penDown();
  } else if (key in tools) {
    use(tools[key]);
  } else if (key === "[" || key === "]") {
    sized(key === "[" ? Math.min(size - 1, size / 1.2) : Math.max(size + 1, size * 1.2));
  } else if (key === "u" || key === "z") {
    if (event.shiftKey) again();
    else back();
  } else if (key === "r") {
    redoWithMask();
  } else if (key === "escape") {
    if (stroke) endStroke(false);
    else stopCorrecting();
  } else {
    return "ax".includes(key);  // no decision by accident
  }
  return true;
}

function penDown() {
  if (stroke) {
    endStroke(true);
    told("pen up");
  } else {
    begin(pen, tool);
    told(tool === "line" ? "line begun; Space ends it, Esc takes it back" : "pen down; Space lifts it, Esc takes the stroke back");
    redraw();
  }
}

function move([right, down], isFar) {
  const by = Math.max(1, Math.round(NEAR_PX / eye.zoom)) * (isFar ? FAR : 1);
  extend([clamp(pen[0] + by * right, 0, facts.width - 0.5), clamp(pen[1] + by * down, 0, facts.height - 0.5)]);
  const [width, height] = stageSize(), x = (pen[0] - eye.x) * eye.zoom, y = (pen[1] - eye.y) * eye.zoom;
  const over = (at, half) => Math.sign(at) * Math.max(0, Math.abs(at) - 0.9 * half);
  panBy(over(x, width / 2), over(y, height / 2));
}

function hover(event) {
  pen = under(event.clientX, event.clientY);
  redraw();
}

// ------------------------------------------------------------------------------------------------------------ drawing

function drawMask(context, ratio, place) {
  if ($("mask").getAttribute("aria-pressed") === "true") {
    context.save();
    context.beginPath();
    context.setTransform(1, 0, 0, 1, 0, 0);
    context.rect(0, 0, isMasking() ? context.canvas.width : place, context.canvas.height);
    context.clip();
    aim(context, ratio);
    context.imageSmoothingEnabled = false;
    const bits = isMasking() ? draft.mask.bits : firstOf(open);
    if (bits) drawBits(context, bits, eye.zoom * ratio);
    context.restore();
  }
  if (isMasking()) drawPen(context, ratio);
}

const scratch = document.createElement("canvas");

// Where a canvas pixel holds many of the picture, any of them marks it: a thin scratch has no gaps at any zoom.
function drawBits(context, bits, scale) {
  const { stride } = maskOf(facts.width, facts.height);
  const reachX = context.canvas.width / scale / 2, reachY = context.canvas.height / scale / 2;
  const left = Math.max(0, Math.floor(eye.x - reachX)), right = Math.min(facts.width, Math.ceil(eye.x + reachX));
  const top = Math.max(0, Math.floor(eye.y - reachY)), bottom = Math.min(facts.height, Math.ceil(eye.y + reachY));
  const step = Math.min(1, scale);
  const image = new ImageData(Math.ceil((right - left) * step), Math.ceil((bottom - top) * step));
  const out = new Uint32Array(image.data.buffer);
  for (let y = top; y < bottom; y++) {
    const line = Math.floor((y - top) * step) * image.width;
    for (let byte = left >> 3; byte <= (right - 1) >> 3; byte++) {
      const eight = bits[y * stride + byte];
      for (let bit = 0; eight && bit < 8; bit++) {
        const x = 8 * byte + bit;
        if (eight & (0x80 >> bit) && x >= left && x < right) out[line + Math.floor((x - left) * step)] = HOLE_ABGR;
      }
    }
  }
  scratch.width = image.width;
  scratch.height = image.height;
  scratch.getContext("2d").putImageData(image, 0, 0);
  context.drawImage(scratch, left, top, image.width / step, image.height / step);
}

// The tool's outline, and the line that is being laid.
function drawPen(context, ratio) {
  aim(context, ratio);
  const scale = eye.zoom * ratio;
  if (stroke?.kind === "line") {
    context.beginPath();
    context.moveTo(...stroke.from);
    context.lineTo(...stroke.to);
    context.lineCap = "round";
    context.lineWidth = size;
    context.strokeStyle = HOLE_COLOUR;
    context.stroke();
  }
  const [x, y] = pen.map((at) => snapped(at, size));
  context.beginPath();
  context.arc(x, y, Math.max(size / 2, 3 / scale), 0, 2 * Math.PI);
  for (const [width, colour] of [[3.5, "rgb(0 0 0 / 55%)"], [1.5, stroke ? "#ff2e7e" : "#fff"]]) {
    context.lineWidth = (width * ratio) / scale;
    context.strokeStyle = colour;
    context.stroke();
  }
}

function listenToTools() {
  for (const name in TOOLS) $(name).addEventListener("click", () => { use(name); $("pixels").focus(); });
  $("size").addEventListener("input", () => sized(MOST_SIZE ** ($("size").value / 100)));
  $("back").addEventListener("click", () => back());
  $("again").addEventListener("click", again);
  $("afresh").addEventListener("click", afresh);
  $("redo-mask").addEventListener("click", redoWithMask);
  $("done").addEventListener("click", stopCorrecting);
  $("stage").addEventListener("contextmenu", (event) => { if (isMasking()) event.preventDefault(); });
}
