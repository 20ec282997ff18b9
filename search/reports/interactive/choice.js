// Which points stay as limits move, and which of them are listed and starred: the rules of
// search/estimation/shortlist.py and search/export/selection.py, on a part of the front.
"use strict";

const TWO_SIDED = 1.959963984540054, ONE_SIDED = 1.6448536269514722;
const MOST_LISTED = 8, CORNER = 1.1, NEGLIGIBLE = Math.log1p(0.001);

const byKeys = (...keys) => (a, b) => {
  for (const key of keys) { const d = key(a) - key(b); if (d) return d; }
  return 0;
};
const rounded = (value) => Math.round(value * 1e12) / 1e12;
const minimum = (list, key) => list.reduce((best, one) => (key(one) < key(best) ? one : best), list[0]);

/** The front of a run with its pairs decoded; positions are those of its rows. */
function frontOf(run) {
  const front = run.front, count = front.rows.length;
  const bytes = Uint8Array.from(atob(front.pairs), (c) => c.charCodeAt(0));
  const errors = new Float32Array(bytes.buffer);
  const logs = front.costs.map((costs) => costs.map(Math.log));
  const total = logs.map((row) => row.reduce((a, b) => a + b, 0));
  const error = (i, j) => (i === j ? 0 : errors[i * count + j]);
  const sure = (i, j) => error(i, j) || 0; // not known counts as none
  const alike = (i, j) => Math.abs(front.quality[i] - front.quality[j]) <= TWO_SIDED * sure(i, j);
  const trial = front.rows.map((row) => run.trial[row]);
  return { ...front, count, logs, total, error, sure, alike, trial };
}

/** How much costlier i is than j: ratios of costs multiplied, negligible ones left out. */
function costlier(front, i, j) {
  let sum = 0;
  front.logs[i].forEach((log, k) => {
    const ratio = log - front.logs[j][k];
    if (Math.abs(ratio) > NEGLIGIBLE) sum += ratio;
  });
  return rounded(sum);
}

/** Position of the starred point among those kept, and of the best one it is compared with. */
function starOf(run, front, kept) {
  if (!kept.length) return { star: -1, best: -1 };
  if (!(front.judged && front.known && kept.length > 1)) return { star: compromise(run, front, kept), best: -1 };
  const q = front.quality, order = byKeys((i) => -q[i], (i) => front.total[i], (i) => front.trial[i]);
  const best = [...kept].sort(order)[0];
  const left = kept.filter((i) => q[i] - q[best] + ONE_SIDED * front.sure(i, best) >= -front.drop);
  const cheapest = minimum(left, (i) => front.total[i]);
  const keys = byKeys((i) => costlier(front, i, cheapest), (i) => -q[i], (i) => front.trial[i]);
  return { star: [...left].sort(keys)[0], best };
}

/** The point nearest to the best of every objective, each scaled by its logarithm. */
function compromise(run, front, kept) {
  const total = new Map(kept.map((i) => [i, 0]));
  const scaled = (objective) => {
    const raw = kept.map((i) => {
      const value = run.values[objective.key][front.rows[i]];
      if (value === null) return NaN;
      return objective.best !== null && objective.better > 0 ? objective.best - value : value;
    });
    const logs = raw.map((value) => Math.log(Math.max(value, objective.least)));
    const known = logs.filter(Number.isFinite), low = Math.min(...known), span = Math.max(...known) - low || 1;
    return logs.map((log) => (Number.isFinite(log) ? (log - low) / span : Infinity));
  };
  for (const cost of [false, true]) {
    const group = run.objectives.filter((o) => o.cost === cost && run.values[o.key]).map(scaled);
    kept.forEach((i, k) => {
      if (group.length) total.set(i, total.get(i) + group.reduce((sum, one) => sum + one[k] ** 2, 0) / group.length);
    });
  }
  const distance = (i) => rounded(Math.sqrt(total.get(i)));
  return [...kept].sort(byKeys(distance, (i) => -front.quality[i], (i) => front.trial[i]))[0];
}

/** At most eight points that really differ, and which of them stands for each other one. */
function shortlistOf(front, kept, star) {
  const q = front.quality, slack = front.tolerances.map((t) => 1 + t);
  const could = (i, j) =>
    (front.alike(i, j) || q[i] >= q[j]) && front.costs[i].every((cost, k) => cost <= front.costs[j][k] * (slack[k] || 1));
  const replaces = (i, j) => {
    if (j === star || !could(i, j)) return false;
    const dearer = costlier(front, i, j);
    return !could(j, i) || dearer < 0 || (dearer === 0 && (q[i] > q[j] || (q[i] === q[j] && i < j)));
  };
  const kernel = kernelOf(front, kept, replaces);
  const listed = mostVolume(kernel, places(front, kernel), star);
  const where = places(front, kept), stands = new Map();
  const far = (a, b) => Math.hypot(...where.get(a).map((v, k) => v - where.get(b)[k]));
  for (const i of kept) {
    const one = listed.includes(i) ? i : minimum(listed, (j) => far(i, j) + (replaces(j, i) ? 0 : 1e6));
    stands.set(i, { by: one, near: one !== i && !replaces(one, i) });
  }
  return { listed, stands };
}

function kernelOf(front, kept, replaces) {
  let undecided = [...kept];
  const order = byKeys((i) => front.total[i], (i) => -front.quality[i]), listed = [];
  while (undecided.length) {
    let free = undecided.filter((j) => !undecided.some((i) => i !== j && replaces(i, j)));
    if (!free.length) free = [[...undecided].sort(order)[0]];
    listed.push(...free);
    undecided = undecided.filter((j) => !free.includes(j) && !free.some((i) => replaces(i, j)));
  }
  return listed.sort((a, b) => a - b);
}

/** Where points lie from 0 (best) to 1 (worst) in every axis, by position. */
function places(front, points) {
  const rows = points.map((i) => [-front.quality[i], ...front.logs[i]]);
  const low = rows[0].map((_, k) => Math.min(...rows.map((row) => row[k])));
  const span = rows[0].map((_, k) => Math.max(...rows.map((row) => row[k])) - low[k] || 1);
  return new Map(points.map((i, n) => [i, rows[n].map((v, k) => (v - low[k]) / span[k])]));
}

function mostVolume(points, where, star) {
  if (points.length <= MOST_LISTED) return points;
  const chosen = [star];
  while (chosen.length < MOST_LISTED) {
    const rest = points.filter((i) => !chosen.includes(i));
    const volumes = rest.map((i) => volume([...chosen, i].map((p) => where.get(p))));
    chosen.push(rest[volumes.indexOf(Math.max(...volumes))]);
  }
  return chosen.sort((a, b) => a - b);
}

/** Hypervolume below CORNER in every axis, by slices along the last one (Fonseca et al. 2006, unoptimised). */
function volume(points) {
  const last = points[0].length - 1;
  if (last === 0) return Math.max(0, CORNER - Math.min(...points.map((p) => p[0])));
  const sorted = [...points].sort((a, b) => a[last] - b[last]);
  return sorted.reduce((sum, point, k) => {
    const end = k + 1 < sorted.length ? sorted[k + 1][last] : CORNER, thick = end - point[last];
    return thick > 0 ? sum + thick * volume(sorted.slice(0, k + 1).map((p) => p.slice(0, last))) : sum;
  }, 0);
}

/** Rows of feasible trials among the first so many that none of them beats. */
function frontAfter(run, trials) {
  const feasible = [run.groups.indexOf("front"), run.groups.indexOf("dominated")];
  const keys = run.objectives.map((o) => [run.values[o.key], -o.better]);
  const point = (row) => keys.map(([values, sign]) => sign * values[row]);
  let kept = [];
  run.trial.forEach((number, row) => {
    if (number >= trials || !feasible.includes(run.group[row])) return;
    if (keys.some(([values]) => values[row] === null)) return;
    const own = point(row);
    if (kept.some(([, other]) => other.every((v, k) => v <= own[k]))) return;
    kept = kept.filter(([, other]) => !own.every((v, k) => v <= other[k]));
    kept.push([row, own]);
  });
  return kept.map(([row]) => row);
}

/** How many images only the first, and only the second of two points decides right; null where unknown. */
function disagreement(front, split, i, j) {
  const texts = front.right[split];
  if (!texts || texts[i] === null || texts[j] === null) return null;
  const [a, b] = [atob(texts[i]), atob(texts[j])];
  const images = [];
  let [first, second] = [0, 0];
  for (let k = 0; k < front.images[split]; k++) {
    const bit = 128 >> (k & 7), one = a.charCodeAt(k >> 3) & bit, other = b.charCodeAt(k >> 3) & bit;
    if (one && !other) { first++; images.push([k, true]); }
    if (!one && other) { second++; images.push([k, false]); }
  }
  return { first, second, images, total: front.images[split], p: mcnemar(first, second) };
}

/** Two-sided p-value of the exact McNemar test. */
function mcnemar(lost, won) {
  const n = lost + won, least = Math.min(lost, won);
  let term = -n * Math.LN2, sum = 0;
  for (let k = 0; k <= least; k++) {
    sum += Math.exp(term);
    term += Math.log(n - k) - Math.log(k + 1);
  }
  return Math.min(1, 2 * sum);
}
