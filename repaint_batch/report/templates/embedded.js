// ---------------------------------------------------------------------------- the data of a page that holds everything

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
const TYPES = ["image/webp", "image/webp", "image/png", "image/webp", "image/webp"];

// The text of a block; undefined while the browser is still reading it, which it has once something follows.
function blockOf(name) {
  if (!blocks.has(name)) {
    const element = $("pictures-" + name);
    if (!element || (document.readyState === "loading" && !element.nextSibling)) return undefined;
    blocks.set(name, element.textContent);
  }
  return blocks.get(name);
}

// A row's picture as a data URI cut from its block, null where there is none, undefined where it is still to come. Pieces
// start on base64's own boundaries.
function pictureOf(row, part) {
  const place = data.places[row];
  if (!place[2 + part]) return null;
  const block = blockOf(place[0]);
  if (block === undefined) return undefined;
  let start = place[1];
  for (let before = 0; before < part; before++) start += place[2 + before];
  return `data:${TYPES[part]};base64,` + block.slice(start, start + place[2 + part]);
}

// What the page does once rows are there: it draws again as blocks come in.
function prepare() {
  if (document.readyState !== "loading") return;
  const again = () => {
    draw();
    if (open !== null && !$("before").src && !$("after").src) stage(open);
  };
  const observer = new MutationObserver(again);
  observer.observe(document.body, { childList: true });
  addEventListener("DOMContentLoaded", () => { observer.disconnect(); again(); });
}
