"use strict";
// The map of the report: a squarified treemap (Bruls, Huizing, van Wijk 2000) of the build's files.
// Names come from packages: they are set as text, never as markup.
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const $ = (id) => document.getElementById(id);
  const COLOURS = 12; // classes k0 to k11; the rest is grey
  const HEAD = 20; // px of a box's own label
  const TINY = 150; // px² below which boxes are gathered into one
  const SLIVER = 7; // px that a box has at least, so that it can be hit
  const MOST = 0.995; // a box with one child that takes so much opens that child
  const state = { group: "layer", measure: "size", node: null };

  // --- the tree -------------------------------------------------------------------------------

  function build(group) {
    const root = { name: data.name, kind: "build", kids: new Map() };
    const { names, folders, sizes, zipped, distributions, layers } = data.files;
    for (let i = 0; i < names.length; i++) {
      let node = root;
      const steps = [[data.distributions[distributions[i]], "distribution"]];
      if (group === "layer") steps.unshift([data.layers[layers[i]], "layer"]);
      const folder = data.folders[folders[i]];
      if (folder) for (const part of folder.split("/")) steps.push([part, "folder"]);
      for (const [name, kind] of steps) {
        const key = `${kind}/${name}`;
        if (!node.kids.has(key)) node.kids.set(key, { name, kind, kids: new Map() });
        node = node.kids.get(key);
      }
      const path = folder ? `${folder}/${names[i]}` : names[i];
      node.kids.set(`file/${names[i]}/${i}`, {
        name: names[i], kind: "file", path, size: sizes[i], zipped: zipped[i], count: 1,
        distribution: distributions[i], layer: layers[i],
      });
    }
    return finish(root, null);
  }

  // Sums sizes, and joins a box that holds nothing but one other box with it.
  function finish(node, parent) {
    node.parent = parent;
    if (node.kind === "file") return node;
    while (parent && node.kids.size === 1) {
      const [only] = node.kids.values();
      if (only.kind === "file") break;
      node.name += (node.kind === "folder" ? "/" : " › ") + only.name;
      node.kind = only.kind;
      node.kids = only.kids;
    }
    node.children = [...node.kids.values()].map((child) => finish(child, node));
    delete node.kids;
    return sum(node);
  }

  function sum(node) {
    node.size = node.zipped = node.count = 0;
    node.distribution = node.children[0]?.distribution ?? -1;
    node.layer = node.children[0]?.layer ?? -1;
    for (const child of node.children) {
      node.size += child.size;
      node.zipped += child.zipped;
      node.count += child.count;
      if (child.distribution !== node.distribution) node.distribution = -1;
      if (child.layer !== node.layer) node.layer = -1;
    }
    return node;
  }

  const value = (node) => node[state.measure];

  // --- the layout -----------------------------------------------------------------------------

  // Rectangles {node, x, y, w, h} for `nodes` (largest first) in the given box.
  function squarify(nodes, x, y, w, h) {
    const placed = [];
    let rest = nodes.reduce((total, node) => total + value(node), 0);
    let start = 0;
    while (start < nodes.length && rest > 0 && w > 0 && h > 0) {
      const scale = (w * h) / rest;
      const side = Math.min(w, h);
      let end = start, row = 0, worst = Infinity;
      while (end < nodes.length) {
        const next = row + value(nodes[end]);
        const area = next * scale;
        const low = value(nodes[end]) * scale, high = value(nodes[start]) * scale;
        const ratio = Math.max((side * side * high) / (area * area), (area * area) / (side * side * low));
        if (ratio > worst) break;
        worst = ratio;
        row = next;
        end++;
      }
      const thick = (row * scale) / side;
      let at = 0;
      for (let i = start; i < end; i++) {
        const long = (value(nodes[i]) / row) * side;
        placed.push(w >= h
          ? { node: nodes[i], x, y: y + at, w: thick, h: long }
          : { node: nodes[i], x: x + at, y, w: long, h: thick });
        at += long;
      }
      if (w >= h) { x += thick; w -= thick; } else { y += thick; h -= thick; }
      rest -= row;
      start = end;
    }
    return placed;
  }

  // A node's children, largest first; those too small to hit are gathered into one.
  function boxes(node, area) {
    const kids = node.children.filter((child) => value(child) > 0);
    kids.sort((a, b) => value(b) - value(a) || (a.name < b.name ? -1 : 1));
    const least = (value(node) * TINY) / area;
    let cut = kids.findIndex((child) => value(child) < least);
    if (cut < 0 || kids.length - cut < 2) return kids;
    if (cut === 0) cut = Math.min(200, kids.length); // all are tiny: show what fits
    const small = kids.slice(cut);
    if (small.length < 2) return kids;
    const name = `${small.length.toLocaleString("en")} smaller`;
    return [...kids.slice(0, cut), sum({ name, kind: "rest", parent: node, children: small })];
  }

  // --- drawing --------------------------------------------------------------------------------

  const rank = new Map(data.colours.map((index, place) => [index, place]));
  const colour = (node) => (rank.has(node.distribution) ? `k${rank.get(node.distribution)}` : "");

  function human(count) {
    for (const [factor, unit] of [[1e9, "GB"], [1e6, "MB"], [1e3, "kB"]]) {
      if (count >= factor) return `${(count / factor).toFixed(1)} ${unit}`;
    }
    return `${count} B`;
  }
  const exact = (count) => count.toLocaleString("en");
  const share = (part, whole) => (whole ? `${((part / whole) * 100).toFixed(1)} %` : "-");
  const files = (count) => `${exact(count)} file${count === 1 ? "" : "s"}`;

  function element(tag, className, text) {
    const made = document.createElement(tag);
    if (className) made.className = className;
    if (text !== undefined) made.textContent = text;
    return made;
  }

  function title(node) {
    if (node.path) return node.path;
    const trail = [];
    for (let at = node; at && at.parent; at = at.parent) trail.unshift(at.name);
    return trail.join(" › ") || node.name;
  }

  function facts(node) {
    const found = [
      `${human(node.size)} unzipped (${exact(node.size)} bytes), ${share(node.size, root().size)} of all`,
      `${human(node.zipped)} zipped (${exact(node.zipped)} bytes)`,
    ];
    if (node.kind !== "file") found.push(files(node.count));
    const place = [];
    if (node.distribution >= 0) place.push(`distribution ${data.distributions[node.distribution]}`);
    if (node.layer >= 0) place.push(`in ${data.layers[node.layer]}`);
    if (place.length) found.push(place.join(", "));
    return found;
  }

  function place(box, { x, y, w, h }, gap) {
    box.style.left = `${x + gap / 2}px`;
    box.style.top = `${y + gap / 2}px`;
    box.style.width = `${Math.max(1, w - gap)}px`;
    box.style.height = `${Math.max(1, h - gap)}px`;
  }

  function label(box, node, w, h, nested) {
    if (w < 34 || h < 17) return;
    const text = element("span", "label", node.name);
    const small = element("small", "", human(value(node)));
    const below = !nested && h > 36 && w > 54;
    if (below) text.classList.add("two");
    if (below || w > 110) text.append(small);
    box.append(text);
  }

  // Draws what is inside a box, for the eye only: the box itself is what one opens.
  function inside(box, node, w, h, depth) {
    const nested = node.children && w > 26 && h > HEAD + 16 && depth < 4;
    label(box, node, w, h, nested);
    if (!nested) {
      const own = colour(node);
      if (own) box.classList.add(own);
      return;
    }
    box.classList.add("nest");
    const [innerW, innerH] = [w - 6, h - HEAD - 4];
    for (const rect of squarify(boxes(node, innerW * innerH), 3, HEAD, innerW, innerH)) {
      const cell = element("span", "cell");
      cell.node = rect.node;
      place(cell, rect, 1);
      inside(cell, rect.node, rect.w - 1, rect.h - 1, depth + 1);
      box.append(cell);
    }
  }

  const roots = {};
  const root = () => (roots[state.group] ??= build(state.group));

  function draw(focus) {
    const map = $("map");
    const { clientWidth: width, clientHeight: height } = map;
    if (!width) return;
    const made = squarify(boxes(state.node, width * height), 0, 0, width, height).map((rect) => {
      const { node } = rect;
      const tile = element("button", node.children ? "tile" : "tile leaf");
      tile.type = "button";
      tile.node = node;
      tile.tabIndex = -1;
      rect.x = Math.min(rect.x, width - SLIVER);
      rect.y = Math.min(rect.y, height - SLIVER);
      tile.setAttribute("aria-label",
        `${node.name}, ${human(value(node))}, ${share(value(node), value(state.node))}` +
        (node.children ? `, ${files(node.count)}, opens` : ""));
      place(tile, { ...rect, w: Math.max(rect.w, SLIVER), h: Math.max(rect.h, SLIVER) }, 2);
      inside(tile, node, rect.w - 2, rect.h - 2, 0);
      return tile;
    });
    map.replaceChildren(...made);
    if (made.length) {
      made[0].tabIndex = 0;
      if (focus) (made.find((tile) => tile.node === focus) ?? made[0]).focus();
    }
    crumbs();
  }

  function crumbs() {
    const trail = [];
    for (let at = state.node; at; at = at.parent) trail.unshift(at);
    $("crumbs").replaceChildren(...trail.map((node, index) => {
      const item = element("li");
      const last = index === trail.length - 1;
      const text = last ? `${node.name} (${human(value(node))})` : node.name;
      const part = item.appendChild(element(last ? "span" : "button", "", text));
      if (last) part.setAttribute("aria-current", "location");
      else {
        part.type = "button";
        part.addEventListener("click", () => open(node, trail[index + 1]));
      }
      return item;
    }));
  }

  function tell(node) {
    $("details").textContent = `${title(node)}: ${facts(node).join("; ")}.`;
  }

  // Where opening a box leads: past folders that hold hardly anything but one other folder.
  function inner(node) {
    const [most] = boxes(node, Infinity);
    return most?.children && value(most) > MOST * value(node) ? inner(most) : node;
  }

  function open(node, focus) {
    state.node = node;
    hideTip();
    draw(focus);
    tell(node);
  }

  // --- pointer and keys -----------------------------------------------------------------------

  const hideTip = () => { $("tip").hidden = true; };

  function showTip(node, x, y) {
    const tip = $("tip");
    tip.replaceChildren(element("strong", "", title(node)), ...facts(node).map((fact) => element("span", "", fact)));
    tip.hidden = false;
    const { offsetWidth: w, offsetHeight: h } = tip;
    tip.style.left = `${Math.max(4, Math.min(x + 14, innerWidth - w - 8))}px`;
    tip.style.top = `${y + 18 + h > innerHeight ? Math.max(4, y - h - 12) : y + 18}px`;
  }

  // The nearest tile that lies in the arrow's direction.
  function neighbour(from, key) {
    const a = from.getBoundingClientRect();
    const [dx, dy] = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[key];
    let best = null, least = Infinity;
    for (const tile of $("map").children) {
      if (tile === from) continue;
      const b = tile.getBoundingClientRect();
      const x = (b.left + b.right - a.left - a.right) / 2, y = (b.top + b.bottom - a.top - a.bottom) / 2;
      const ahead = dx * x + dy * y;
      const clear = dx > 0 ? b.left >= a.right - 3 : dx < 0 ? b.right <= a.left + 3
        : dy > 0 ? b.top >= a.bottom - 3 : b.bottom <= a.top + 3;
      const cost = ahead + 2 * Math.abs(dx ? y : x);
      if (clear && ahead > 0 && cost < least) [best, least] = [tile, cost];
    }
    return best;
  }

  function keys(event) {
    const tile = event.target.closest(".tile");
    let next = null;
    if (event.key.startsWith("Arrow") && tile) next = neighbour(tile, event.key);
    else if (event.key === "Home") next = $("map").firstElementChild;
    else if (event.key === "End") next = $("map").lastElementChild;
    else if (event.key === "Escape" || event.key === "Backspace") {
      if (state.node.parent) open(state.node.parent, state.node);
    } else return;
    event.preventDefault();
    if (next) next.focus();
  }

  function watchMap() {
    const map = $("map");
    map.addEventListener("click", (event) => {
      const tile = event.target.closest(".tile");
      if (!tile) return;
      tell(tile.node);
      // A click made by the keyboard has no detail: the focus goes along.
      if (tile.node.children) open(inner(tile.node), event.detail === 0);
    });
    map.addEventListener("keydown", keys);
    map.addEventListener("focusin", (event) => {
      const tile = event.target.closest(".tile");
      if (!tile) return;
      for (const other of map.children) other.tabIndex = other === tile ? 0 : -1;
      if (tile.matches(":focus-visible")) tell(tile.node);
    });
    map.addEventListener("pointermove", (event) => {
      if (event.pointerType === "touch") return;
      const box = event.target.closest(".cell, .tile");
      if (box) showTip(box.node, event.clientX, event.clientY);
      else hideTip();
    });
    map.addEventListener("pointerleave", hideTip);
    addEventListener("scroll", hideTip, { passive: true });
    for (const input of document.querySelectorAll(".controls input")) {
      input.addEventListener("change", () => {
        state[input.name] = input.value;
        // Another measure keeps the place; another grouping has other places.
        if (input.name === "group") state.node = root();
        draw();
        tell(state.node);
      });
    }
    let drawn = 0;
    new ResizeObserver(() => {
      if (map.clientWidth !== drawn) draw();
      drawn = map.clientWidth;
    }).observe(map);
  }

  function legend() {
    const sizes = new Map();
    data.files.distributions.forEach((index, i) => sizes.set(index, (sizes.get(index) ?? 0) + data.files.sizes[i]));
    $("legend").replaceChildren(...data.colours.map((index, at) => {
      const item = element("li");
      item.append(element("i", `k${at}`), `${data.distributions[index]} ${human(sizes.get(index) ?? 0)}`);
      return item;
    }));
    if (data.distributions.length > data.colours.length) {
      const item = element("li");
      item.append(element("i"), "others");
      $("legend").append(item);
    }
  }

  // --- tables ---------------------------------------------------------------------------------

  function sortable(table) {
    const heads = [...table.tHead.rows[0].cells];
    heads.forEach((head, column) => {
      if (!head.textContent.trim()) return;
      const button = element("button", "", head.textContent);
      button.type = "button";
      head.replaceChildren(button);
      button.addEventListener("click", () => {
        const numeric = head.classList.contains("num");
        const was = head.getAttribute("aria-sort");
        const up = was ? was === "descending" : !numeric;
        for (const other of heads) other.removeAttribute("aria-sort");
        head.setAttribute("aria-sort", up ? "ascending" : "descending");
        const body = table.tBodies[0];
        const key = (row) => row.cells[column].dataset.v ?? row.cells[column].textContent;
        const rows = [...body.rows].sort((a, b) => numeric
          ? Number(key(a)) - Number(key(b)) : key(a).localeCompare(key(b), "en", { numeric: true }));
        body.append(...(up ? rows : rows.reverse()));
      });
    });
  }

  for (const table of document.querySelectorAll("table.sortable")) sortable(table);
  if (data.files.names.length) {
    $("map-part").hidden = false;
    state.node = root();
    legend();
    watchMap();
    draw();
    tell(state.node);
  }
})();
