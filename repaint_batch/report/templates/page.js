// ----------------------------------------------------------------------------------------- tabs, links, and the start

const TABS = [...document.querySelectorAll("[role=tab]")].map((button) => button.id.replace("tab-", ""));

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
  if (TABS.length) tab("pictures");
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

function badges() {
  for (const input of document.querySelectorAll("input[name=status]")) {
    if (!input.value) continue;
    const label = input.nextElementSibling;
    let count = 0;
    for (let row = 0; row < columns.sample_id.length; row++) count += kindOf(row) === input.value;
    if (!label.querySelector("small")) label.append(make("small"));
    label.querySelector("small").textContent = number(count);
  }
}

async function start() {
  if (TABS.length) {
    document.querySelector(".tabs").hidden = false;
    document.querySelector(".tabs").addEventListener("keydown", tabKey);
  }
  for (const name of TABS) {
    $("tab-" + name).addEventListener("click", () => { tab(name); history.replaceState(null, "", "#" + name); });
  }
  if (TABS.length) tab(TABS.includes(location.hash.slice(1)) ? location.hash.slice(1) : "pictures");
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
  prepare();
  badges();
  $("opening").hidden = true;
  $("gallery").hidden = false;
  listen();
  choose();
  follow();
  document.documentElement.dataset.ready = "true";
}

start();
