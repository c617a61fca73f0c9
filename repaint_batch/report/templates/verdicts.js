// ------------------------------------------------------------------------------------------------ deciding about pictures

const DONE = { accept: "Accepted", reject: "Rejected", redo: "Redo" };

kindOf = (row) => data.verdicts[row] || "open";

function prepare() {
  for (const verdict of [...Object.keys(DONE), "undo"]) $(verdict).addEventListener("click", () => press(verdict));
  document.addEventListener("keydown", verdictKey);
  listenToStage();
  listenToTools();
  addEventListener("beforeunload", (event) => { if (queue.length || sending || [...drafts.values()].some(isUnsent)) event.preventDefault(); });
  tally();
}

decorate = (item, row) => {
  const verdict = data.verdicts[row];
  item.querySelector(".mark")?.remove();
  if (verdict) item.firstChild.append(make("span", "mark " + verdict, markOf(row)));
};

function markOf(row) {
  const asked = data.asked[row];
  const mask = asked && (asked.drawn || asked.mask_sha256) ? ", mask corrected" : "";
  return DONE[data.verdicts[row]] + (asked ? `: ${asked.preset}, seed ${asked.seed}${mask}` : "");
}

viewed = (row) => {
  const asked = data.asked[row];
  for (const verdict in DONE) $(verdict).setAttribute("aria-pressed", data.verdicts[row] === verdict);
  $("redo").disabled = columns.status[row] !== "ok";
  $("undo").disabled = !taken.length && !data.verdicts[row];
  $("seed").value = asked ? asked.seed : data.next_seed[row];
  $("preset").value = asked ? asked.preset : data.made_by[row];
};

// The row that keys are about: the one in the viewer, or the one in the grid that has the focus.
function rowAtHand() {
  if (open !== null) return open;
  const focused = document.activeElement;
  return focused.dataset.index ? shown[Number(focused.dataset.index)] : null;
}

function verdictKey(event) {
  if (event.defaultPrevented || event.ctrlKey || event.metaKey || event.altKey || event.repeat) return;
  if (event.target.matches("#seed, #search, select")) return;
  const verdict = { a: "accept", x: "reject", r: "redo", u: "undo" }[event.key.toLowerCase()];
  if (verdict && (rowAtHand() !== null || (verdict === "undo" && taken.length))) {
    event.preventDefault();
    press(verdict);
  } else if (event.key.toLowerCase() === "p" && open !== null) {
    event.preventDefault();
    $("preset").selectedIndex = ($("preset").selectedIndex + 1) % $("preset").length;
  }
}

function press(pressed) {
  if (pressed === "undo") return undo();
  const row = rowAtHand();
  // A redo has the mask that was drawn, or that was asked for before.
  const drawn = row !== null && pressed === "redo" ? drawnOf(row) ?? data.asked[row]?.drawn : null;
  const kept = pressed === "redo" && !drawn ? data.asked[row]?.mask_sha256 : null;
  if (row === null || (pressed === "redo" && !drawn && !kept && columns.status[row] !== "ok")) return;
  if (pressed === "redo" && open !== null && !$("seed").reportValidity()) return;
  let asked = null;
  if (pressed === "redo") {
    asked = open === null
      ? { preset: data.made_by[row], seed: data.next_seed[row] }
      : { preset: $("preset").value, seed: $("seed").value || data.next_seed[row] };
    if (drawn) asked.drawn = drawn;
    else if (kept) asked.mask_sha256 = kept;
  }
  taken.push([row, data.verdicts[row], data.asked[row]]);
  decide(row, pressed, asked);
  $("said").textContent = `${columns.sample_id[row]}: ${markOf(row)}`;
  // On to the next picture, as somebody with hundreds of them wants it.
  const at = shown.indexOf(row);
  if (open === null) focusOn(at + 1);
  else if (at >= 0 && at + 1 < shown.length) view(shown[at + 1]);
  else view(row);
}

// What was decided on this page, oldest first: the row, and what was decided about it before.
const taken = [];

// Takes back the last decision, whichever picture is at hand by now; without one, what an earlier page decided about this one.
function undo() {
  const [row, verdict, asked] = taken.pop() ?? [rowAtHand(), null, null];
  if (row === null || data.verdicts[row] === verdict && !verdict) return;
  decide(row, verdict, asked);
  $("said").textContent = `${columns.sample_id[row]}: undone`;
  if (open !== null) view(row);
  else focusOn(Math.max(0, shown.indexOf(row)));
}

function decide(row, verdict, asked) {
  data.verdicts[row] = verdict;
  data.asked[row] = asked;
  // What was drawn is to be sent while no decision has it, or does without it.
  if (drafts.get(row)?.isSent !== undefined) {
    drafts.get(row).isSent = ["accept", "reject"].includes(verdict) || Boolean(asked?.drawn || asked?.mask_sha256);
  }
  queue.push([row, verdict || "undecided", asked]);
  send();
  const at = shown.indexOf(row);
  if (drawn.has(at)) decorate(drawn.get(at), row);
  tally();
}

function tally() {
  const counts = { accept: 0, reject: 0, redo: 0 };
  for (const verdict of data.verdicts) if (verdict) counts[verdict]++;
  const all = data.verdicts.length, done = counts.accept + counts.reject + counts.redo;
  $("tally").textContent = `${number(done)} of ${number(all)} decided: ` +
    `${number(counts.accept)} accepted, ${number(counts.reject)} rejected, ${number(counts.redo)} to redo`;
  for (const verdict in counts) document.querySelector(`.stack .${verdict}`).style.flexGrow = counts[verdict];
  document.querySelector(".stack .open").style.flexGrow = all - done;
  badges();
}

// ---------------------------------------------------------------------------------------- sending what was decided

// Batches go one after the other, each with a number: one that is sent again, because no answer came, counts once.
const session = crypto.randomUUID();
const AGAIN_MS = 2000, MOST = 500;
const queue = [];
let sending = false;
let sent = 0;

async function send() {
  if (sending) return;
  sending = true;
  while (queue.length) {
    const some = queue.splice(0, MOST), decisions = [];
    saved(`Saving ${number(some.length)}…`);
    for (const [row, verdict, asked] of some) {
      if (asked?.drawn && !await keepMask(row, asked)) continue;
      const { drawn, ...settings } = asked ?? {};
      decisions.push({ sample_id: columns.sample_id[row], output_sha256: columns.output_sha256[row], verdict, ...settings });
    }
    if (decisions.length) await deliver(decisions);
  }
  sending = false;
}

// Sends a mask that was drawn, and puts its hash in its place; whether it was kept.
async function keepMask(row, asked) {
  const answer = await insist(`masks/${addressOf(row)}`, await pngOf(asked.drawn));
  if (!answer) return false;
  asked.mask_sha256 = (await answer.json()).mask_sha256;
  delete asked.drawn;
  return true;
}

async function deliver(decisions) {
  sent += 1;
  const answer = await insist("decisions", new Blob([JSON.stringify({ session, number: sent, decisions })], { type: "application/json" }));
  if (!answer) return;
  const { stale } = await answer.json();
  saved(stale.length
    ? `Restored anew since this page was opened, so nothing was saved about: ${stale.join(", ")}. Reload to see them.`
    : "Every decision is saved.", stale.length > 0);
}

// Sends until there is an answer; null where that is no.
async function insist(where, body) {
  for (;;) {
    try {
      const answer = await fetch(where, { method: "POST", body });
      if (answer.ok) return answer;
      const words = await answer.text();
      if (answer.status !== 503) {
        saved(`Not saved: ${words} Reload the page.`, true);
        return null;
      }
      saved(`Not saved yet, trying again: ${words}`, true);
    } catch {
      saved("Not saved yet: the server does not answer. Is `repaint-batch review` still running?", true);
    }
    await new Promise((resolve) => setTimeout(resolve, AGAIN_MS));
  }
}

function saved(words, bad = false) {
  $("saved").textContent = words;
  $("saved").classList.toggle("failed-text", bad);
}
