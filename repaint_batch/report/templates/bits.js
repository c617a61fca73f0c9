// ------------------------------------ masks: one bit a pixel, rows of whole bytes, the highest bit first, 1 = the hole

const maskOf = (width, height, bits) => ({ width, height, stride: (width + 7) >> 3, bits });

// Sets or clears the pixels from `from` to `to`, both included, of row y.
function fillRow({ bits, stride }, y, from, to, on) {
  const first = y * stride + (from >> 3), last = y * stride + (to >> 3);
  const head = 0xff >> (from & 7), tail = (0xff << (7 - (to & 7))) & 0xff;
  const put = (at, some) => { bits[at] = on ? bits[at] | some : bits[at] & ~some; };
  if (first === last) {
    put(first, head & tail);
  } else {
    put(first, head);
    bits.fill(on ? 0xff : 0, first + 1, last);
    put(last, tail);
  }
}

// Where a brush of `size` pixels across stands when it is held to (x, y): on pixels, or between them.
const snapped = (at, size) => (size % 2 ? Math.floor(at) + 0.5 : Math.round(at));

// Fills the disc of `size` pixels across at (x, y): the pixels whose centres are in it.
function fillDisc(mask, x, y, size, on) {
  const radius = size / 2, middleX = snapped(x, size), middleY = snapped(y, size);
  const bottom = Math.min(mask.height - 1, Math.floor(middleY + radius - 0.5));
  for (let row = Math.max(0, Math.ceil(middleY - radius - 0.5)); row <= bottom; row++) {
    const half = Math.sqrt(Math.max(0, radius ** 2 - (row + 0.5 - middleY) ** 2));
    const from = Math.max(0, Math.ceil(middleX - half - 0.5)), to = Math.min(mask.width - 1, Math.floor(middleX + half - 0.5));
    if (from <= to) fillRow(mask, row, from, to, on);
  }
}

// Fills what a brush covers on its way; discs lie so close that its edge is smooth to a hundredth of its width.
function fillLine(mask, [x0, y0], [x1, y1], size, on) {
  const steps = Math.max(1, Math.ceil(Math.hypot(x1 - x0, y1 - y0) / Math.max(0.5, size / 8)));
  for (let step = 0; step <= steps; step++) {
    fillDisc(mask, x0 + ((x1 - x0) * step) / steps, y0 + ((y1 - y0) * step) / steps, size, on);
  }
}

// The part of `bits` in which two masks of one size differ: rows, bytes of a row, and what the first has there; null for none.
function difference(mask, bits) {
  const { stride, height } = mask;
  let top = 0, bottom = height - 1, left = stride, right = -1;
  const differs = (row) => {
    for (let at = row * stride; at < (row + 1) * stride; at++) if (mask.bits[at] !== bits[at]) return true;
    return false;
  };
  while (top <= bottom && !differs(top)) top++;
  if (top > bottom) return null;
  while (!differs(bottom)) bottom--;
  for (let row = top; row <= bottom; row++) {
    const start = row * stride;
    for (let at = 0; at < left; at++) if (mask.bits[start + at] !== bits[start + at]) { left = at; break; }
    for (let at = stride - 1; at > right; at--) if (mask.bits[start + at] !== bits[start + at]) { right = at; break; }
  }
  const patch = { top, left, width: right - left + 1, rows: [] };
  for (let row = top; row <= bottom; row++) patch.rows.push(bits.slice(row * stride + left, row * stride + right + 1));
  return patch;
}

// Puts a patch into a mask, and what was there into the patch: undone twice is done.
function swap(mask, patch) {
  patch.rows = patch.rows.map((row, number) => {
    const start = (patch.top + number) * mask.stride + patch.left;
    const was = mask.bits.slice(start, start + patch.width);
    mask.bits.set(row, start);
    return was;
  });
}

// ------------------------------------------------------------------------------------------------- a PNG of one bit

const CRCS = Uint32Array.from({ length: 256 }, (_, number) => {
  let crc = number;
  for (let bit = 0; bit < 8; bit++) crc = crc & 1 ? 0xedb88320 ^ (crc >>> 1) : crc >>> 1;
  return crc;
});

function chunk(kind, data) {
  const bytes = new Uint8Array(12 + data.length), view = new DataView(bytes.buffer);
  view.setUint32(0, data.length);
  bytes.set([...kind].map((letter) => letter.charCodeAt(0)), 4);
  bytes.set(data, 8);
  let crc = 0xffffffff;
  for (const byte of bytes.subarray(4, 8 + data.length)) crc = CRCS[(crc ^ byte) & 0xff] ^ (crc >>> 8);
  view.setUint32(8 + data.length, ~crc);
  return bytes;
}

// Source: PNG, third edition: white is 1, every row begins with its filter, 0 for none.
async function pngOf({ width, height, stride, bits }) {
  const rows = new Uint8Array(height * (stride + 1));
  for (let row = 0; row < height; row++) rows.set(bits.subarray(row * stride, (row + 1) * stride), row * (stride + 1) + 1);
  const packed = new Blob([rows]).stream().pipeThrough(new CompressionStream("deflate"));
  const head = new Uint8Array(13), view = new DataView(head.buffer);
  view.setUint32(0, width);
  view.setUint32(4, height);
  head[8] = 1;
  const data = new Uint8Array(await new Response(packed).arrayBuffer());
  const sign = Uint8Array.of(0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a);
  return new Blob([sign, chunk("IHDR", head), chunk("IDAT", data), chunk("IEND", new Uint8Array(0))], { type: "image/png" });
}
