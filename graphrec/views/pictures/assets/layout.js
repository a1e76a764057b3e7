"use strict";
// Places for the cards after folding: the same four steps as graphrec/viz/layout.py, which places
// the first drawing. Layers; long wires cut at every layer; barycentres; least squares.
const layOut = (() => {
  const GAP = 30, BETWEEN = 54, PASS = 18, SWEEPS = 16, ROUNDS = 3, RELAX = 20;

  // cards: [{key, w, h, role}], edges: [{s, t, kind}]; edges that go in a circle are left out.
  function layersOf(cards, edges) {
    const below = new Map(cards.map(c => [c.key, []]));
    const above = new Map(cards.map(c => [c.key, []]));
    for (const e of edges) { below.get(e.s).push(e.t); above.get(e.t).push(e.s); }
    const waiting = new Map(cards.map(c => [c.key, above.get(c.key).length]));
    const layer = new Map(cards.map(c => [c.key, c.role === "group" || waiting.get(c.key) ? 0 : 1]));
    const ready = cards.filter(c => !waiting.get(c.key)).map(c => c.key);
    const order = [];
    while (order.length < cards.length) {
      if (!ready.length) { // a circle: the first card of it goes without what it still waits for
        const stuck = cards.find(c => waiting.get(c.key) > 0).key;
        waiting.set(stuck, 0);
        ready.push(stuck);
      }
      const key = ready.shift();
      order.push(key);
      for (const t of below.get(key)) {
        if (waiting.get(t) <= 0) continue;
        layer.set(t, Math.max(layer.get(t), layer.get(key) + 1));
        waiting.set(t, waiting.get(t) - 1);
        if (!waiting.get(t)) ready.push(t);
      }
    }
    const last = Math.max(0, ...layer.values());
    const role = new Map(cards.map(c => [c.key, c.role]));
    for (const key of order.reverse()) {
      const down = below.get(key).map(t => layer.get(t)).filter(l => l > layer.get(key));
      if (role.get(key) === "task") layer.set(key, last);
      else if (role.get(key) !== "group" && down.length && above.get(key).length < down.length)
        layer.set(key, Math.min(...down) - 1);
    }
    return layer;
  }

  function crossings(layers, below) {
    let count = 0;
    for (let i = 0; i + 1 < layers.length; i++) {
      const at = new Map(layers[i + 1].map((k, n) => [k, n]));
      const ends = layers[i].flatMap(k => (below.get(k) || []).map(t => at.get(t)).sort((a, b) => a - b));
      const tree = new Array(layers[i + 1].length + 1).fill(0);
      ends.forEach((end, seen) => { // a Fenwick tree of the ends so far
        let smaller = 0;
        for (let n = end + 1; n > 0; n -= n & -n) smaller += tree[n];
        count += seen - smaller;
        for (let n = end + 1; n < tree.length; n += n & -n) tree[n]++;
      });
    }
    return count;
  }

  function untangle(layers, above, below) {
    let best = layers.map(l => [...l]), fewest = crossings(layers, below);
    for (let sweep = 0; sweep < SWEEPS && fewest; sweep++) {
      const down = sweep % 2 === 0;
      for (let n = 1; n < layers.length; n++) {
        const row = down ? n : layers.length - 1 - n;
        const fixed = layers[down ? row - 1 : row + 1], near = down ? above : below;
        const at = new Map(fixed.map((k, i) => [k, i / Math.max(fixed.length - 1, 1)]));
        const own = new Map(layers[row].map((k, i) => {
          const places = (near.get(k) || []).filter(o => at.has(o)).map(o => at.get(o));
          const mean = places.reduce((a, b) => a + b, 0) / places.length;
          return [k, places.length ? mean : i / Math.max(layers[row].length - 1, 1)];
        }));
        layers[row].sort((a, b) => own.get(a) - own.get(b));
      }
      const count = crossings(layers, below);
      if (count < fewest) { fewest = count; best = layers.map(l => [...l]); }
    }
    return best;
  }

  // The places nearest to `wanted` that are at least `gaps` apart: pool adjacent violators.
  function settle(wanted, weights, gaps) {
    const pools = [], before = [0];
    for (const gap of gaps) before.push(before[before.length - 1] + gap);
    wanted.forEach((place, i) => {
      let mean = place - before[i], weight = weights[i], count = 1;
      while (pools.length && pools[pools.length - 1][0] > mean) {
        const [m, w, c] = pools.pop();
        mean = (mean * weight + m * w) / (weight + w);
        weight += w;
        count += c;
      }
      pools.push([mean, weight, count]);
    });
    return pools.flatMap(([mean, , count]) => new Array(count).fill(mean)).map((m, i) => m + before[i]);
  }

  function coordinates(layers, links, width) {
    const pulls = new Map(layers.flat().map(k => [k, []]));
    for (const [a, b, weight] of links) { pulls.get(a).push([b, weight]); pulls.get(b).push([a, weight]); }
    const center = new Map();
    const gaps = layers.map(l => l.slice(1).map((k, i) => (width(l[i]) + width(k)) / 2 + GAP));
    layers.forEach((layer, n) => {
      let x = -gaps[n].reduce((a, b) => a + b, 0) / 2;
      layer.forEach((k, i) => { center.set(k, x); x += gaps[n][i] || 0; });
    });
    const weights = layers.map(l => l.map(k => pulls.get(k).reduce((a, [, w]) => a + w, 1e-3)));
    for (let step = 0; step < ROUNDS * RELAX; step++) {
      for (let n = 0; n < layers.length; n++) {
        const row = step % 2 ? layers.length - 1 - n : n;
        const wanted = layers[row].map((k, i) =>
          (pulls.get(k).reduce((a, [o, w]) => a + center.get(o) * w, 0) + center.get(k) * 1e-3) / weights[row][i]);
        settle(wanted, weights[row], gaps[row]).forEach((x, i) => center.set(layers[row][i], x));
      }
    }
    return center;
  }

  return (cards, edges) => {
    const layer = layersOf(cards, edges);
    const down = edges.filter(e => layer.get(e.s) < layer.get(e.t));
    const chains = down.map(e => {
      const passed = [];
      for (let n = layer.get(e.s) + 1; n < layer.get(e.t); n++) passed.push(`${e.s}\n${e.kind}\n${n}`);
      return [e.s, ...passed, e.t];
    });
    const layers = Array.from({ length: Math.max(0, ...layer.values()) + 1 }, () => []);
    for (const c of cards) layers[layer.get(c.key)].push(c.key);
    const size = new Map(cards.map(c => [c.key, c])), links = [], seen = new Set();
    const above = new Map(), below = new Map();
    chains.forEach(chain => chain.forEach((key, i) => {
      const row = layer.get(chain[0]) + i;
      if (!size.has(key) && !seen.has(key)) { seen.add(key); layers[row].push(key); }
      if (!i || seen.has(`${chain[i - 1]}\r${key}`)) return;
      const previous = chain[i - 1];
      seen.add(`${previous}\r${key}`);
      links.push([previous, key, [1, 1, 4][!size.has(previous) + !size.has(key)]]);
      if (!below.has(previous)) below.set(previous, []);
      if (!above.has(key)) above.set(key, []);
      below.get(previous).push(key);
      above.get(key).push(previous);
    }));
    const ordered = untangle(layers, above, below);
    const center = coordinates(ordered, links, key => size.has(key) ? size.get(key).w : PASS);
    const bands = new Map(), boxes = new Map();
    let y = 0;
    for (const row of ordered) {
      const height = Math.max(0, ...row.map(k => size.has(k) ? size.get(k).h : 0));
      row.forEach(k => bands.set(k, [y, y + height]));
      y += height + BETWEEN;
    }
    for (const c of cards) {
      const [top, bottom] = bands.get(c.key);
      boxes.set(c.key, [center.get(c.key) - c.w / 2, (top + bottom - c.h) / 2]);
    }
    // Wires arrive side by side, in the order they come from.
    const coming = new Map();
    chains.forEach((chain, i) => {
      const target = chain[chain.length - 1];
      if (!coming.has(target)) coming.set(target, []);
      coming.get(target).push([center.get(chain[chain.length - 2]), i]);
    });
    const routes = new Map();
    for (const [target, list] of coming) {
      list.sort((a, b) => a[0] - b[0]);
      const step = Math.min(22, size.get(target).w * 0.7 / list.length);
      list.forEach(([, i], n) => {
        const chain = chains[i], points = [];
        chain.slice(0, -1).forEach(k => bands.get(k).forEach(edge => points.push([center.get(k), edge])));
        points[0] = [points[0][0], boxes.get(chain[0])[1] + size.get(chain[0]).h];
        const x = center.get(target) + (n - (list.length - 1) / 2) * step;
        points.push([x, bands.get(target)[0]], [x, boxes.get(target)[1]]);
        routes.set(down[i], points);
      });
    }
    return { boxes, routes };
  };
})();
