// The page around a drawing: walk, zoom, find, fold, and a panel about one card at a time.
// Texts of the recipe are put in with textContent only.
(() => {
  const NS = "http://www.w3.org/2000/svg", data = JSON.parse(document.getElementById("data").textContent);
  const svg = document.getElementById("drawing"), world = document.getElementById("world");
  const wiresAt = document.getElementById("wires");
  const card = new Map(data.cards.map(c => [c.key, c])), element = new Map();
  document.querySelectorAll("[data-card]").forEach(e => element.set(data.cards[e.dataset.card].key, e));
  const folds = new Map(data.folds.map(f => [f.card, f]));
  let state = data.start, closed = new Set(data.states[state].closed);
  const around = new Map(); // card -> the folds it is in, outermost first
  for (const f of data.folds) for (const m of f.members) around.set(m, [...(around.get(m) || []), f.card]);
  const place = new Map(); // of the cards that show
  let chosen = null, view = { x: 0, y: 0, k: 1 };

  // ---- small helpers --------------------------------------------------------------------------
  function el(tag, settings, ...inside) {
    const made = document.createElement(tag);
    for (const [k, v] of Object.entries(settings || {})) {
      if (k.startsWith("on")) made.addEventListener(k.slice(2), v);
      else if (v !== undefined && v !== false) made.setAttribute(k, v);
    }
    made.append(...inside.filter(x => x !== null && x !== undefined));
    return made;
  }
  function shape(tag, settings) {
    const made = document.createElementNS(NS, tag);
    for (const [k, v] of Object.entries(settings)) made.setAttribute(k, v);
    return made;
  }
  const shown = key => (around.get(key) || []).find(f => closed.has(f)) || key;

  // ---- folding: another of the drawings that the page came with --------------------------------
  function redraw() {
    place.clear();
    [...wiresAt.children].forEach((g, i) => i === state ? g.removeAttribute("display") : g.setAttribute("display", "none"));
    for (const [key, e] of element) {
      const box = data.states[state].boxes[key];
      if (!box) { e.setAttribute("display", "none"); continue; }
      e.removeAttribute("display");
      e.setAttribute("transform", `translate(${box[0]} ${box[1]})`);
      place.set(key, box);
    }
    mark();
  }
  function turn(number) { state = number; closed = new Set(data.states[state].closed); redraw(); }
  // The drawing that is as wished, and else as much as can be like the one that shows.
  function nearest(wish) {
    let best = state, least = Infinity;
    data.states.forEach((one, number) => {
      if (!wish(new Set(one.closed))) return;
      const common = one.closed.filter(f => closed.has(f)).length, off = one.closed.length + closed.size - 2 * common;
      if (off < least) { least = off; best = number; }
    });
    turn(best);
  }
  function fold(key, close) {
    const before = chosen;
    nearest(set => set.has(key) === close);
    const still = before && (place.has(before) ? before : shown(before));
    choose(still && place.has(still) ? still : close ? key : folds.get(key).members.map(shown)[0]);
    bring(chosen);
  }
  function foldAll(close) {
    turn(close ? data.fewest : 0);
    if (chosen) choose(place.has(chosen) ? chosen : shown(chosen));
    if (chosen && !place.has(chosen)) choose(null);
    fit();
  }
  function reveal(key) {
    const inside = around.get(key) || [];
    if (inside.some(f => closed.has(f))) nearest(set => !inside.some(f => set.has(f)));
  }

  // ---- view -----------------------------------------------------------------------------------
  function look() { world.setAttribute("transform", `translate(${view.x} ${view.y}) scale(${view.k})`); }
  function zoom(factor, x, y) {
    const box = svg.getBoundingClientRect();
    const px = x === undefined ? box.width / 2 : x - box.left, py = y === undefined ? box.height / 2 : y - box.top;
    const k = Math.min(4, Math.max(0.04, view.k * factor)), real = k / view.k;
    view = { x: px - (px - view.x) * real, y: py - (py - view.y) * real, k };
    look();
  }
  function fit() {
    let left = Infinity, top = Infinity, right = -Infinity, bottom = -Infinity;
    for (const [key, [x, y]] of place) {
      left = Math.min(left, x); top = Math.min(top, y);
      right = Math.max(right, x + card.get(key).w); bottom = Math.max(bottom, y + card.get(key).h);
    }
    const box = svg.getBoundingClientRect();
    if (right < left || !box.width) return;
    const k = Math.min(1.4, (box.width - 48) / (right - left), (box.height - 48) / (bottom - top));
    view = { k, x: (box.width - (right + left) * k) / 2, y: (box.height - (bottom + top) * k) / 2 };
    look();
  }
  function bring(key) { // into sight, large enough to read
    if (!key || !place.has(key)) return;
    const box = svg.getBoundingClientRect(), [x, y] = place.get(key), c = card.get(key);
    const k = Math.max(view.k, 0.8), mx = x + c.w / 2, my = y + c.h / 2;
    const sx = mx * view.k + view.x, sy = my * view.k + view.y;
    if (k === view.k && sx > 60 && sy > 40 && sx < box.width - 60 && sy < box.height - 40) return;
    view = { k, x: box.width / 2 - mx * k, y: box.height / 2 - my * k };
    look();
  }

  // ---- choosing -------------------------------------------------------------------------------
  function mark() {
    svg.classList.toggle("picked", chosen !== null);
    const near = new Set();
    for (const wire of wiresAt.children[state].children) {
      const hot = chosen !== null && (wire.dataset.s === chosen || wire.dataset.t === chosen);
      wire.classList.toggle("hot", hot);
      if (hot) near.add(wire.dataset.s).add(wire.dataset.t);
    }
    for (const [key, e] of element) {
      e.classList.toggle("selected", key === chosen);
      e.classList.toggle("near", near.has(key));
      e.setAttribute("tabindex", key === (chosen || start()) ? "0" : "-1");
    }
  }
  const start = () => place.keys().next().value;
  function choose(key, hit) {
    chosen = key;
    mark();
    tell(key, hit);
    try { history.replaceState(null, "", key ? `#${encodeURIComponent(key)}` : "#"); } catch { /* in a frame */ }
  }
  function go(key, hit) {
    reveal(key);
    choose(key, hit);
    bring(key);
    element.get(key).focus({ preventScroll: true });
  }

  // ---- panel ----------------------------------------------------------------------------------
  const panel = el("div", { id: "panel", "aria-live": "polite", tabindex: "0" });
  const mono = text => el("span", { class: "mono" }, text);
  function table(rows) {
    return el("table", {}, ...rows.map(row => el("tr", {}, ...row.map((x, i) =>
      el("td", {}, i ? (typeof x === "string" ? mono(x) : x) : x)))));
  }
  const section = (title, ...inside) => inside.length ? [el("h3", {}, title), ...inside] : [];
  const goTo = (key, text) => el("button", { class: "go", type: "button", onclick: () => go(key) }, text || (card.get(key) || {}).title || key);
  function line(c) {
    if (!c.at) return [];
    return section("In the recipe", el("div", { class: "at" }, c.at), c.text ? el("pre", {}, c.text) : null);
  }
  function readers(keys) {
    const found = new Map();
    for (const [s, t, , relation] of data.wires)
      if (keys.has(s) && !keys.has(t)) found.set(t, found.get(t) || relation);
    return [...found];
  }
  const because = relation => relation ? el("span", { class: "rel" }, " — relation edge") : null;
  function tell(key, hit) {
    const c = key && card.get(key);
    panel.replaceChildren(...(c ? folds.has(key) ? aboutFold(c, folds.get(key)) : about(c, hit) : overview()));
    const found = panel.querySelector(".hit");
    if (found) found.scrollIntoView({ block: "center" }); else panel.scrollTop = 0;
  }
  function head(c) {
    return [el("h2", {}, c.title), el("div", { class: "kind" }, c.kind),
      c.change ? el("p", { class: c.change }, el("b", {}, c.change)) : null,
      c.doc ? el("p", {}, c.doc) : null,
      ...(c.changes ? section("What changed", table(c.changes.map(([n, a, b]) => [n, `${a} → ${b}`]))) : [])].filter(Boolean);
  }
  function about(c, hit) {
    const sizes = [["parameters", c.parameters], ["FLOPs per row", c.flops], ["bytes per row", c.bytes]].filter(r => r[1] !== undefined);
    const k = c.kernel, read = readers(new Set([c.key]));
    const inside = (around.get(c.key) || []).map(f => el("p", {}, `Part of ${folds.get(f).name} `,
      el("button", { type: "button", onclick: () => fold(f, true) }, "Fold")));
    return [...head(c), ...inside, ...line(c),
      ...(c.outputs ? section("Output shape", table(c.outputs.map(([p, s]) => [p || "out", s]))) : []),
      ...(sizes.length ? section("Size", table(sizes)) : []),
      ...(k ? section("Kernel", el("p", { class: k.asked === "auto" || k.asked === k.chosen ? "" : "warn" },
        `asked: ${k.asked} → runs: ${k.chosen}${k.why ? ` (${k.why})` : ""}`)) : []),
      ...(c.inputs && c.inputs.length ? section("Reads", el("ul", {}, ...c.inputs.map(([port, node, out, s, rel]) =>
        el("li", {}, port ? `${port} ← ` : "", goTo(node, out ? `${node}.${out}` : node), " ", mono(s), because(rel))))) : []),
      ...(read.length ? section("Read by", el("ul", {}, ...read.map(([t, rel]) => el("li", {}, goTo(t), because(rel))))) : []),
      ...(c.settings && c.settings.length ? section("Settings", table(c.settings)) : []),
      ...["runs", "shares", "was", "note"].flatMap(n => c[n] ? section({ runs: "For inference, computed", shares: "Shares the weights of", was: "Was called", note: "Note" }[n], el("p", {}, c[n])) : []),
      ...(c.features ? section(`Features (${c.features.length})`, el("ul", {}, ...c.features.map(f =>
        el("li", { class: f.name === hit ? "hit" : "" }, el("b", {}, f.name), " ", el("span", { class: "kind" }, f.what), " ", el("span", { class: "at" }, f.at))))) : [])];
  }
  function aboutFold(c, f) {
    const first = card.get(f.members[0]), read = readers(new Set(f.members));
    return [...head(c), el("p", {}, el("button", { type: "button", onclick: () => fold(c.key, false) }, `Open (${f.members.length} nodes)`)),
      ...line(first),
      ...section("Nodes inside", el("ul", {}, ...f.members.map(m => el("li", {}, goTo(m), " ", el("span", { class: "kind" }, card.get(m).kind), " ", mono(card.get(m).shape))))),
      ...(read.length ? section("Read by", el("ul", {}, ...read.map(([t, rel]) => el("li", {}, goTo(t), because(rel))))) : [])];
  }
  function overview() {
    return [el("h2", {}, data.title), ...data.notes.map(n => el("p", { class: "kind" }, n)),
      el("p", {}, "Click a card to see its shape, its size and its line of the recipe. Drag to move, wheel to zoom."),
      el("p", {}, ...["/", " find   ", "↑ ↓ ← →", " walk   ", "Enter", " open or fold   ", "Esc", " back   ", "+", " ", "−", " ", "0", " zoom"].map((t, i) => i % 2 ? t : el("kbd", {}, t))),
      ...data.overview.flatMap(part => section(part.title, table(part.rows))),
      ...(data.folds.length ? section("Folds", el("ul", {}, ...data.folds.map(f => el("li", {}, goTo(shown(f.members[0]), f.name), " ",
        el("span", { class: "kind" }, card.get(f.card).kind), " ",
        el("button", { type: "button", onclick: () => fold(f.card, !closed.has(f.card)) }, closed.has(f.card) ? "Open" : "Fold"))))) : [])];
  }

  // ---- legend ---------------------------------------------------------------------------------
  const MEANING = {
    group: ["features", "columns of the data, looked up and put side by side"],
    block: ["block", "a layer, most often with weights"],
    expression: ["expression", "arithmetic without weights"],
    relation: ["relation", "joins a task's tower with what it reads from other tasks"],
    head: ["head", "makes a task's logit"],
    task: ["task", "a prediction with its label and loss"],
    loss: ["term of the loss", "minimised beside the tasks, in training alone"],
  };
  function swatch(role, inner) {
    const s = shape("svg", { width: 44, height: 18, "aria-hidden": "true" }), g = shape("g", { class: role });
    g.append(inner || shape("rect", { x: 2, y: 2, width: 34, height: 14, rx: role === "task" ? 7 : 4 }));
    s.append(g);
    return s;
  }
  function legend() {
    const words = { added: "only in the second recipe", removed: "only in the first recipe", changed: "in both, but different" };
    const rows = [...data.changes.map(c => [swatch(c), c, words[c]]), ...data.roles.map(r => [swatch(r), ...MEANING[r]])];
    rows.push([swatch("", shape("path", { class: "wire", d: "M2 9 H36", "marker-end": "url(#wire-end)" })), "wire", "a tensor, from the node that makes it down to the one that reads it; the text names a port"]);
    if (data.once) rows.push([swatch("group once"), "once per request", "a thick outline: computed once for all candidates of a request"]);
    if (data.relations) {
      const [s, t] = data.wires.find(w => w[3]), name = k => card.get(k).title;
      rows.push([swatch("", shape("path", { class: "link", d: "M2 9 H36", "marker-end": "url(#link-end)" })), "relation edge",
        `an edge between tasks, from “relations:” in the recipe: the lower task also reads what the upper one learned (here ${name(s)} → ${name(t)})`]);
    }
    if (data.folds.length) rows.push([el("span", { class: "mono" }, "⊕ ⊖"), "fold", "a composite or copies of one node; click the sign to open or fold it"]);
    const list = el("dl", {}, ...rows.flatMap(([sign, name, text]) => [el("dt", {}, sign),
      el("dd", {}, el("b", { class: name === "relation edge" ? "rel" : "" }, name), `: ${text}`)]));
    return el("div", { id: "legend", tabindex: "0" }, el("h3", {}, "Legend"), list);
  }

  // ---- finding --------------------------------------------------------------------------------
  const everything = data.cards.filter(c => !folds.has(c.key)).flatMap(c => [
    { key: c.key, text: c.title, more: `${c.kind} ${c.shape}`, search: `${c.title} ${c.kind} ${c.role}`.toLowerCase() },
    ...(c.features || []).map(f => ({ key: c.key, hit: f.name, text: f.name, more: `feature in ${c.title}`, search: f.name.toLowerCase() })),
  ]);
  const input = el("input", { type: "search", placeholder: "Find a node, block or feature  ( / )", "aria-label": "Find a node, block or feature",
    role: "combobox", "aria-controls": "found", "aria-expanded": "false", autocomplete: "off" });
  const list = el("ul", { id: "found", role: "listbox", hidden: "" });
  let hits = [], at = 0;
  function find() {
    const words = input.value.toLowerCase().split(/\s+/).filter(Boolean);
    const rank = h => (h.text.toLowerCase() === words[0] ? 0 : h.text.toLowerCase().startsWith(words[0]) ? 1 : 2) + (h.hit ? 0.5 : 0);
    hits = words.length ? everything.filter(h => words.every(w => h.search.includes(w))).sort((a, b) => rank(a) - rank(b)).slice(0, 40) : [];
    at = 0;
    list.replaceChildren(...(hits.length ? hits.map((h, i) => el("li", { role: "option", id: `hit${i}`, onpointerdown: e => { e.preventDefault(); take(h); } },
      el("span", {}, h.text), el("small", {}, h.more))) : words.length ? [el("li", {}, "nothing of that name")] : []));
    list.hidden = !words.length;
    input.setAttribute("aria-expanded", String(!list.hidden));
    point();
  }
  function point() {
    [...list.children].forEach((li, i) => li.setAttribute("aria-selected", String(hits.length > 0 && i === at)));
    if (hits.length) { input.setAttribute("aria-activedescendant", `hit${at}`); list.children[at].scrollIntoView({ block: "nearest" }); }
  }
  function take(h) { list.hidden = true; input.setAttribute("aria-expanded", "false"); go(h.key, h.hit); }
  input.addEventListener("input", find);
  input.addEventListener("focus", () => { if (input.value) find(); });
  input.addEventListener("blur", () => { list.hidden = true; });
  input.addEventListener("keydown", e => {
    e.stopPropagation();
    if (e.key === "Enter" && hits.length) take(hits[at]);
    else if (e.key === "Escape") { input.value = ""; find(); svg.focus(); element.get(chosen || start()).focus(); }
    else if (e.key === "ArrowDown" || e.key === "ArrowUp") {
      at = (at + (e.key === "ArrowDown" ? 1 : -1) + hits.length) % Math.max(hits.length, 1);
      point();
      e.preventDefault();
    }
  });

  // ---- pointer and keys -----------------------------------------------------------------------
  const owner = e => { const g = e.target.closest && e.target.closest("[data-card]"); return g ? data.cards[g.dataset.card].key : null; };
  let grip = null, hover = null;
  svg.addEventListener("pointerdown", e => { grip = { x: e.clientX, y: e.clientY, moved: false, id: e.pointerId }; });
  svg.addEventListener("pointermove", e => {
    if (!grip || !(e.buttons & 1)) return;
    const dx = e.clientX - grip.x, dy = e.clientY - grip.y;
    if (!grip.moved && Math.hypot(dx, dy) < 4) return;
    if (!grip.moved) { svg.setPointerCapture(grip.id); svg.classList.add("drag"); }
    grip = { ...grip, x: e.clientX, y: e.clientY, moved: true };
    view = { ...view, x: view.x + dx, y: view.y + dy };
    look();
  });
  svg.addEventListener("pointerup", () => svg.classList.remove("drag"));
  svg.addEventListener("click", e => {
    const key = owner(e), moved = grip && grip.moved;
    grip = null;
    if (moved) return;
    if (e.target.closest(".handle") && key) toggle(key);
    else choose(key);
  });
  svg.addEventListener("dblclick", e => { const key = owner(e); if (key) toggle(key); });
  svg.addEventListener("wheel", e => { e.preventDefault(); zoom(Math.exp(-e.deltaY * (e.deltaMode ? 0.05 : 0.0015)), e.clientX, e.clientY); }, { passive: false });
  svg.addEventListener("pointerover", e => { const key = owner(e); if (key !== hover) { hover = key; tell(key || chosen); } });
  svg.addEventListener("pointerleave", () => { hover = null; tell(chosen); });
  function toggle(key) {
    if (folds.has(key)) return fold(key, false);
    const inside = (around.get(key) || []).filter(f => !closed.has(f));
    if (inside.length) fold(inside[inside.length - 1], true);
  }
  function walk(dx, dy) {
    const from = chosen || hover || start();
    if (!chosen) return go(from);
    const [x, y] = middle(from);
    let best = null, least = Infinity;
    for (const key of place.keys()) {
      const [a, b] = middle(key), along = (a - x) * dx + (b - y) * dy, aside = Math.abs((a - x) * dy) + Math.abs((b - y) * dx);
      if (along > 4 && 2 * along + aside < least) { least = 2 * along + aside; best = key; }
    }
    if (best) go(best);
  }
  const middle = key => [place.get(key)[0] + card.get(key).w / 2, place.get(key)[1] + card.get(key).h / 2];
  const KEYS = {
    "/": () => { input.focus(); input.select(); }, "+": () => zoom(1.25), "=": () => zoom(1.25), "-": () => zoom(0.8), "0": fit,
    Escape: () => choose(null), ArrowUp: () => walk(0, -1), ArrowDown: () => walk(0, 1), ArrowLeft: () => walk(-1, 0), ArrowRight: () => walk(1, 0),
  };
  document.addEventListener("keydown", e => {
    if (e.ctrlKey || e.metaKey || e.altKey || panel.contains(e.target) && e.key.startsWith("Arrow")) return;
    const key = owner(e);
    if (key && (e.key === "Enter" || e.key === " ")) { if (key === chosen) toggle(key); else choose(key); e.preventDefault(); }
    else if (KEYS[e.key] && e.target.tagName !== "INPUT") { KEYS[e.key](); e.preventDefault(); }
  });

  // ---- putting it together --------------------------------------------------------------------
  for (const [key, e] of element) {
    const isFold = folds.has(key), c = card.get(key);
    if (!isFold && !around.has(key)) continue;
    const g = shape("g", { class: "handle", transform: `translate(${c.w} 0)` });
    g.append(shape("circle", { r: 8 }), shape("path", { d: isFold ? "M-4 0 H4 M0 -4 V4" : "M-4 0 H4" }));
    e.append(g);
    if (isFold) { // a pile of cards
      e.classList.add("fold");
      const under = e.querySelector("rect").cloneNode();
      under.setAttribute("transform", "translate(5 5)");
      under.setAttribute("class", "under");
      e.prepend(under);
    }
  }
  redraw();
  const button = (text, act, title) => el("button", { type: "button", onclick: act, title: title || text }, text);
  const bar = el("header", {}, el("h1", {}, data.title), el("span", { class: "notes" }, data.notes[data.notes.length - 1] || ""),
    el("div", { class: "find" }, input, list),
    data.folds.length ? button("Fold all", () => foldAll(true)) : null, data.folds.length ? button("Open all", () => foldAll(false)) : null,
    button("Fit", fit, "Show everything (0)"), button("+", () => zoom(1.25), "Larger (+)"), button("−", () => zoom(0.8), "Smaller (-)"));
  document.body.prepend(bar);
  document.body.append(el("aside", {}, panel, legend()));
  addEventListener("resize", () => { if (!chosen) fit(); });
  fit();
  tell(null);
  let asked = "";
  try { asked = decodeURIComponent(location.hash.slice(1)); } catch { /* not a name of ours */ }
  if (card.has(asked) && !folds.has(asked)) { reveal(asked); choose(asked); bring(asked); }
  document.documentElement.dataset.ready = String(place.size);
})();
