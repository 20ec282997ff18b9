// The four charts: made by vega-embed for a theme and titles, filled from what the page has computed.
"use strict";

const PALETTES = {
  light: {
    ink: "#1F2430", muted: "#5E6673", grid: "#E6E8EB", ground: "#FFFFFF", front: "#0072B2", dim: "#B9CFDF",
    dominated: "#AEB7C2", infeasible: "#D98A5B", screened: "#C9CED6", limit: "#A3195B", star: "#E69F00", refined: "#00664B",
    narrow: "#E3ECF4", wide: "#0B4F83", changed: "#D55E00",
    pins: ["#D55E00", "#008A62", "#B0508A", "#5B4BC4"], runs: ["#CC79A7", "#009E73", "#D55E00", "#56B4E9", "#E69F00", "#1F2430"],
  },
  dark: {
    ink: "#E8EAEE", muted: "#A4ACB8", grid: "#333A45", ground: "#171B22", front: "#5CB3EA", dim: "#3D617B",
    dominated: "#566070", infeasible: "#B06D43", screened: "#434B57", limit: "#F07AB3", star: "#F2B134", refined: "#4FD1A5",
    narrow: "#25313D", wide: "#7CC4F5", changed: "#FF8A4C",
    pins: ["#FF8A4C", "#2FC79A", "#E58BC0", "#A498FF"], runs: ["#E58BC0", "#2FC79A", "#FF8A4C", "#8ACBF2", "#F2B134", "#E8EAEE"],
  },
};
const DASHES = [[6, 3], [2, 2], [8, 3, 2, 3], [1, 3], [10, 4], [4, 4]];
const SHAPES = { front: "circle", dominated: "circle", infeasible: "triangle-up", screened: "square" };
// Pixels: how near a point is pointed at, and what is no click any more.
const NEAR = 11, DRAGGED = 5;
const LONGEST_MAP = 140, MOST_HIGH = 420, LEAST_ROW = 3.2, TALLEST_ROW = 15;

/** A specification with every text in braces replaced. */
function filled(part, words) {
  if (typeof part === "string") {
    const name = /^\{(\w+)\}$/.exec(part);
    return name ? words[name[1]] : part;
  }
  if (Array.isArray(part)) return part.map((entry) => filled(entry, words));
  if (part && typeof part === "object") {
    return Object.fromEntries(Object.entries(part).map(([key, entry]) => [key, filled(entry, words)]));
  }
  return part;
}

function configOf(colors) {
  const axis = {
    labelColor: colors.muted, titleColor: colors.ink, gridColor: colors.grid, domainColor: colors.muted,
    tickColor: colors.muted, titleFontWeight: 600, titleFontSize: 12, labelFontSize: 11, titlePadding: 8, tickCount: 6,
  };
  return { font: "system-ui, sans-serif", background: null, view: { stroke: null }, axis, padding: 4 };
}

class Charts {
  constructor(report, handlers) {
    this.report = report;
    this.handlers = handlers;
    this.views = {};
    this.areas = {};
    this.drawing = null;
    window.addEventListener("pointerup", () => setTimeout(() => this.lifted()));
  }

  /** Makes all charts again, for other titles or another theme. */
  async make(run, state, theme) {
    this.colors = PALETTES[theme];
    const words = { ...this.colors, x: axisOf(run, state.x).title, y: axisOf(run, state.y).title };
    const options = { actions: false, renderer: "canvas", tooltip: false, config: configOf(this.colors), ast: false };
    await Promise.all(Object.entries(this.report.specs).map(async ([name, spec]) => {
      const made = await vegaEmbed(`#chart-${name}`, filled(spec, words), options);
      if (this.views[name]) this.views[name].finalize();
      this.views[name] = made.view;
      this.areas[name] = {};
      this.listen(name, made.view);
    }));
  }

  listen(name, view) {
    const { hover, click } = this.handlers;
    const pick = (event, item) => (name === "front" && this.nearest(event)) || (item && item.datum);
    const range = (event) => (name === "parallel" ? this.rangeAt(event) : null);
    view.addEventListener("mousemove", (event, item) => hover(name, event, pick(event, item)));
    view.addEventListener("mouseout", (event) => hover(name, event, null));
    view.addEventListener("click", (event, item) => {
      const [x, y] = this.pressed || [event.clientX, event.clientY];
      if (Math.hypot(event.clientX - x, event.clientY - y) < DRAGGED) click(name, event, range(event) || pick(event, item));
    });
    document.getElementById(`chart-${name}`).onpointerdown = (event) => {
      this.pressed = [event.clientX, event.clientY];
      this.drawing = name;
    };
    if (name !== "front" && name !== "parallel") return;
    view.addSignalListener("brush", (_, value) => { this.areas[name] = value; });
  }

  /** Where the pointer is in a chart, in pixels from the corner of its scales. */
  inside(name, event) {
    const view = this.views[name], box = view.container().querySelector("canvas").getBoundingClientRect(), [dx, dy] = view.origin();
    return [event.clientX - box.left - dx, event.clientY - box.top - dy];
  }

  /** The kept range of an axis that the pointer is on. */
  rangeAt(event) {
    const [x, y] = this.inside("parallel", event), [sx, sy] = ["x", "y"].map((axis) => this.views.parallel.scale(axis));
    const on = (one) => Math.abs(sx(one.axis) - x) < NEAR && Math.min(sy(one.low), sy(one.high)) <= y && y <= Math.max(sy(one.low), sy(one.high));
    return this.views.parallel.data("ranges").find(on) || null;
  }

  /** The point of the front that is next to the pointer, also where an area is drawn over it. */
  nearest(event) {
    const [x, y] = this.inside("front", event), [sx, sy] = ["x", "y"].map((axis) => this.views.front.scale(axis));
    let best = null, least = NEAR;
    for (const point of this.seen || []) {
      const far = Math.hypot(sx(point.x) - x, sy(point.y) - y);
      if (far < least) [best, least] = [point, far];
    }
    return best;
  }

  /** A drawn area is taken over when the pointer is lifted; a click draws none. */
  lifted() {
    const name = this.drawing;
    this.drawing = null;
    if (!name) return;
    const ends = Object.values(this.areas[name] || {});
    const drawn = ends.length === 2 && ends.every((pair) => pair && pair.every(Number.isFinite) && pair[0] !== pair[1]);
    this.handlers.brush(name, drawn ? this.areas[name] : null);
  }

  /** Shows an area, in the units of the axes; none where it is null. */
  async show(name, area) {
    const view = this.views[name];
    if (!area && !Object.keys(this.areas[name] || {}).length) return;
    for (const axis of ["x", "y"]) {
      const ends = area ? area[axis].map((value) => view.scale(axis)(value)) : [];
      view.signal(`brush_${axis}`, ends);
    }
    await view.runAsync();
  }

  /** Sets data and parameters of a chart at once. */
  async fill(name, data, parameters = {}, height = null) {
    const view = this.views[name];
    for (const [set, rows] of Object.entries(data)) view.data(set, rows);
    for (const [parameter, value] of Object.entries(parameters)) view.signal(parameter, value);
    if (height) view.height(height);
    await view.runAsync();
  }

  async svg(name) {
    const text = await this.views[name].toSVG();
    return text.replace("<svg ", `<svg style="background:${this.colors.ground}" `);
  }

  /** The front against any two axes. */
  front(now) {
    const { run, state, colors } = { ...now, colors: this.colors };
    const [xs, ys] = [run.values[state.x], run.values[state.y]];
    const there = (row) => known(xs[row]) && known(ys[row]);
    const cloud = [], front = [], labels = [];
    run.group.forEach((code, row) => {
      const group = run.groups[code];
      if ((now.onFront.has(row) && now.replay === null) || !there(row)) return;
      if (now.replay !== null && (run.trial[row] >= state.at || now.replay.has(row))) return;
      const shown = group === "front" ? "dominated" : group;
      cloud.push({ row, x: xs[row], y: ys[row], color: colors[shown] || colors.screened, shape: SHAPES[shown] || "square" });
    });
    if (now.replay !== null) {
      for (const row of now.replay) {
        if (there(row)) front.push({ row, x: xs[row], y: ys[row], low: ys[row], high: ys[row], left: xs[row], right: xs[row],
          shape: "circle", color: colors.front, opacity: 1, size: 60, error: 0 });
      }
    } else {
      now.front.rows.forEach((row, i) => {
        if (!there(row)) return;
        const pin = state.pins.indexOf(run.trial[row]), within = now.within.has(i), chosen = now.chosen.has(i);
        const listed = now.listed.has(i);
        const [dx, dy] = [state.x, state.y].map((key) => (now.front.errors[key] || [])[i] || 0);
        const color = pin >= 0 ? colors.pins[pin] : chosen ? colors.front : colors.dim;
        front.push({
          row, x: xs[row], y: ys[row], low: ys[row] - dy, high: ys[row] + dy, left: xs[row] - dx, right: xs[row] + dx,
          shape: pin >= 0 ? "diamond" : "circle", color, opacity: within ? 1 : 0.45, size: pin >= 0 ? 150 : listed ? 95 : 42,
          error: listed || pin >= 0 ? 0.9 : chosen && now.chosen.size <= 40 ? 0.35 : 0,
        });
        const mark = pin >= 0 ? PIN_NAMES[pin] : listed ? String(run.trial[row]) : "";
        if (mark) labels.push({ x: xs[row], y: ys[row], text: mark, color: pin >= 0 ? colors.pins[pin] : colors.ink, first: pin >= 0 || i === now.star });
      });
      front.sort((a, b) => a.size - b.size);
    }
    const refined = now.replay !== null ? [] : this.refined(now);
    for (const one of refined) labels.push({ x: one.x, y: one.y, text: `${one.trial} refined`, color: colors.refined, first: true });
    const stairs = this.stairs(run, state, now.replay !== null ? [...now.replay] : [...now.within].map((i) => now.front.rows[i]),
      run.name, colors.front, [1, 0]);
    now.others.forEach((other, k) => {
      stairs.push(...this.stairs(other, state, other.front.rows, other.name, colors.runs[k % 6], DASHES[k % 6]));
    });
    const limits = { limits_x: [], limits_y: [] };
    for (const [axis, set] of [["x", limits.limits_x], ["y", limits.limits_y]]) {
      for (const limit of run.limits) if (limit.key === state[axis]) set.push({ [axis]: limit.threshold });
      if (known(state.limits[state[axis]])) set.push({ [axis]: state.limits[state[axis]] });
    }
    const references = run.references.map((reference) => ({
      name: reference.name, x: reference.values[state.x], y: reference.values[state.y], shape: "cross",
    })).filter((mark) => known(mark.x) && known(mark.y));
    const star = now.star >= 0 && now.replay === null ? [now.front.rows[now.star]] : [];
    const stars = star.filter(there).map((row) => ({ row, x: xs[row], y: ys[row] }));
    const ends = state.zoom || this.window(front, cloud, [...stairs, ...refined]);
    this.seen = front;
    return this.fill("front", { cloud, front, stairs, references, refined, stars, labels: this.apart(labels, ends), focus: this.ring(now), ...limits },
      { xlow: ends.x[0], xhigh: ends.x[1], ylow: ends.y[0], yhigh: ends.y[1] });
  }

  /** Refined points of the front, with the places that they were at, and the error of what that brought. */
  refined(now) {
    const { run, state } = now, [xs, ys] = [run.values[state.x], run.values[state.y]];
    return run.refined.flatMap((one) => {
      const [x, y] = [one.values[state.x], one.values[state.y]], i = now.front.rows.indexOf(one.row);
      if (![x, y, xs[one.row], ys[one.row]].every(known)) return [];
      const error = (one.gains[state.y] || [])[1] || 0;
      return [{ row: one.row, trial: one.trial, x, y, from_x: xs[one.row], from_y: ys[one.row], low: y - error, high: y + error,
        opacity: now.within.has(i) ? 1 : 0.45 }];
    });
  }

  /** Labels above or below their points, as there is room; those that have none are left out. */
  apart(labels, ends) {
    const view = this.views.front, [wide, high] = [view.width(), view.height()], taken = [];
    const at = (value, [low, span], length) => ((value - low) / (span - low)) * length;
    return [...labels].sort((a, b) => Number(b.first) - Number(a.first)).flatMap((label) => {
      const [x, y] = [at(label.x, ends.x, wide), high - at(label.y, ends.y, high)];
      const dy = [-14, 16].find((lift) => !taken.some(([px, py]) => Math.abs(px - x) < 32 && Math.abs(py - y - lift) < 14));
      if (dy === undefined) return [];
      taken.push([x, y + dy]);
      return [{ ...label, dy }];
    });
  }

  ring(now) {
    const { run, state } = now, row = now.focus;
    if (row === null || !known(run.values[state.x][row]) || !known(run.values[state.y][row])) return [];
    return [{ x: run.values[state.x][row], y: run.values[state.y][row] }];
  }

  /** The part of some points that no other beats in the two axes alone, across. */
  stairs(run, state, rows, name, color, dash) {
    const [xs, ys] = [run.values[state.x], run.values[state.y]];
    if (!xs || !ys) return [];
    const [across, up] = [state.x, state.y].map((key) => axisOf(run, key).better);
    const points = rows.filter((row) => known(xs[row]) && known(ys[row]));
    points.sort((a, b) => across * (xs[b] - xs[a]) || up * (ys[b] - ys[a]));
    let best = -Infinity;
    const kept = points.filter((row) => up * ys[row] > best && ((best = up * ys[row]), true));
    if (across > 0) kept.reverse();
    return kept.map((row, order) => ({ run: name, order, x: xs[row], y: ys[row], color, dash }));
  }

  /** Where the front is, with some of what lies around it. */
  window(front, cloud, stairs) {
    const points = [...front, ...stairs], all = points.length ? points : cloud;
    const ends = (low, high, more) => {
      const values = all.flatMap((p) => [p[low], p[high]]).filter(known);
      if (!values.length) return [0, 1];
      const [a, b] = [Math.min(...values), Math.max(...values)], room = (b - a || Math.abs(a) || 1) * more;
      return [a - room, b + room];
    };
    return { x: ends("x", "x", 0.06), y: ends("low", "high", 0.08) };
  }

  /** A line for each point of the front across its figures. */
  parallel(now) {
    const { run, state } = now, colors = this.colors;
    const axes = run.axes.filter((axis) => axis.main && now.front.rows.some((row) => known(run.values[axis.key][row])));
    this.axes = axes;
    const ends = axes.map((axis) => {
      const values = now.front.rows.map((row) => run.values[axis.key][row]).filter(known);
      return [Math.min(...values), Math.max(...values)];
    });
    this.place = (k, value) => {
      const [low, high] = ends[k], share = high > low ? (value - low) / (high - low) : 0.5;
      return axes[k].better > 0 ? share : 1 - share; // better is up
    };
    this.value = (k, place) => {
      const share = axes[k].better > 0 ? place : 1 - place;
      return ends[k][0] + share * (ends[k][1] - ends[k][0]);
    };
    const lines = [];
    const layers = now.front.rows.map((row, i) => {
      const pin = state.pins.indexOf(run.trial[row]), chosen = now.chosen.has(i), starred = i === now.star;
      const color = pin >= 0 ? colors.pins[pin] : starred ? colors.star : chosen ? colors.front : colors.dim;
      const strong = pin >= 0 || starred;
      const [opacity, width] = [strong ? 1 : chosen ? 0.6 : 0.28, strong ? 2.6 : 1.1];
      return { row, order: strong ? 2 : chosen ? 1 : 0, color, opacity, width };
    }).sort((a, b) => a.order - b.order);
    for (const { row, color, opacity, width } of layers) {
      axes.forEach((axis, k) => {
        if (!known(run.values[axis.key][row])) return;
        lines.push({ row, trial: run.trial[row], axis: k, place: this.place(k, run.values[axis.key][row]), color, opacity, width });
      });
    }
    const ranges = Object.entries(state.ranges).map(([key, [low, high]]) => {
      const k = axes.findIndex((axis) => axis.key === key);
      return k < 0 ? null : { key, axis: k, low: this.place(k, low), high: this.place(k, high) };
    }).filter(Boolean);
    const ticks = axes.flatMap((axis, k) => [0, 0.5, 1].map((place) => ({ axis: k, place, text: written(axis, this.value(k, place)) })));
    const titles = axes.map((axis, k) => ({ axis: k, title: axis.short, low: 0, high: 1, title_place: 1.07 + (k % (now.narrow ? 3 : 2)) * 0.075 }));
    return this.fill("parallel", { lines, axes: titles, ticks, ranges, focus: this.line(now) },
      { xlow: -0.35, xhigh: axes.length - 0.35 });
  }

  line(now) {
    if (now.focus === null || !now.onFront.has(now.focus)) return [];
    const at = (axis, k) => ({ axis: k, place: this.place(k, now.run.values[axis.key][now.focus]) });
    return this.axes.map(at).filter((_, k) => known(now.run.values[this.axes[k].key][now.focus]));
  }

  /** Bits along the points within the limits, those with the least of the axis across on top. */
  bits(now) {
    const { run, state } = now, colors = this.colors, xs = run.values[state.x];
    const sorted = [...now.within].sort(byKeys((i) => (known(xs[now.front.rows[i]]) ? xs[now.front.rows[i]] : 1e300), (i) => i));
    const must = new Set([now.star, ...now.listed, ...state.pins.map((t) => now.front.trial.indexOf(t))]);
    const step = Math.max(1, sorted.length / LONGEST_MAP);
    const even = new Set(Array.from({ length: Math.min(sorted.length, LONGEST_MAP) }, (_, k) => sorted[Math.floor(k * step)]));
    const rows = sorted.filter((i) => even.has(i) || must.has(i));
    this.mapRows = rows;
    const columns = columnsOf(run), last = columns.at(-1)?.right || 1;
    const shade = run.widths.map((_, k) => mixed(colors.narrow, colors.wide, run.widths.length > 1 ? k / (run.widths.length - 1) : 1));
    const cells = rows.flatMap((i, r) => columns.map(({ gene, left, right }) => {
      const digit = placeOf(run.genes[now.front.rows[i]][gene]);
      return { row: now.front.rows[i], gene, digit, left, right, top: r, bottom: r + 1, color: shade[digit] || colors.limit };
    }));
    const wide = (r) => ({ left: 0, right: last, top: r, bottom: r + 1 });
    const veil = rows.flatMap((i, r) => (now.chosen.has(i) ? [] : [{ ...wide(r), opacity: 0.78 }]));
    const frames = rows.flatMap((i, r) => {
      const pin = state.pins.indexOf(now.front.trial[i]);
      return pin >= 0 ? [{ ...wide(r), color: colors.pins[pin] }] : i === now.star ? [{ ...wide(r), color: colors.star }] : [];
    });
    if (state.gene) {
      const column = columns.find((one) => one.gene === state.gene.gene);
      if (column && rows.length) frames.push({ left: column.left, right: column.right, top: 0, bottom: rows.length, color: colors.changed });
    }
    const high = Math.min(TALLEST_ROW, Math.max(LEAST_ROW, MOST_HIGH / Math.max(1, rows.length)));
    const unit = 1 / high, words = mapWords(run, columns, rows.length, unit, colors, now.narrow);
    let taken = -1e9;
    const names = rows.flatMap((i, r) => {
      const pin = state.pins.indexOf(now.front.trial[i]), named = pin >= 0 || i === now.star || now.listed.has(i) || high >= 11;
      if (!named || (r - taken) * high < 11) return [];
      taken = r;
      const text = `${i === now.star ? "\u2605 " : ""}${pin >= 0 ? `${PIN_NAMES[pin]} ` : ""}${now.front.trial[i]}`;
      return [{ left: 0, top: r + 0.5, text, color: pin >= 0 ? colors.pins[pin] : colors.ink }];
    });
    this.lastColumn = last;
    return this.fill("bits", { cells, veil, frames, words, rows: names },
      { xlow: -last * (now.narrow ? 0.16 : 0.085), xhigh: last, ylow: -20 * unit, yhigh: rows.length + 18 * unit },
      high * rows.length + 38);
  }

  history(now) {
    const runs = [now.run, ...(now.sameBox ? now.others : [])], colors = this.colors;
    const history = runs.flatMap((run, k) => run.history.map(([n, value]) => ({
      run: run.name, n, value, color: k ? colors.runs[(k - 1) % 6] : colors.front, dash: k ? DASHES[(k - 1) % 6] : [1, 0],
    })));
    const values = history.map((p) => p.value), late = now.run.history.slice(Math.floor(now.run.history.length / 20)).map((p) => p[1]);
    const [low, high] = values.length ? [Math.min(...late), Math.max(...values)] : [0, 1], room = (high - low || 0.1) * 0.15;
    const cursor = now.state.at === null ? [] : [{ n: paidBy(now.run, now.state.at) }];
    return this.fill("history", { history, cursor },
      { xlow: 0, xhigh: Math.max(1, ...history.map((p) => p.n)) * 1.02, ylow: low - room, yhigh: high + room });
  }

  /** Only what is pointed at has changed. */
  async focus(now) {
    if (this.views.front) await this.fill("front", { focus: this.ring(now) });
    if (this.axes) await this.fill("parallel", { focus: this.line(now) });
  }

  /** Everything that the state decides. */
  async draw(now) {
    await Promise.all([this.front(now), this.parallel(now), this.bits(now), this.history(now)]);
    await this.show("front", now.state.brush);
    await this.show("parallel", null);
  }
}

/** How many evaluations were paid for among the first trials. */
function paidBy(run, trials) {
  const rejected = run.groups.indexOf("rejected");
  return run.trial.filter((number, row) => number < trials && run.group[row] !== rejected).length;
}

/** Columns of the bit map: kinds beside one another, encoders in order. */
function columnsOf(run) {
  const kinds = [null, "weights", "activations", "attention"], columns = [];
  let left = 0;
  for (const kind of kinds) {
    const genes = run.gene_places.map(([encoder, own], gene) => ({ encoder, own, gene })).filter((one) => one.own === kind);
    genes.sort((a, b) => a.encoder - b.encoder || a.gene - b.gene);
    genes.forEach(({ encoder, gene }) => columns.push({ gene, encoder, kind: kind || "all bits", left, right: ++left }));
    if (genes.length) left += Math.max(0.6, genes.length * 0.06);
  }
  return columns;
}

function mapWords(run, columns, rows, unit, colors, narrow) {
  const words = [], kinds = [...new Set(columns.map((column) => column.kind))];
  for (const kind of kinds) {
    const own = columns.filter((column) => column.kind === kind), encoders = [...new Set(own.map((column) => column.encoder))];
    words.push({ left: (own[0].left + own.at(-1).right) / 2, top: -10 * unit, text: kind, color: colors.ink });
    const every = Math.ceil((encoders.length * (narrow ? 5 : 1)) / 12);
    encoders.filter((encoder, k) => k % every === 0).forEach((encoder) => {
      const mine = own.filter((column) => column.encoder === encoder);
      words.push({ left: (mine[0].left + mine.at(-1).right) / 2, top: rows + 10 * unit, text: String(encoder), color: colors.muted });
    });
  }
  return words;
}

function mixed(from, to, share) {
  const parts = [1, 3, 5].map((k) => {
    const [a, b] = [from, to].map((color) => parseInt(color.slice(k, k + 2), 16));
    return Math.round(a + (b - a) * share).toString(16).padStart(2, "0");
  });
  return `#${parts.join("")}`;
}
