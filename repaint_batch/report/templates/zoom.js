// ---------------------------------------- full pixels: zoom and pan, the picture before and after at the same place

// The server hands out pieces of both pictures; a canvas over the small ones shows what there is of them by now.
const PIECE_PX = 512, MOST_PIECES = 200, CLOSEST = 32, STEP = 1.25, REST_MS = 120, GRIP_PX = 18;
let facts = null;    // what the server says of the open picture; null until it has said so
let eye = null;      // where one looks: the picture's point in the middle of the stage, and CSS pixels a pixel
let stop = -1;       // the last mark that was jumped to
const pieces = new Map();

const stageSize = () => [$("stage").clientWidth, $("stage").clientHeight];
const clamp = (value, least, most) => Math.min(Math.max(value, least), Math.max(least, most));

function fitting() {
  const [width, height] = stageSize();
  return Math.min(width / facts.width, height / facts.height);
}

// The closest one can look: single pixels are large, and what fills the stage by itself can be had larger too.
const closest = () => Math.max(CLOSEST, 4 * fitting());

const isClose = () => facts !== null && eye.zoom > fitting() * 1.001;

ratioOf = (width, height) => clamp(width / height, 0.6, 2);

staged = (row) => {
  stopCorrecting();
  told("");
  facts = null;
  stop = -1;
  pieces.clear();
  $("pixels").hidden = true;
  $("stage").classList.remove("close");
  lens();
  // Who decides quickly, key by key, has nothing decoded in full.
  setTimeout(() => { if (open === row) look(row); }, REST_MS);
};

async function look(row) {
  const answer = await fetch(`facts/${addressOf(row)}`).catch(() => null);
  if (!answer || !answer.ok || open !== row || facts) return;
  facts = await answer.json();
  if (open !== row) return;
  $("stage").style.setProperty("--ratio", ratioOf(facts.width, facts.height));
  $("pixels").hidden = false;
  fit();
  lens();
}

function fit() {
  if (facts) goTo(facts.width / 2, facts.height / 2, fitting());
}

// Shows the point (x, y) of the picture in the middle, or as near to it as the picture's edges let it.
function goTo(x, y, zoom) {
  const least = fitting(), [width, height] = stageSize();
  zoom = clamp(zoom, least, closest());
  const reachX = width / zoom / 2, reachY = height / zoom / 2;
  eye = {
    x: 2 * reachX >= facts.width ? facts.width / 2 : clamp(x, reachX, facts.width - reachX),
    y: 2 * reachY >= facts.height ? facts.height / 2 : clamp(y, reachY, facts.height - reachY),
    zoom,
  };
  $("stage").classList.toggle("close", isClose());
  lens();
  redraw();
}

// The picture's point under a point of the window.
function under(clientX, clientY) {
  const box = $("stage").getBoundingClientRect();
  return [eye.x + (clientX - box.left - box.width / 2) / eye.zoom, eye.y + (clientY - box.top - box.height / 2) / eye.zoom];
}

// Zooms so that what is under a point of the window stays there.
function zoomBy(factor, clientX, clientY) {
  if (!facts) return;
  const box = $("stage").getBoundingClientRect();
  clientX ??= box.left + box.width / 2;
  clientY ??= box.top + box.height / 2;
  const [x, y] = under(clientX, clientY);
  const zoom = clamp(eye.zoom * factor, fitting(), closest());
  goTo(x - (clientX - box.left - box.width / 2) / zoom, y - (clientY - box.top - box.height / 2) / zoom, zoom);
}

const panBy = (right, down) => goTo(eye.x + right / eye.zoom, eye.y + down / eye.zoom, eye.zoom);

// To the next mark of the hole, at full pixels or closer.
function nextStop(by = 1) {
  if (!facts || !facts.stops.length) return;
  stop = stop < 0 && by < 0 ? facts.stops.length - 1 : (stop + by + facts.stops.length) % facts.stops.length;
  const [left, top, right, bottom] = facts.stops[stop];
  const [width, height] = stageSize();
  const zoom = Math.min(width / (right - left), height / (bottom - top)) / 2;
  goTo((left + right) / 2, (top + bottom) / 2, clamp(zoom, 1 / devicePixelRatio, 4 / devicePixelRatio));
  $("said").textContent = `hole ${stop + 1} of ${facts.stops.length}`;
  lens();
}

// Before and after in turn, at the same place.
function flip() {
  if ($("stage").classList.contains("single")) return;
  cut(Number($("divider").value) === 0 ? 100 : 0);
  $("said").textContent = Number($("divider").value) ? "before" : "after";
}

function lens() {
  for (const id of ["closer", "farther", "fit", "full", "correct"]) $(id).disabled = !facts;
  $("flip").disabled = !facts || $("stage").classList.contains("single");
  $("stop").disabled = !facts || !facts.stops.length;
  $("stops").textContent = facts && facts.stops.length ? `${stop < 0 ? "" : `${stop + 1} / `}${number(facts.stops.length)}` : "";
  $("zoom").textContent = facts ? `${Math.round(100 * eye.zoom * devicePixelRatio)} %` : "";
}

// ------------------------------------------------------------------------------------------------------------ drawing

let isDue = false;

redraw = () => {
  if (isDue || !facts) return;
  isDue = true;
  requestAnimationFrame(() => { isDue = false; if (facts) drawPixels(); });
};

function drawPixels() {
  const canvas = $("pixels"), ratio = devicePixelRatio, [width, height] = stageSize();
  if (canvas.width !== Math.round(width * ratio)) canvas.width = Math.round(width * ratio);
  if (canvas.height !== Math.round(height * ratio)) canvas.height = Math.round(height * ratio);
  const context = canvas.getContext("2d");
  context.setTransform(1, 0, 0, 1, 0, 0);
  context.clearRect(0, 0, canvas.width, canvas.height);
  const isSingle = $("stage").classList.contains("single");
  const place = Math.round((canvas.width * $("divider").value) / 100);
  for (const [part, left, right] of [[BEFORE, 0, isSingle ? canvas.width : place], [AFTER, isSingle ? 0 : place, canvas.width]]) {
    if (right <= left || (isSingle && $(PARTS[part]).hidden)) continue;
    context.save();
    context.beginPath();
    context.rect(left, 0, right - left, canvas.height);
    context.clip();
    drawPart(context, part, ratio);
    context.restore();
  }
  drawMask(context, ratio, isSingle ? canvas.width : place);
}

// Lets `context` draw in the picture's pixels.
function aim(context, ratio) {
  const scale = eye.zoom * ratio;
  context.setTransform(scale, 0, 0, scale, context.canvas.width / 2 - eye.x * scale, context.canvas.height / 2 - eye.y * scale);
}

function drawPart(context, part, ratio) {
  aim(context, ratio);
  // Single pixels show as such once one is close; a small picture that merely fills the stage is smooth.
  context.imageSmoothingEnabled = !(eye.zoom * ratio >= 3 && isClose());
  context.imageSmoothingQuality = "high";
  const small = $(PARTS[part]);
  if (small.complete && small.naturalWidth) context.drawImage(small, 0, 0, facts.width, facts.height);
  let divisor = 1;
  while (2 * divisor * eye.zoom * ratio <= 1) divisor *= 2;
  for (const [x, y, side] of inView(divisor)) pieceAt(part, x, y, side, divisor);
  const found = [...pieces.values()].filter((piece) => piece.part === part && piece.divisor >= divisor && piece.image.naturalWidth);
  for (const piece of found.sort((a, b) => b.divisor - a.divisor)) {
    context.drawImage(piece.image, piece.x, piece.y, piece.width, piece.height);
  }
}

// Corners, and the side, of the pieces that can be seen.
function* inView(divisor) {
  const side = PIECE_PX * divisor, [width, height] = stageSize();
  const first = (at, reach) => Math.max(0, Math.floor((at - reach / eye.zoom / 2) / side) * side);
  for (let y = first(eye.y, height); y < Math.min(facts.height, eye.y + height / eye.zoom / 2); y += side) {
    for (let x = first(eye.x, width); x < Math.min(facts.width, eye.x + width / eye.zoom / 2); x += side) yield [x, y, side];
  }
}

function pieceAt(part, x, y, side, divisor) {
  const name = `${part} ${divisor} ${x} ${y}`;
  let piece = pieces.get(name);
  pieces.delete(name);
  if (!piece) {
    const width = Math.min(side, facts.width - x), height = Math.min(side, facts.height - y);
    const image = new Image();
    image.onload = redraw;
    image.src = `${PARTS[part]}-piece/${[x, y, width, height, divisor].join(",")}/${addressOf(open)}`;
    piece = { part, divisor, x, y, width, height, image };
  }
  pieces.set(name, piece);  // the ones that were seen last are kept
  if (pieces.size > MOST_PIECES) pieces.delete(pieces.keys().next().value);
}

// ----------------------------------------------------------------------------------------- wheel, fingers, and keys

const fingers = new Map();  // what is pressed on the stage, by pointer
let doing = null;           // what one pointer does: pan, or draw
let spread = null;          // of two fingers: how far apart, and around which point

function wheel(event) {
  if (!facts) return;
  event.preventDefault();
  const lines = event.deltaMode === WheelEvent.DOM_DELTA_LINE ? 24 : event.deltaMode === WheelEvent.DOM_DELTA_PAGE ? 240 : 1;
  // A pinch on a touchpad comes as a wheel with Ctrl, in small steps.
  zoomBy(Math.exp(-event.deltaY * lines * (event.ctrlKey ? 0.01 : 0.0015)), event.clientX, event.clientY);
}

function spreadOf() {
  const [one, other] = [...fingers.values()];
  return {
    apart: Math.max(1, Math.hypot(one.x - other.x, one.y - other.y)), x: (one.x + other.x) / 2, y: (one.y + other.y) / 2,
  };
}

function isOnDivider(event) {
  const box = $("stage").getBoundingClientRect();
  const place = box.left + (box.width * $("divider").value) / 100;
  return !$("stage").classList.contains("single") && Math.abs(event.clientX - place) < GRIP_PX;
}

// What the pointer does to the stage before it would move the divider; whether it does anything.
grabbed = (event) => {
  if (!facts) return false;
  if (event.type === "pointerdown") {
    fingers.set(event.pointerId, { x: event.clientX, y: event.clientY });
    if (fingers.size === 2) {
      if (doing === "draw") endStroke(false);
      doing = null;
      spread = spreadOf();
      $("stage").setPointerCapture(event.pointerId);
      return true;
    }
    doing = isMasking() && event.button !== 1 ? "draw" : isClose() && !(event.button === 0 && isOnDivider(event)) ? "pan" : null;
    if (doing === null) return isMasking();
    $("stage").setPointerCapture(event.pointerId);
    event.preventDefault();
    if (doing === "draw") beginStroke(event);
    return true;
  }
  const finger = fingers.get(event.pointerId);
  if (!finger) {
    if (isMasking()) hover(event);
    return isMasking();
  }
  const [x, y] = [finger.x, finger.y];
  [finger.x, finger.y] = [event.clientX, event.clientY];
  if (spread && fingers.size > 1) {
    const now = spreadOf();
    zoomBy(now.apart / spread.apart, now.x, now.y);
    panBy(spread.x - now.x, spread.y - now.y);
    spread = now;
  } else if (doing === "pan") {
    panBy(x - event.clientX, y - event.clientY);
  } else if (doing === "draw") {
    drawOn(event);
  }
  return doing !== null || spread !== null;
};

function released(event) {
  if (!fingers.delete(event.pointerId)) return;
  if (doing === "draw" && fingers.size === 0) endStroke(event.type === "pointerup");
  if (fingers.size < 2) spread = null;
  // The finger that stays after a pinch does nothing until it is lifted.
  if (fingers.size === 0) doing = null;
}

// Keys of the stage; whether this was one of them.
stageKey = (event) => {
  const isArrow = event.key.startsWith("Arrow");
  if (!facts || event.target.matches("#seed, #preset") || (isArrow && event.target.matches("#size"))) return false;
  if (isMasking() && maskKey(event)) return true;
  if (event.ctrlKey || event.metaKey || event.altKey) return false;
  const far = event.shiftKey ? 0.9 : 0.15, [width, height] = stageSize();
  const moves = { arrowleft: [-1, 0], arrowright: [1, 0], arrowup: [0, -1], arrowdown: [0, 1] };
  const key = event.key.toLowerCase();
  if (key === "+" || key === "=") zoomBy(STEP);
  else if (key === "-" || key === "_") zoomBy(1 / STEP);
  else if (key === "0") fit();
  else if (key === "1") goTo(eye.x, eye.y, 1 / devicePixelRatio);
  else if (key === "h") nextStop(event.shiftKey ? -1 : 1);
  else if (key === "v") flip();
  else if (key === "e") correct();
  else if (key in moves && isClose()) panBy(moves[key][0] * far * width, moves[key][1] * far * height);
  else return false;
  return true;
};

function listenToStage() {
  const stage = $("stage");
  stage.addEventListener("wheel", wheel, { passive: false });
  stage.addEventListener("pointerup", released);
  stage.addEventListener("pointercancel", released);
  stage.addEventListener("dblclick", (event) => {
    if (!facts || isMasking()) return;
    if (isClose()) fit();
    else zoomBy(Math.max(1 / devicePixelRatio / eye.zoom, 2), event.clientX, event.clientY);
  });
  new ResizeObserver(() => { if (facts) goTo(eye.x, eye.y, stage.classList.contains("close") ? eye.zoom : 0); }).observe(stage);
  $("closer").addEventListener("click", () => zoomBy(STEP ** 2));
  $("farther").addEventListener("click", () => zoomBy(STEP ** -2));
  $("fit").addEventListener("click", fit);
  $("full").addEventListener("click", () => goTo(eye.x, eye.y, 1 / devicePixelRatio));
  $("stop").addEventListener("click", () => nextStop());
  $("flip").addEventListener("click", flip);
  $("correct").addEventListener("click", () => correct());
}
