"use strict";
(() => {
  document.documentElement.classList.add("js");
  const narrow = matchMedia("(max-width: 640px)");
  const make = (name, attributes = {}, ...children) => {
    const e = document.createElement(name);
    for (const [k, v] of Object.entries(attributes)) e.setAttribute(k, v);
    e.append(...children);
    return e;
  };
  const bytes = (b) => {
    const units = ["B", "kB", "MB", "GB", "TB", "PB"];
    let k = 0;
    while (b >= 1000 && k < units.length - 1) { b /= 1000; k++; }
    return (b < 10 && k > 0 ? b.toFixed(1) : Math.round(b)) + " " + units[k];
  };
  const count = (n, what) => n + " " + what + (n === 1 ? "" : "s");

  // sortable lets readers sort a table by any column that has a name.
  const sortable = (table) => {
    const heads = [...table.querySelectorAll("th")], body = table.tBodies[0];
    if (body.rows.length < 2) return;
    heads.forEach((th, column) => {
      if (!th.textContent) return;
      const button = make("button", { type: "button" }, th.textContent);
      th.replaceChildren(button);
      button.addEventListener("click", () => {
        const number = th.classList.contains("n");
        const up = th.ariaSort ? th.ariaSort === "descending" : !number; // the first click sorts numbers from the largest
        heads.forEach((h) => h.removeAttribute("aria-sort"));
        th.setAttribute("aria-sort", up ? "ascending" : "descending");
        const key = (tr) => number ? +tr.cells[column].dataset.value : tr.cells[column].textContent;
        const rows = [...body.rows].map((tr, at) => ({ tr, at, k: key(tr) }));
        rows.sort((a, b) => ((number ? a.k - b.k : a.k.localeCompare(b.k, "en", { numeric: true })) || a.at - b.at) * (up ? 1 : -1));
        body.append(...rows.map((r) => r.tr));
      });
    });
  };

  // drawing sets up the map of a platform and returns its data and the functions find, layer and names.
  // It returns null if the platform has no map.
  const drawing = (root, search) => {
    const svg = root.querySelector(".map");
    if (!svg) return null;
    const data = JSON.parse(root.querySelector("script[type='application/json']").textContent);
    const details = root.querySelector(".details"), intro = [...details.childNodes];
    const tiles = [...svg.querySelectorAll(".tile")], groups = [...svg.querySelectorAll(".layer")];
    const layerOf = [];
    data.layers.forEach((l, k) => { for (let i = 0; i < l.count; i++) layerOf.push(k); });
    const users = data.names.map(() => []);
    data.refs.forEach((refs, i) => refs.forEach((r) => users[r].push(i)));
    // dependents returns the paths that get a new store hash when path i gets one.
    const dependents = (i) => {
      const seen = new Set(), todo = [i];
      while (todo.length) for (const u of users[todo.pop()]) if (!seen.has(u)) { seen.add(u); todo.push(u); }
      seen.delete(i);
      return seen;
    };
    let colouring = 0;
    const state = (i) => data.colourings[colouring].states[data.states[i][colouring]];
    tiles.forEach((t, i) => {
      const title = t.querySelector("title"); // without a tooltip, because the details contain more
      t.setAttribute("aria-label", title.textContent);
      title.remove();
      t.tabIndex = i === 0 ? 0 : -1;
      t.dataset.tile = i;
    });

    // These functions place layers and tiles for the window's width, and shorten names that do not fit.
    const place = (e, [x, y, w, h]) => { for (const [k, v] of Object.entries({ x, y, width: w, height: h })) e.setAttribute(k, v + "%"); };
    const placed = (e) => ["x", "y", "width", "height"].map((k) => parseFloat(e.getAttribute(k)));
    const wide = { tiles: tiles.map(placed), layers: groups.map((g) => placed(g.querySelector(".ground"))), heads: groups.map((g) => [g.querySelector(".head text").textContent, g.querySelector(".head").getAttribute("height")]) };
    const tall = { tiles: data.tall, layers: data.tallLayers, heads: data.tallHeads.map((s) => [s, s ? data.headHeight + "%" : "0"]) };
    const pen = document.createElement("canvas").getContext("2d");
    const fit = (text, s, width) => {
      pen.font = getComputedStyle(text).font;
      let t = s;
      if (pen.measureText(s).width > width) {
        let lo = 0, hi = s.length;
        while (lo < hi) { const m = (lo + hi + 1) >> 1; if (pen.measureText(s.slice(0, m) + "…").width <= width) lo = m; else hi = m - 1; }
        t = lo > 2 ? s.slice(0, lo) + "…" : "";
      }
      if (text.textContent !== t) text.textContent = t;
    };
    const layout = () => {
      const form = narrow.matches ? tall : wide, W = svg.clientWidth / 100, H = svg.clientHeight / 100;
      if (!W) return; // the map is hidden, because another platform is shown
      tiles.forEach((t, i) => {
        place(t, form.tiles[i]);
        const [, , w, h] = form.tiles[i], name = t.querySelector(".n"), size = t.querySelector(".s");
        if (name) fit(name, h * H > 15 ? data.names[i] : "", w * W - 7);
        if (size) fit(size, h * H > 33 ? bytes(data.sizes[i]) : "", w * W - 7);
      });
      groups.forEach((g, k) => {
        for (const e of g.querySelectorAll(".ground, .edge")) place(e, form.layers[k]);
        const head = g.querySelector(".head"), [text, height] = form.heads[k];
        place(head, form.layers[k]);
        head.setAttribute("height", height);
        fit(head.firstChild, text, form.layers[k][2] * W - 9);
      });
      mark(shown);
    };

    const cursor = document.createElementNS("http://www.w3.org/2000/svg", "svg");
    cursor.classList.add("cursor");
    for (let k = 0; k < 2; k++) {
      const r = document.createElementNS("http://www.w3.org/2000/svg", "rect");
      r.setAttribute("width", "100%"); r.setAttribute("height", "100%");
      cursor.append(r);
    }
    cursor.setAttribute("aria-hidden", "true");
    const mark = (i) => {
      if (i < 0) { cursor.remove(); return; }
      for (const k of ["x", "y", "width", "height"]) cursor.setAttribute(k, tiles[i].getAttribute(k));
      svg.append(cursor);
    };
    const light = (set) => {
      svg.classList.toggle("picked", !!set);
      tiles.forEach((t, i) => t.classList.toggle("lit", !!set && set.has(i)));
    };

    let shown = -1, pinned = -1, found = null, layer = 0;
    const layerName = (k) => "layer " + (k + 1) + (data.layers[k].name ? ", " + data.layers[k].name : "");
    const links = (title, list) => {
      if (!list.length) return [];
      const ul = make("ul");
      const sorted = [...list].sort((a, b) => data.sizes[b] - data.sizes[a] || a - b);
      for (const i of sorted.slice(0, 8)) {
        const b = make("button", { type: "button" }, data.names[i]);
        b.addEventListener("click", () => { pick(i); tiles[i].focus(); });
        ul.append(make("li", {}, b));
      }
      if (list.length > 8) ul.append(make("li", {}, "and " + (list.length - 8) + " more"));
      return [make("div", {}, make("b", {}, title), ul)];
    };
    const describe = (i) => {
      const up = dependents(i), l = data.layers[layerOf[i]], touched = new Set([layerOf[i]]);
      for (const u of up) touched.add(layerOf[u]);
      const changed = [...touched].map((k) => data.layers[k]), compressed = changed.every((c) => c.pull);
      const pulled = bytes(changed.reduce((n, c) => n + (compressed ? c.pull : c.size), 0)) + (compressed ? "" : ", unpacked");
      const dl = make("dl");
      const row = (k, v) => dl.append(make("dt", {}, k), make("dd", {}, v));
      row("Unpacked", bytes(data.sizes[i]));
      data.colourings.forEach((c, k) => { const s = c.states[data.states[i][k]]; row(k === 0 && data.colourings.length > 1 ? "Chance" : "State", s.words); });
      row("In", layerName(layerOf[i]) + ": " + count(l.count, "path") + ", " + bytes(l.size) + " unpacked" + (l.pull ? ", " + bytes(l.pull) + " compressed" : "") + (l.framed ? ", " + data.frame : ""));
      if (l.holds) row("Holds", l.holds);
      if (l.why) row("Why", l.why);
      const close = make("button", { type: "button", class: "close", "aria-label": "Close the details" }, "×");
      close.addEventListener("click", () => { pick(-1); tiles[i].focus({ preventScroll: true }); });
      const out = [...(pinned >= 0 ? [close] : []), make("h3", {}, data.names[i]), dl];
      if (data.paths[i]) {
        const impact = make("p", { class: "impact" });
        impact.append("If it changes, ", make("b", {}, up.size ? count(up.size, "other path") : "no other path"), up.size === 1 ? " changes" : up.size ? " change" : " changes",
          " with it, and a client pulls ", make("b", {}, count(touched.size, "layer")), " of ", make("b", {}, pulled), ".");
        out.push(impact, ...links("Used by", users[i]), ...links("Refers to", data.refs[i]), make("code", {}, data.paths[i]));
      }
      return out;
    };
    const show = (i) => {
      if (i === shown && i !== pinned) return;
      shown = i;
      mark(i);
      details.classList.toggle("picked", i >= 0 && pinned >= 0);
      details.replaceChildren(...(i < 0 ? intro : describe(i)));
      details.scrollTop = 0;
      if (i >= 0) light(new Set([i, ...dependents(i)]));
      else if (found) light(found);
      else if (layer) light(new Set(layerOf.flatMap((k, j) => k === layer - 1 ? [j] : [])));
      else light(null);
    };
    const pick = (i) => {
      pinned = i;
      tiles.forEach((t, k) => t.setAttribute("aria-selected", k === i));
      shown = -2;
      show(i);
      if (i >= 0) rove(i);
    };
    const rove = (i) => { for (const t of tiles) if (t.tabIndex === 0) t.tabIndex = -1; tiles[i].tabIndex = 0; };

    const tileOf = (e) => { const t = e.target.closest(".tile"); return t ? +t.dataset.tile : -1; };
    svg.addEventListener("pointermove", (e) => { if (pinned < 0 && e.pointerType !== "touch") { const i = tileOf(e); if (i !== shown) show(i); } });
    svg.addEventListener("pointerleave", () => { if (pinned < 0 && !svg.contains(document.activeElement)) show(-1); });
    svg.addEventListener("click", (e) => { const i = tileOf(e); pick(i === pinned ? -1 : i); });
    svg.addEventListener("focusin", (e) => { const i = tileOf(e); if (i >= 0 && pinned < 0 && e.target.matches(":focus-visible")) show(i); });
    svg.addEventListener("focusout", (e) => { if (pinned < 0 && !root.contains(e.relatedTarget)) show(-1); });
    // next returns the nearest tile in a direction. It prefers tiles straight ahead to tiles at
    // the side.
    const next = (i, dx, dy) => {
      const form = narrow.matches ? tall : wide, W = svg.clientWidth, H = svg.clientHeight;
      const [x0, y0, w0, h0] = form.tiles[i], x = (x0 + w0 / 2) * W, y = (y0 + h0 / 2) * H;
      let best = i, least = Infinity;
      form.tiles.forEach(([tx, ty, tw, th], k) => {
        const ax = (tx + tw / 2) * W - x, ay = (ty + th / 2) * H - y;
        const ahead = ax * dx + ay * dy, edge = dx > 0 ? tx >= x0 + w0 - 0.05 : dx < 0 ? tx + tw <= x0 + 0.05 : dy > 0 ? ty >= y0 + h0 - 0.05 : ty + th <= y0 + 0.05;
        if (k === i || ahead <= 0 || !edge) return;
        const aside = Math.max(0, dx ? Math.abs(ay) - (th + h0) / 2 * H : Math.abs(ax) - (tw + w0) / 2 * W);
        const cost = ahead + 4 * aside + 0.05 * Math.abs(dx ? ay : ax);
        if (cost < least) { least = cost; best = k; }
      });
      return best;
    };
    svg.addEventListener("keydown", (e) => {
      const i = tileOf(e), way = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[e.key];
      if (i < 0 || e.ctrlKey || e.metaKey || e.altKey) return;
      if (way) {
        const to = next(i, ...way);
        rove(to);
        if (pinned >= 0) pick(to);
        tiles[to].focus();
        show(to);
      } else if (e.key === "Enter" || e.key === " ") pick(pinned === i ? -1 : i);
      else return;
      e.preventDefault();
    });
    addEventListener("keydown", (e) => {
      if (!root.offsetParent || e.key !== "Escape") return;
      layer = 0;
      if (search && search.value) { search.value = ""; search.dispatchEvent(new Event("input")); }
      pick(-1);
    });

    // Let the reader choose the meaning of the colours.
    if (data.colourings.length > 1) {
      const legends = [...root.querySelectorAll(".legend .colouring")].slice(0, data.colourings.length);
      const choose = (k) => {
        colouring = k;
        legends.forEach((l, j) => l.classList.toggle("idle", j !== k));
        const all = new Set(data.colourings.flatMap((c) => c.states.map((s) => s.class)));
        tiles.forEach((t, i) => { t.classList.remove(...all); t.classList.add(state(i).class); });
      };
      legends.forEach((l, k) => {
        const b = l.querySelector("b"), radio = make("input", { type: "radio", name: "colouring-" + root.id });
        radio.checked = k === 0;
        radio.addEventListener("change", () => choose(k));
        b.replaceWith(make("label", {}, radio, b.cloneNode(true)));
      });
      choose(0);
    }
    layout();
    new ResizeObserver(layout).observe(svg);
    return {
      data,
      find: (set) => { found = set; pinned = -1; shown = -2; show(-1); },
      layer: (k) => { if (pinned < 0 && layer !== k) { layer = k; shown = -2; show(-1); } },
      names: (k) => { const l = data.layers[k]; return data.names.slice(l.first, l.first + l.count); },
    };
  };

  const platform = (root) => {
    root.querySelectorAll("table").forEach(sortable);
    const rows = [...root.querySelectorAll("section tbody tr")];
    const input = make("input", { type: "search", placeholder: "package, path or layer", "aria-label": "Search", autocomplete: "off", spellcheck: "false" });
    const result = make("span", { role: "status" });
    const box = make("div", { class: "search" }, make("label", {}, input), result);
    let bar = root.querySelector(".bar");
    if (!bar) {
      bar = make("div", { class: "bar" });
      if (rows.length > 5) root.insertBefore(bar, root.querySelector("section"));
    }
    bar.append(box);
    const map = drawing(root, input);
    const text = new Map(rows.map((tr) => [tr, tr.textContent.toLowerCase()]));
    const folds = [...root.querySelectorAll(".fold")];
    let open = null; // the folds that were open before the search; null if there is no search
    const search = () => {
      const q = input.value.trim().toLowerCase();
      if (q && !open) open = folds.map((f) => f.open);
      let found = null, inLayers = new Set();
      if (q && map) {
        found = new Set();
        map.data.layers.forEach((l, k) => {
          for (let i = l.first; i < l.first + l.count; i++) {
            if (map.data.names[i].toLowerCase().includes(q) || map.data.paths[i].toLowerCase().includes(q) || l.name.toLowerCase().includes(q)) { found.add(i); inLayers.add(k + 1); }
          }
        });
      }
      rows.forEach((tr) => { tr.hidden = !!q && !text.get(tr).includes(q) && !inLayers.has(+tr.dataset.layer); });
      folds.forEach((f, i) => { f.open = q ? !!f.querySelector("tbody tr:not([hidden])") : open ? open[i] : f.open; });
      if (!q) open = null;
      let size = 0;
      if (found) for (const i of found) size += map.data.sizes[i];
      result.textContent = !q ? "" : found ? count(found.size, "tile") + ", " + bytes(size) : count(rows.filter((tr) => !tr.hidden).length, "row");
      if (map) map.find(found);
    };
    input.addEventListener("input", search);
    addEventListener("keydown", (e) => {
      if (e.key === "/" && root.offsetParent && !e.target.closest("input")) { e.preventDefault(); input.focus(); }
    });
    rows.forEach((tr) => {
      if (!tr.dataset.layer) return;
      const k = +tr.dataset.layer, more = tr.querySelector("details");
      tr.tabIndex = 0;
      if (map) {
        for (const e of ["pointerenter", "focusin"]) tr.addEventListener(e, () => map.layer(k));
        for (const e of ["pointerleave", "focusout"]) tr.addEventListener(e, () => map.layer(0));
      }
      tr.addEventListener("keydown", (e) => {
        if (e.target !== tr) return;
        const to = { ArrowDown: "nextElementSibling", ArrowUp: "previousElementSibling" }[e.key];
        if (to) {
          let n = tr[to];
          while (n && n.hidden) n = n[to];
          if (n) n.focus();
        } else if (e.key === "Enter" && more) more.open = !more.open;
        else return;
        e.preventDefault();
      });
    });
  };

  const roots = [...document.querySelectorAll(".platform")], tabs = [...document.querySelectorAll(".tab")];
  roots.forEach(platform);
  if (tabs.length) {
    document.body.classList.add("tabs");
    const choose = () => {
      const at = Math.max(0, roots.findIndex((r) => "#" + r.id === location.hash));
      roots.forEach((r, i) => { r.hidden = i !== at; });
      tabs.forEach((t, i) => { if (i === at) t.setAttribute("aria-current", "true"); else t.removeAttribute("aria-current"); });
      scrollTo(0, 0);
    };
    addEventListener("hashchange", choose);
    choose();
  }
})();
