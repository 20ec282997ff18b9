// The page: its state, what follows from it, and what a reader does to it.
"use strict";

const byId = (id) => document.getElementById(id);

class Report {
  constructor(report) {
    this.report = report;
    this.fronts = report.runs.map(frontOf);
    this.state = readState(report, location.hash);
    this.focus = null;
    this.charts = new Charts(report, {
      hover: (name, event, datum) => this.hover(name, event, datum),
      click: (name, event, datum) => this.click(name, datum),
      brush: (name, area) => this.brush(name, area),
    });
    this.media = matchMedia("(prefers-color-scheme: dark)");
    this.media.addEventListener("change", () => this.remake());
  }

  get run() { return this.report.runs[this.state.run]; }

  get front() { return this.fronts[this.state.run]; }

  get theme() { return this.state.theme === "auto" ? (this.media.matches ? "dark" : "light") : this.state.theme; }

  /** All that the state decides: which points are within the limits, selected, listed and starred. */
  compute() {
    const { run, front, state } = this, keys = Object.keys(state.limits).filter((key) => run.values[key]);
    const positions = front.rows.map((_, i) => i);
    const meets = (i) => keys.every((key) => {
      const value = run.values[key][front.rows[i]], limit = state.limits[key];
      return known(value) && (axisOf(run, key).better > 0 ? value >= limit - 1e-9 : value <= limit + 1e-9);
    });
    const kept = positions.filter(meets);
    const { star } = starOf(run, front, kept);
    const { listed, stands } = kept.length ? shortlistOf(front, kept, star) : { listed: [], stands: new Map() };
    const between = (key, ends, row) => {
      const value = run.values[key][row];
      return known(value) && value >= Math.min(...ends) - 1e-9 && value <= Math.max(...ends) + 1e-9;
    };
    const selected = (i) => {
      const row = front.rows[i];
      if (state.brush && !(between(state.x, state.brush.x, row) && between(state.y, state.brush.y, row))) return false;
      if (state.gene && placeOf(run.genes[row][state.gene.gene]) !== state.gene.digit) return false;
      return Object.entries(state.ranges).every(([key, ends]) => between(key, ends, row));
    };
    return {
      run, front, state, star, stands, within: new Set(kept), chosen: new Set(kept.filter(selected)), listed: new Set(listed),
      onFront: new Set(front.rows), replay: state.at === null ? null : new Set(frontAfter(run, state.at)),
      focus: this.focus, narrow: window.innerWidth < 700,
      others: state.others ? this.comparable() : [], sameBox: this.report.same_box,
    };
  }

  /** Other runs that may stand on the two axes: latencies are not always of one source. */
  comparable() {
    const latency = [this.state.x, this.state.y].some((key) => key === "latency" || key === "measured");
    if (!this.report.comparable || (latency && !this.report.comparable_latency)) return [];
    return this.report.runs.filter((_, k) => k !== this.state.run);
  }

  /** Changes the state and draws what follows. */
  async change(more) {
    const before = this.state;
    this.state = { ...this.state, ...more };
    history.replaceState(null, "", `#${writeState(this.report, this.state)}`);
    if (["x", "y", "theme", "run"].some((name) => before[name] !== this.state[name])) return this.remake();
    return this.draw();
  }

  async remake() {
    document.documentElement.dataset.theme = this.theme;
    await this.charts.make(this.run, this.state, this.theme);
    this.controls();
    await this.draw();
  }

  /** One drawing at a time; what changed meanwhile is drawn once more. */
  async draw() {
    if (this.drawing) { this.again = true; return; }
    this.drawing = true;
    do {
      this.again = false;
      this.now = this.compute();
      this.panels(this.now);
      await this.charts.draw(this.now);
    } while (this.again);
    this.drawing = false;
  }

  /** Choices that stay while points move. */
  controls() {
    const { run, state } = this, now = this.compute();
    const options = (key) => run.axes.map((axis) => el("option", { value: axis.key, selected: axis.key === key }, axis.title));
    byId("axis-x").replaceChildren(...options(state.x));
    byId("axis-y").replaceChildren(...options(state.y));
    byId("limits").replaceChildren(...limitControls(now, (key, value) => {
      const limits = { ...this.state.limits };
      delete limits[key];
      this.change({ limits: value === null ? limits : { ...limits, [key]: value } });
    }));
    byId("subject").textContent = [run.subject, `${run.front.rows.length} points from ${run.trial.length} trials`].filter(Boolean).join(", ");
    byId("tabs").replaceChildren(...(this.report.runs.length > 1 ? this.report.runs.map((one, k) => el("button", {
      type: "button", role: "tab", "aria-selected": String(k === state.run), onclick: () => this.open(k) }, one.name)) : []));
    byId("others").parentElement.hidden = !(this.report.runs.length > 1 && this.report.comparable);
    byId("different").textContent = this.report.runs.length > 1 ? this.report.different : "";
    byId("replay").max = run.trial.length;
    byId("replay").value = state.at ?? run.trial.length;
    byId("facts").replaceChildren(...factList(run));
    byId("reference-point").textContent = run.history.length ? run.reference_point : "The hypervolume is recorded where a search ends.";
    byId("legend").replaceChildren(...legend(run));
    byId("widths").replaceChildren(widthsKey(run));
    byId("theme").textContent = `theme: ${state.theme}`;
  }

  open(k) {
    this.focus = null;
    const run = this.report.runs[k], { x, y } = this.state, keys = run.axes.map((axis) => axis.key);
    this.change({ ...NONE, run: k, x: keys.includes(x) ? x : run.x, y: keys.includes(y) ? y : run.y });
  }

  panels(now) {
    byId("summary").textContent = summaryOf(now);
    byId("chips").replaceChildren(...filterChips(now, (less) => this.change(less)));
    byId("others").checked = Boolean(this.state.others);
    byId("clear").hidden = !this.filtered();
    byId("zoom").disabled = !this.state.brush;
    byId("compare").replaceChildren(...comparison(now, (trial) => this.pin(trial), (text) => this.announce(text)));
    byId("list").replaceChildren(listTable(now, (trial) => this.pin(trial)));
    byId("at").textContent = this.state.at === null ? "all trials" : `trial ${this.state.at} of ${now.run.trial.length}`;
    byId("carriers").textContent = carriers(now);
    byId("empty").hidden = now.front.count > 0;
  }

  filtered() {
    const { brush, gene, ranges, limits, zoom, at } = this.state;
    return Boolean(brush || gene || zoom || at !== null || Object.keys(ranges).length || Object.keys(limits).length);
  }

  /** Takes away limits and filters; pins stay. */
  clear() {
    this.stop();
    return this.change({ brush: null, gene: null, ranges: {}, limits: {}, zoom: null, at: null }).then(() => this.controls());
  }

  pin(trial) {
    const pins = this.state.pins.includes(trial) ? this.state.pins.filter((one) => one !== trial) : [...this.state.pins, trial];
    if (pins.length > MOST_PINS) return this.announce(`${MOST_PINS} points are pinned already: unpin one of them first`);
    this.announce(`trial ${trial} ${pins.includes(trial) ? "pinned" : "unpinned"}`);
    return this.change({ pins });
  }

  brush(name, area) {
    if (name === "front") {
      if (area || this.state.brush) this.change({ brush: area ? { x: area.x, y: area.y } : null });
      return;
    }
    if (!area) return;
    const { axis, place } = area, ranges = { ...this.state.ranges };
    this.charts.axes.forEach((one, k) => {
      if (k < Math.min(...axis) - 0.12 || k > Math.max(...axis) + 0.12) return;
      ranges[one.key] = place.map((p) => this.charts.value(k, Math.min(1, Math.max(0, p)))).sort((a, b) => a - b);
    });
    this.change({ ranges });
  }

  click(name, datum) {
    if (!datum) return;
    if (name === "bits" && datum.gene !== undefined) {
      const { gene, digit } = datum, same = this.state.gene && this.state.gene.gene === gene && this.state.gene.digit === digit;
      this.change({ gene: same ? null : { gene, digit } });
    } else if (name === "parallel" && datum.key) {
      const ranges = { ...this.state.ranges };
      delete ranges[datum.key];
      this.change({ ranges });
    } else if (name !== "bits" && datum.row !== undefined && this.now.onFront.has(datum.row)) {
      this.pin(this.run.trial[datum.row]);
    }
  }

  hover(name, event, datum) {
    const row = datum && datum.row !== undefined ? datum.row : null;
    this.point(row, event);
  }

  /** Moves the focus to a trial: its card, and its place in every chart. */
  point(row, event) {
    const card = byId("card");
    if (row === null) card.hidden = true;
    else {
      if (row !== this.focus || card.hidden) card.replaceChildren(...cardOf(this.now, row).filter(Boolean));
      card.hidden = false;
      const [x, y] = event ? [event.clientX, event.clientY] : this.onScreen(row);
      const { offsetWidth: wide, offsetHeight: high } = card;
      const left = x + 18 + wide > innerWidth ? x - wide - 18 : x + 18;
      card.style.left = `${Math.max(6, Math.min(left, innerWidth - wide - 6))}px`;
      card.style.top = `${Math.max(6, Math.min(y + 14, innerHeight - high - 6))}px`;
    }
    if (row === this.focus) return;
    this.focus = row;
    this.now.focus = row;
    if (!this.drawing) this.charts.focus(this.now);
  }

  /** Where the front's chart shows a trial. */
  onScreen(row) {
    const view = this.charts.views.front, box = byId("chart-front").getBoundingClientRect(), [dx, dy] = view.origin();
    const [x, y] = [this.run.values[this.state.x][row], this.run.values[this.state.y][row]];
    return [box.left + dx + view.scale("x")(x), box.top + dy + view.scale("y")(y)];
  }

  /** The next point along the axis across, from the one in focus. */
  step(by) {
    const { run, front, state } = this, xs = run.values[state.x];
    const rows = [...this.now.chosen].map((i) => front.rows[i]).filter((row) => known(xs[row])).sort((a, b) => xs[a] - xs[b]);
    if (!rows.length) return;
    const at = rows.indexOf(this.focus), next = at < 0 ? (by > 0 ? 0 : rows.length - 1) : at + by;
    const row = rows[Math.max(0, Math.min(rows.length - 1, next))];
    this.point(row, null);
    const axis = [axisOf(run, state.x), axisOf(run, state.y)];
    this.announce(`trial ${run.trial[row]}: ${axis.map((one) => `${one.short} ${withUnit(one, run.values[one.key][row])}`).join(", ")}`);
  }

  replay() {
    if (this.timer) return this.stop();
    const end = this.run.trial.length, stride = Math.max(1, Math.round(end / 120));
    let at = this.state.at === null || this.state.at >= end ? 0 : this.state.at;
    byId("play").textContent = "pause";
    this.timer = setInterval(() => {
      at = Math.min(end, at + stride);
      byId("replay").value = at;
      this.change({ at });
      if (at >= end) this.stop();
    }, 90);
  }

  stop() {
    clearInterval(this.timer);
    this.timer = null;
    byId("play").textContent = "replay";
  }

  announce(text) { byId("said").textContent = text; }

  async save(name, kind) {
    if (kind === "svg") return download(`${this.run.name}-${name}.svg`, await this.charts.svg(name), "image/svg+xml");
    const rows = name === "all" ? this.run.trial.map((_, row) => row) : [...this.now.chosen].map((i) => this.front.rows[i]);
    return download(`${this.run.name}-${name === "all" ? "trials" : "front"}.csv`, csvOf(this.run, rows), "text/csv");
  }

  listen() {
    byId("axis-x").onchange = (event) => this.change({ x: event.target.value, brush: null, zoom: null });
    byId("axis-y").onchange = (event) => this.change({ y: event.target.value, brush: null, zoom: null });
    byId("swap").onclick = () => this.change({ x: this.state.y, y: this.state.x, brush: null, zoom: null });
    byId("clear").onclick = () => this.clear();
    byId("zoom").onclick = () => this.change({ zoom: this.sorted(this.state.brush), brush: null });
    byId("others").onchange = (event) => this.change({ others: event.target.checked });
    byId("theme").onclick = () => this.turn();
    byId("help").onclick = () => byId("keys").showModal();
    byId("play").onclick = () => this.replay();
    byId("replay").oninput = (event) => {
      const at = Number(event.target.value);
      this.change({ at: at >= this.run.trial.length ? null : at });
    };
    for (const button of document.querySelectorAll("[data-save]")) {
      button.onclick = () => this.save(...button.dataset.save.split("."));
    }
    document.addEventListener("keydown", (event) => this.key(event));
    window.addEventListener("hashchange", () => {
      this.state = readState(this.report, location.hash);
      this.remake();
    });
  }

  sorted(area) {
    const ends = (pair) => [...pair].sort((a, b) => a - b);
    return area && { x: ends(area.x), y: ends(area.y) };
  }

  turn() {
    const themes = ["auto", "light", "dark"];
    return this.change({ theme: themes[(themes.indexOf(this.state.theme) + 1) % 3] });
  }

  key(event) {
    if (event.ctrlKey || event.metaKey || event.altKey || /^(INPUT|SELECT|TEXTAREA)$/.test(event.target.tagName)) return;
    const does = {
      ArrowRight: () => this.step(1), ArrowLeft: () => this.step(-1),
      p: () => this.focus !== null && this.now.onFront.has(this.focus) && this.pin(this.run.trial[this.focus]),
      c: () => this.change({ pins: [] }), t: () => this.turn(), r: () => this.replay(),
      s: () => this.now.star >= 0 && this.point(this.front.rows[this.now.star], null),
      z: () => this.state.brush && this.change({ zoom: this.sorted(this.state.brush), brush: null }),
      "?": () => byId("keys").showModal(),
      Escape: () => { this.point(null, null); if (!byId("keys").open) this.clear(); },
    }[event.key];
    if (!does || byId("keys").open) return;
    event.preventDefault();
    does();
  }
}

/** How many selected points carry the gene that was clicked on. */
function carriers(now) {
  const { run, state } = now;
  if (!state.gene) return "Click on a cell to see the points that have so many bits there.";
  const carry = [...now.within].filter((i) => placeOf(run.genes[now.front.rows[i]][state.gene.gene]) === state.gene.digit);
  return `${run.gene_names[state.gene.gene]} has ${run.width_titles[state.gene.digit]} in ${carry.length} of ${now.within.size} points.`;
}

function legend(run) {
  const there = run.groups.filter((_, code) => run.group.includes(code) && !["rejected", "failed"].includes(run.groups[code]));
  const counts = Object.fromEntries(run.groups.map((name, code) => [name, run.group.filter((one) => one === code).length]));
  const words = { front: "on the front", dominated: "dominated", infeasible: "breaks a limit", screened: "given up early" };
  const refined = run.refined.length ? [el("span", { class: "key refined" }, `refined (${run.refined.length})`)] : [];
  const parts = there.map((name) => el("span", { class: `key ${name}` }, `${words[name] || name} (${counts[name]})`));
  if (counts.rejected || counts.failed) {
    parts.push(el("span", { class: "key" }, [counts.rejected ? `${counts.rejected} rejected before evaluation` : "", counts.failed ? `${counts.failed} failed` : ""].filter(Boolean).join(", ")));
  }
  return [...parts, ...refined, el("span", { class: "key" }, "bars: one standard error")];
}

(async () => {
  const page = new Report(JSON.parse(byId("data").textContent));
  window.bitfrontReport = page;
  page.listen();
  await page.remake();
  document.documentElement.dataset.ready = String(Math.round(performance.now()));
})();
