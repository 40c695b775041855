"use strict";
// treemap draws data into the parts of root: see pageData for what it is.
const treemap = (root, data) => {
  const $ = (name) => root.querySelector("." + name);
  const canvas = $("map"), ctx = canvas.getContext("2d"), tip = $("tip"), status = $("status"), query = $("q");
  const intro = status.textContent;
  const n = data.names.length;
  const total = data.sizes.reduce((a, b) => a + b, 0);
  const layerOf = new Int32Array(n);
  data.layers.forEach((l, k) => { for (let i = 0; i < l.count; i++) layerOf[l.first + i] = k; });

  const users = Array.from({ length: n }, () => []);
  data.refs.forEach((refs, i) => refs.forEach((r) => users[r].push(i)));
  // Everything that gets a new store hash when path i does.
  const dependents = (i) => {
    const seen = new Set(), todo = [i];
    while (todo.length) for (const u of users[todo.pop()]) if (!seen.has(u)) { seen.add(u); todo.push(u); }
    return seen;
  };

  const bytes = (b) => {
    const units = ["B", "kB", "MB", "GB", "TB"];
    let k = 0;
    while (b >= 1000 && k < units.length - 1) { b /= 1000; k++; }
    return (b < 10 && k > 0 ? b.toFixed(1) : Math.round(b)) + " " + units[k];
  };
  const words = (c) => data.words.find((w) => c >= w.least).text;
  const plural = (k, what) => k + " " + what + (k === 1 ? "" : "s");
  const escape = (s) => s.replace(/[&<>"]/g, (c) => ({ "&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;" })[c]);

  // The legend's scale, blue to red: told apart by all kinds of colour vision.
  const stops = [[29, 79, 124], [59, 139, 176], [165, 201, 179], [240, 176, 97], [213, 68, 60]];
  const shade = (c) => {
    // Most chances are small: the power spreads them over the scale.
    const x = Math.min(Math.max(c, 0), 1) ** 0.7 * (stops.length - 1), k = Math.min(Math.floor(x), stops.length - 2), t = x - k;
    return stops[k].map((v, j) => Math.round(v + (stops[k + 1][j] - v) * t));
  };
  const css = (rgb, a = 1) => `rgba(${rgb.join(",")},${a})`;
  const ink = ([r, g, b]) => 0.299 * r + 0.587 * g + 0.114 * b > 145 ? "#10181f" : "#fff";

  // Squarified treemap (Bruls, Huizing, van Wijk 2000): rows as square as can be.
  const squarify = (items, x, y, w, h, place) => {
    let i = 0, left = items.reduce((s, it) => s + it.v, 0);
    while (i < items.length && w > 0 && h > 0 && left > 0) {
      const side = Math.min(w, h), scale = w * h / left;
      let row = 0, worst = Infinity, j = i;
      for (; j < items.length; j++) {
        const sum = row + items[j].v, a = sum * scale;
        const ratio = Math.max(side * side * items[i].v * scale / (a * a), a * a / (side * side * Math.max(items[j].v * scale, 1e-9)));
        if (j > i && ratio > worst) break;
        worst = ratio; row = sum;
      }
      const depth = row * scale / side;
      let at = 0;
      for (let k = i; k < j; k++) {
        const len = row > 0 ? side * items[k].v / row : 0;
        if (w >= h) place(items[k], x, y + at, depth, len); else place(items[k], x + at, y, len, depth);
        at += len;
      }
      if (w >= h) { x += depth; w -= depth; } else { y += depth; h -= depth; }
      left -= row; i = j;
    }
  };

  let boxes = [], tiles = new Array(n), W = 0, H = 0;
  const layout = () => {
    const r = canvas.parentElement.getBoundingClientRect(), dpr = window.devicePixelRatio || 1;
    W = r.width; H = r.height;
    canvas.width = Math.round(W * dpr); canvas.height = Math.round(H * dpr);
    ctx.setTransform(dpr, 0, 0, dpr, 0, 0);
    boxes = []; tiles = new Array(n);
    const items = data.layers.map((l, k) => ({ k, v: Math.max(l.size, total / 20000) })).sort((a, b) => b.v - a.v || a.k - b.k);
    squarify(items, 2, 2, W - 4, H - 4, ({ k }, x, y, w, h) => {
      const l = data.layers[k];
      const pad = Math.min(1.5, w / 6, h / 6);
      const box = { k, x: x + pad, y: y + pad, w: w - 2 * pad, h: h - 2 * pad };
      // A layer of several paths has a head line where there is room for one.
      box.head = l.count > 1 && box.w > 74 && box.h > 46 ? 15 : 0;
      boxes.push(box);
      const inner = [];
      for (let i = l.first; i < l.first + l.count; i++) inner.push({ i, v: Math.max(data.sizes[i], l.size / 5000, 1) });
      inner.sort((a, b) => b.v - a.v || a.i - b.i);
      squarify(inner, box.x, box.y + box.head, box.w, box.h - box.head, ({ i }, x, y, w, h) => { tiles[i] = { x, y, w, h }; });
    });
    draw();
  };

  const fit = (s, w) => {
    if (ctx.measureText(s).width <= w) return s;
    let lo = 0, hi = s.length;
    while (lo < hi) { const m = (lo + hi + 1) >> 1; if (ctx.measureText(s.slice(0, m) + "…").width <= w) lo = m; else hi = m - 1; }
    return lo > 1 ? s.slice(0, lo) + "…" : "";
  };

  let hover = -1, pinned = -1, layer = -1, found = null;
  const draw = () => {
    ctx.clearRect(0, 0, W, H);
    const one = pinned >= 0 ? pinned : hover;
    const above = one >= 0 ? dependents(one) : null;
    const lit = (i) => above ? i === one || above.has(i) : found ? found.has(i) : layer >= 0 ? layerOf[i] === layer : true;
    ctx.textBaseline = "top";
    for (const b of boxes) {
      const l = data.layers[b.k], rgb = shade(l.chance);
      ctx.fillStyle = css(rgb, l.count ? 0.28 : 1); ctx.fillRect(b.x, b.y, b.w, b.h);
      if (b.head) {
        ctx.font = "600 11px system-ui, 'DejaVu Sans', sans-serif"; ctx.fillStyle = "#dfe7ee";
        ctx.fillText(fit(`${b.k + 1}  ${l.name || plural(l.count, "path")} · ${bytes(l.size)}`, b.w - 8), b.x + 4, b.y + 3);
      }
      for (let i = l.first; i < l.first + l.count; i++) {
        const t = tiles[i];
        if (!t) continue;
        const c = shade(data.chance[i]), on = lit(i), gap = t.w > 5 && t.h > 5 ? 0.5 : 0;
        ctx.fillStyle = css(c, on ? 1 : 0.16);
        ctx.fillRect(t.x + gap, t.y + gap, t.w - 2 * gap, t.h - 2 * gap);
        if (t.w > 38 && t.h > 15) {
          const size = Math.max(10, Math.min(16, t.w / 9, t.h / 3));
          ctx.font = `500 ${size}px system-ui, 'DejaVu Sans', sans-serif`;
          ctx.fillStyle = on ? ink(c) : "#9aa7b344";
          ctx.fillText(fit(data.names[i], t.w - 8), t.x + 4, t.y + 3);
          if (t.h > 2.6 * size && t.w > 46) {
            ctx.font = `${size * 0.85}px system-ui, 'DejaVu Sans', sans-serif`;
            ctx.globalAlpha = on ? 0.8 : 0.3; ctx.fillText(fit(bytes(data.sizes[i]), t.w - 8), t.x + 4, t.y + 5 + size); ctx.globalAlpha = 1;
          }
        }
      }
    }
    for (const b of boxes) {
      if (!data.layers[b.k].mark) continue;
      const w = Math.min(2, b.w / 4, b.h / 4);
      ctx.lineWidth = w; ctx.strokeStyle = "#f4604f"; ctx.strokeRect(b.x + w / 2, b.y + w / 2, b.w - w, b.h - w);
    }
    if (one >= 0 && tiles[one]) {
      const t = tiles[one];
      ctx.lineWidth = 2.5; ctx.strokeStyle = "#fff"; ctx.strokeRect(t.x + 1, t.y + 1, t.w - 2, t.h - 2);
    }
    if (found) for (const i of found) {
      const t = tiles[i];
      if (t) { ctx.lineWidth = 1.5; ctx.strokeStyle = "#fff"; ctx.strokeRect(t.x + 0.5, t.y + 0.5, Math.max(t.w - 1, 1), Math.max(t.h - 1, 1)); }
    }
  };

  const at = (x, y) => {
    for (const b of boxes) {
      if (x < b.x || y < b.y || x > b.x + b.w || y > b.y + b.h) continue;
      const l = data.layers[b.k];
      for (let i = l.first; i < l.first + l.count; i++) {
        const t = tiles[i];
        if (t && x >= t.x && y >= t.y && x <= t.x + t.w && y <= t.y + t.h) return i;
      }
    }
    return -1;
  };

  const describe = (i) => {
    const up = dependents(i), l = data.layers[layerOf[i]];
    let size = data.sizes[i];
    const touched = new Set([layerOf[i]]);
    for (const u of up) { size += data.sizes[u]; touched.add(layerOf[u]); }
    const names = users[i].map((u) => data.names[u]).sort();
    return { up, l, size, touched, names };
  };
  const show = (i, x, y) => {
    if (i < 0) { tip.hidden = true; status.textContent = intro; return; }
    const d = describe(i);
    const list = d.names.slice(0, 6).map((s) => `<li>${escape(s)}</li>`).join("") + (d.names.length > 6 ? `<li>and ${d.names.length - 6} more</li>` : "");
    tip.innerHTML = `<b>${escape(data.names[i])}</b><span>${bytes(data.sizes[i])} · ${words(data.chance[i])} · ${data.hashes[i].slice(0, 8)}…</span>` +
      `<span>layer ${layerOf[i] + 1}${d.l.name ? " " + escape(d.l.name) : ""}, ${bytes(d.l.size)}${d.l.reason ? ": " + escape(d.l.reason) : ""}</span>` +
      (d.names.length ? `<span>used by</span><ul>${list}</ul>` : "<span>nothing refers to it</span>");
    status.innerHTML = `When <b>${escape(data.names[i])}</b> changes, <b>${plural(d.up.size, "path")}</b> that depend on it change too: <b>${bytes(d.size)}</b> in <b>${plural(d.touched.size, "layer")}</b>.`;
    tip.hidden = false;
    const r = tip.getBoundingClientRect();
    tip.style.left = Math.max(8, Math.min(x + 16, innerWidth - r.width - 8)) + "px";
    tip.style.top = (y + 18 + r.height > innerHeight ? Math.max(8, y - r.height - 14) : y + 18) + "px";
  };

  const local = (e) => { const r = canvas.getBoundingClientRect(); return [e.clientX - r.left, e.clientY - r.top]; };
  canvas.addEventListener("pointermove", (e) => {
    if (pinned >= 0) return;
    const i = at(...local(e));
    if (i !== hover) { hover = i; draw(); }
    show(i, e.clientX, e.clientY);
  });
  canvas.addEventListener("pointerleave", () => { if (pinned < 0) { hover = -1; show(-1); draw(); } });
  canvas.addEventListener("click", (e) => {
    const i = at(...local(e));
    pinned = pinned === i ? -1 : i; hover = i;
    show(i, e.clientX, e.clientY); draw();
  });
  addEventListener("keydown", (e) => {
    if (!canvas.offsetParent) return; // another platform is shown
    if (e.key === "Escape") { pinned = hover = layer = -1; query.value = ""; search(); show(-1); draw(); }
    if (e.key === "/" && document.activeElement !== query) { e.preventDefault(); query.focus(); }
  });

  const rows = [...root.querySelectorAll(".layers tr[data-layer]")];
  rows.forEach((tr) => {
    const k = +tr.dataset.layer;
    tr.addEventListener("pointerenter", () => { layer = k; draw(); });
    tr.addEventListener("pointerleave", () => { layer = -1; draw(); });
  });
  const search = () => {
    const q = query.value.trim().toLowerCase();
    found = null;
    if (q) {
      found = new Set();
      data.names.forEach((s, i) => { if (s.toLowerCase().includes(q) || data.hashes[i].startsWith(q) || data.layers[layerOf[i]].name.toLowerCase().includes(q)) found.add(i); });
    }
    const hit = found && new Set([...found].map((i) => layerOf[i]));
    rows.forEach((tr) => { tr.classList.toggle("off", !!hit && !hit.has(+tr.dataset.layer)); tr.classList.toggle("on", !!hit && hit.has(+tr.dataset.layer)); });
    if (found) {
      let size = 0;
      for (const i of found) size += data.sizes[i];
      status.innerHTML = `<b>${plural(found.size, "path")}</b>, ${bytes(size)}, in <b>${plural(hit.size, "layer")}</b>.`;
    } else status.textContent = intro;
    draw();
  };
  query.addEventListener("input", () => { pinned = hover = -1; tip.hidden = true; search(); });

  root.querySelectorAll("i[data-chance]").forEach((i) => { i.style.background = css(shade(+i.dataset.chance)); });
  root.querySelectorAll(".bar span[data-whole]").forEach((s) => {
    const whole = +s.dataset.whole || 1;
    for (const [v, c] of [[+s.dataset.least, "#3b8bb0"], [Math.max(+s.dataset.excess, 0), "#d5443c"]]) {
      const b = document.createElement("i");
      b.style.cssText = `width:${100 * v / whole}%;background:${c}`;
      s.append(b);
    }
  });
  new ResizeObserver(layout).observe(canvas.parentElement);
};

document.querySelectorAll(".platform").forEach((root) => {
  const data = root.querySelector("script[type='application/json']");
  if (data) treemap(root, JSON.parse(data.textContent));
});
const platforms = [...document.querySelectorAll(".platform")], tabs = [...document.querySelectorAll("nav button")];
const choose = (n) => {
  platforms.forEach((p, i) => { p.hidden = i !== n; });
  tabs.forEach((t, i) => t.setAttribute("aria-selected", i === n));
};
tabs.forEach((t, i) => t.addEventListener("click", () => choose(i)));
if (tabs.length) choose(0);
