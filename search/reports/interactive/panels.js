// What stands beside the charts: limits, filters, the hover card, pinned points compared, tables and facts.
"use strict";

/** A square in the colour of a width, as the bit map has it. */
function bitSquare(run, digit, title, changed = false) {
  const share = run.widths.length > 1 ? digit / (run.widths.length - 1) : 1;
  return el("i", { class: `${changed ? "changed " : ""}${share > 0.5 ? "wide" : ""}`, style: `--share:${share}`, title },
    run.width_labels[digit] ?? "?");
}

/** Which colour of the bit map is which width. */
function widthsKey(run) {
  return el("b", {}, el("span", {}, "bits"), ...run.width_titles.map((title, digit) => bitSquare(run, digit, title)));
}

/** Bits of a trial: a line for each kind, a square for each gene; what differs from another is outlined. */
function bitStrip(run, row, other = null) {
  const kinds = [...new Set(columnsOf(run).map((column) => column.kind))];
  return el("div", { class: "bits" }, kinds.map((kind) => {
    const cells = columnsOf(run).filter((column) => column.kind === kind).map(({ gene, encoder }) => {
      const digit = run.genes[row][gene], changed = other !== null && run.genes[other][gene] !== digit;
      const title = `encoder ${encoder}, ${run.gene_names[gene]}: ${run.width_titles[placeOf(digit)] ?? "?"}`;
      return bitSquare(run, placeOf(digit), title, changed);
    });
    return el("div", {}, el("span", {}, kind), el("b", {}, ...cells));
  }));
}

function errorText(now, key, i, axis) {
  const error = i >= 0 ? (now.front.errors[key] || [])[i] : null;
  return known(error) ? ` \u00b1 ${error.toFixed(axis.decimals)}` : "";
}

/** What is known of a trial, for the card beside the pointer. */
function cardOf(now, row) {
  const { run } = now, i = now.front.rows.indexOf(row), trial = run.trial[row], group = run.groups[run.group[row]];
  const star = i >= 0 && i === now.star ? "\u2605 " : "", on = i >= 0 ? "on the front" : group;
  const stands = now.stands.get(i);
  const rows = run.axes.filter((axis) => axis.kind !== "bits" && known(run.values[axis.key][row]))
    .map((axis) => el("tr", {}, el("th", {}, axis.title), el("td", {}, written(axis, run.values[axis.key][row]) + errorText(now, axis.key, i, axis))));
  const listed = stands && stands.by !== i
    ? `${stands.near ? "differs from, but is nearest to" : "not told to be better than"} trial ${now.front.trial[stands.by]}` : "";
  return [
    el("p", { class: "head" }, el("strong", {}, `${star}trial ${trial}`), ` ${on}`),
    run.reason[row] && i < 0 ? el("p", { class: "why" }, run.reason[row]) : null,
    i >= 0 && now.front.words[i] ? el("p", {}, now.front.words[i]) : null,
    listed ? el("p", { class: "why" }, listed) : null,
    el("table", {}, ...rows),
    ...run.refined.filter((one) => one.row === row).map((one) => el("p", {}, el("strong", {}, "refined: "), one.words)),
    bitStrip(run, row),
  ];
}

/** A slider for each figure that can be limited: those of the front, within the run's own limits. */
function limitControls(now, change) {
  const { run, state, front } = now;
  const axes = run.axes.filter((axis) => axis.kind === "cost" || axis.key === run.y);
  return axes.flatMap((axis) => {
    const values = front.rows.map((row) => run.values[axis.key][row]).filter(known);
    if (values.length < 2) return [];
    const [low, high] = [Math.min(...values), Math.max(...values)], step = 10 ** -axis.decimals;
    const loosest = axis.better > 0 ? Math.floor(low / step) * step : Math.ceil(high / step) * step;
    const [from, to] = axis.better > 0 ? [loosest, high] : [low, loosest], value = state.limits[axis.key] ?? loosest;
    const word = axis.better > 0 ? "at least" : "at most", out = el("output", {}, withUnit(axis, value));
    const slider = el("input", { type: "range", min: from, max: to, step: "any", id: `limit-${axis.key}`, "data-key": axis.key,
      oninput: (event) => {
        const now = Number(event.target.value), free = Math.abs(now - loosest) < step / 2;
        out.textContent = withUnit(axis, now);
        change(axis.key, free ? null : now);
      } });
    slider.value = value;
    return [el("label", { class: "slider" }, el("span", {}, `${axis.short} ${word}`), slider, out)];
  });
}

/** What filters the points, each to be taken away again. */
function filterChips(now, change) {
  const { run, state } = now, chips = [];
  const chip = (text, less) => chips.push(el("button", { type: "button", class: "chip", onclick: () => change(less), title: "take this away" }, text, el("span", { "aria-hidden": "true" }, " \u00d7")));
  if (state.brush) chip("area of the front", { brush: null });
  for (const [key, [low, high]] of Object.entries(state.ranges)) {
    const axis = axisOf(run, key), ranges = { ...state.ranges };
    delete ranges[key];
    chip(`${axis.short} ${written(axis, low)} to ${written(axis, high)}`, { ranges });
  }
  if (state.gene) chip(`${run.gene_names[state.gene.gene]}: ${run.width_titles[state.gene.digit]}`, { gene: null });
  if (state.zoom) chip("zoomed", { zoom: null });
  return chips;
}

/** How many points there are, and which is starred. */
function summaryOf(now) {
  const { run, state } = now, all = now.front.count, parts = [];
  if (now.replay !== null) {
    const history = run.history.filter(([n]) => n <= paidBy(run, state.at)).at(-1);
    parts.push(`after ${state.at} of ${run.trial.length} trials: ${now.replay.size} on the front`);
    if (history) parts.push(`hypervolume ${history[1].toFixed(4)}`);
    return parts.join(", ");
  }
  parts.push(now.within.size === all ? `${all} points on the front` : `${now.within.size} of ${all} points within the limits`);
  if (now.chosen.size < now.within.size) parts.push(`${now.chosen.size} selected`);
  if (now.listed.size && now.listed.size < now.within.size) parts.push(`${now.listed.size} that really differ are named`);
  if (now.star < 0) return `${parts.join(", ")}.`;
  const trial = now.front.trial[now.star];
  const limited = Object.keys(state.limits).length > 0;
  return `${parts.join(", ")}. \u2605 ${limited ? `trial ${trial}, within the limits` : run.star_note}.`;
}

/** The points that really differ, as a table that can be read without the charts. */
function listTable(now, pin) {
  const { run, state } = now, axes = run.axes.filter((axis) => axis.main && now.front.rows.some((row) => known(run.values[axis.key][row])));
  const head = el("tr", {}, el("th", {}, "trial"), ...axes.map((axis) => el("th", { title: axis.title }, axis.short, axis.unit && axis.unit !== "bits" ? ` ${axis.unit}` : "")), el("th", {}, "stands for"), el("th", {}));
  const rows = [...now.listed].sort((a, b) => now.front.total[a] - now.front.total[b]).map((i) => {
    const row = now.front.rows[i], trial = now.front.trial[i];
    const behind = [...now.stands].filter(([j, one]) => j !== i && one.by === i), near = behind.filter(([, one]) => one.near).length;
    const words = [behind.length - near ? `${behind.length - near} alike` : "", near ? `${near} near` : ""].filter(Boolean).join(", ");
    return el("tr", { class: i === now.star ? "star" : "", "data-trial": trial },
      el("th", { scope: "row" }, `${i === now.star ? "\u2605 " : ""}${trial}`),
      ...axes.map((axis) => el("td", {}, written(axis, run.values[axis.key][row]) + errorText(now, axis.key, i, axis))),
      el("td", {}, words),
      el("td", {}, el("button", { type: "button", "aria-pressed": String(state.pins.includes(trial)), onclick: () => pin(trial) }, state.pins.includes(trial) ? "unpin" : "pin")));
  });
  return el("table", { class: "figures" }, el("thead", {}, head), el("tbody", {}, ...rows, ...refinedRows(now, axes)));
}

/** Refined points below the others: their figures, with what refining brought where it changed them. */
function refinedRows(now, axes) {
  const { run, front } = now, there = run.refined.filter((one) => now.within.has(front.rows.indexOf(one.row)));
  return there.map((one) => el("tr", { class: "refined" },
    el("th", { scope: "row" }, `${one.trial} refined`),
    ...axes.map((axis) => el("td", {}, written(axis, one.values[axis.key]), el("small", {}, gainText(axis, one)))),
    el("td", {}), el("td", {})));
}

/** What refining brought in a figure, with its paired standard error. */
function gainText(axis, one) {
  const [gain, error] = one.gains[axis.key] || [];
  if (!known(gain)) return "";
  return `${gain < 0 ? "\u2212" : "+"}${Math.abs(gain).toFixed(axis.decimals)}${known(error) ? ` \u00b1 ${error.toFixed(axis.decimals)}` : ""}`;
}

/** Pinned points beside one another: figures, bits, and how surely they differ. */
function comparison(now, pin, announce) {
  const { run, state } = now, pins = state.pins.map((trial) => run.trial.indexOf(trial)).filter((row) => row >= 0);
  if (!pins.length) {
    return [el("p", { class: "quiet" }, "Click on a point of the front, or press p on it, to pin it: two to four are compared here.")];
  }
  const place = pins.map((row) => now.front.rows.indexOf(row));
  const cells = (make) => pins.map((row, k) => el("td", {}, make(row, place[k], k)));
  const refined = new Map(run.refined.map((one) => [one.row, one]));
  const command = (row, more = "") => {
    const text = `${run.export} ${run.trial[row]}${more}`;
    const copy = async (event) => {
      const button = event.target;
      try { await navigator.clipboard.writeText(text); } catch { selectText(button.previousSibling); document.execCommand("copy"); }
      button.textContent = "copied";
      announce(`copied: ${text}`);
      setTimeout(() => { button.textContent = "copy"; }, 1500);
    };
    return el("span", { class: "command" }, el("code", {}, text), el("button", { type: "button", class: "copy", onclick: copy }, "copy"));
  };
  const figures = run.axes.filter((axis) => pins.some((row) => known(run.values[axis.key][row])));
  const table = el("table", { class: "figures pins" },
    el("thead", {}, el("tr", {}, el("th", {}), ...pins.map((row, k) => el("th", { class: `pin${k}` }, `${PIN_NAMES[k]}: ${place[k] === now.star && place[k] >= 0 ? "\u2605 " : ""}trial ${run.trial[row]} `,
      el("button", { type: "button", onclick: () => pin(run.trial[row]), "aria-label": `unpin trial ${run.trial[row]}` }, "\u00d7"))))),
    el("tbody", {},
      ...figures.map((axis) => el("tr", {}, el("th", { scope: "row" }, axis.title), ...cells((row, i) => written(axis, run.values[axis.key][row]) + errorText(now, axis.key, i, axis)))),
      el("tr", {}, el("th", { scope: "row" }, "against the float model"), ...cells((_, i) => (i >= 0 ? now.front.words[i] : "") || "\u2014")),
      el("tr", {}, el("th", { scope: "row" }, "bits by encoder"), ...cells((row, _, k) => bitStrip(run, row, k ? pins[0] : null))),
      el("tr", {}, el("th", { scope: "row" }, "export"), ...cells((row, i) => (i >= 0 ? command(row) : "not on the front"))),
      ...(pins.some((row) => refined.has(row)) ? [
        el("tr", { class: "refined" }, el("th", { scope: "row" }, "refined"), ...cells((row) => refined.get(row)?.words || "")),
        el("tr", {}, el("th", { scope: "row" }, "learned from"), ...cells((row) => refined.get(row)?.learned_from || "")),
        el("tr", {}, el("th", { scope: "row" }, "export it refined"), ...cells((row) => (refined.has(row) ? command(row, " --refined") : ""))),
      ] : [])));
  const note = pins.length > 1 ? el("p", { class: "quiet" }, `Outlined bits differ from those of ${PIN_NAMES[0]}.`) : null;
  return [el("div", { class: "scroll" }, table), note, ...pairs(now, pins, place)].filter(Boolean);
}

function selectText(node) {
  const range = document.createRange();
  range.selectNodeContents(node);
  getSelection().removeAllRanges();
  getSelection().addRange(range);
}

/** Each pair of pinned points: the difference with its error, and the images that one of them gets right. */
function pairs(now, pins, place) {
  const { run, front } = now, axis = axisOf(run, run.y), rows = [];
  for (let a = 0; a < pins.length; a++) {
    for (let b = a + 1; b < pins.length; b++) {
      const [i, j] = [place[a], place[b]];
      if (i < 0 || j < 0) continue;
      const difference = axis.better * (front.quality[i] - front.quality[j]), error = front.error(i, j);
      const sure = Number.isFinite(error) && error > 0;
      const told = !sure ? "" : front.alike(i, j) ? "not told apart" : `${(difference * axis.better > 0 ? PIN_NAMES[a] : PIN_NAMES[b])} is better`;
      const tests = ["search", "test"].map((split) => {
        const found = disagreement(front, split, i, j);
        if (!found) return "\u2014";
        return `${found.first} images only ${PIN_NAMES[a]}, ${found.second} only ${PIN_NAMES[b]}, of ${found.total} (p = ${found.p.toPrecision(2)})`;
      });
      rows.push(el("tr", {}, el("th", { scope: "row" }, `${PIN_NAMES[a]} \u2212 ${PIN_NAMES[b]}`),
        el("td", {}, `${difference >= 0 ? "+" : "\u2212"}${Math.abs(difference).toFixed(axis.decimals)}${sure ? ` \u00b1 ${error.toFixed(axis.decimals)}` : ""} ${axis.unit === "%" ? "points" : axis.unit}`),
        el("td", {}, told), ...tests.map((text) => el("td", {}, text))));
    }
  }
  if (!rows.length) return [];
  const how = front.paired ? "paired" : "as if independent";
  return [el("div", { class: "scroll" }, el("table", { class: "figures pairs" },
    el("thead", {}, el("tr", {}, el("th", {}), el("th", {}, `difference (${how})`), el("th", {}, "at 5 %"), el("th", {}, "right on the search split"), el("th", {}, "right on the test split"))),
    el("tbody", {}, ...rows))),
  el("p", { class: "quiet" }, "p: exact McNemar test, how often so uneven a split would come about were both equally good."),
  ...disputed(now, place)];
}

/** Images that one of two pinned points decides right, as far as the file has them. */
function disputed(now, place) {
  const { run, front } = now, found = [];
  if (!run.thumbnails) return [];
  const { split, images } = run.thumbnails;
  for (let a = 0; a < place.length; a++) {
    for (let b = a + 1; b < place.length; b++) {
      const pair = place[a] >= 0 && place[b] >= 0 ? disagreement(front, split, place[a], place[b]) : null;
      if (!pair) continue;
      const places = new Map(pair.images.map(([at, first]) => [at, PIN_NAMES[first ? a : b]]));
      const shown = images.filter((image) => places.has(image.place)).map((image) => el("figure", {},
        el("img", { src: image.picture, alt: `image ${image.place} of the ${split} split` }),
        el("figcaption", {}, image.label ? `${image.label}: ` : "", `only ${places.get(image.place)}`)));
      found.push(el("h3", {}, `${PIN_NAMES[a]} and ${PIN_NAMES[b]} disagree on ${pair.images.length} ${split} images, of which ${shown.length} are shown`),
        el("div", { class: "images" }, ...shown));
    }
  }
  return found;
}

function factList(run) {
  const facts = run.facts.flatMap(([label, text]) => [el("dt", {}, label), el("dd", {}, text)]);
  return [el("dl", {}, ...facts), ...run.notes.map((note) => el("p", { class: "quiet" }, note))];
}
