'use strict';
// The figures that depend on a filter, computed as `figures/` does it, and written as `rows.rs` does it. A test opens
// the page with a filter and holds every cell against what the program itself makes of the same runs.
const figures = (() => {
  const DAY = 86400;
  const WEEK = 7 * DAY;
  const NONE = '–';
  const two = (number) => String(number).padStart(2, '0');

  const grouped = (number) => String(number).replace(/\B(?=(\d{3})+$)/g, '\u202f');
  const digits = (value) => {
    if (value === null || value === undefined) return NONE;
    const size = Math.abs(value);
    const text = size === 0 ? '0' : size < 10 ? value.toFixed(2) : size < 100 ? value.toFixed(1) : value.toFixed(0);
    return text.includes('.') ? text.replace(/\.?0+$/, '') : text;
  };
  const percent = (part, whole) => {
    if (whole === 0) return NONE;
    let tenths = Math.floor((2000 * part + whole) / (2 * whole));
    if (tenths >= 1000 && part < whole) tenths = 999;
    if (tenths === 0 && part > 0) tenths = 1;
    return inTenths(tenths);
  };
  const inTenths = (tenths) => Math.floor(tenths / 10) + '.' + (tenths % 10) + ' %';
  const time = (ms) => {
    const seconds = Math.floor((ms + 500) / 1000);
    const units = (large, unit, small, next) => (small === 0 ? large + ' ' + unit : large + ' ' + unit + ' ' + small + ' ' + next);
    const whole = (value, unit) => Math.floor(value / unit);
    if (ms < 1000) return ms + ' ms';
    if (seconds < 60) return whole(ms + 50, 1000) + '.' + (whole(ms + 50, 100) % 10) + ' s';
    if (seconds < 3600) return units(whole(seconds, 60), 'min', seconds % 60, 's');
    if (seconds < DAY) return units(whole(seconds, 3600), 'h', whole(seconds, 60) % 60, 'min');
    return units(whole(seconds, DAY), 'd', whole(seconds, 3600) % 24, 'h');
  };
  const day = (at) => {
    const date = new Date(at * 1000);
    return date.getUTCFullYear() + '-' + two(date.getUTCMonth() + 1) + '-' + two(date.getUTCDate());
  };
  const minute = (at) => {
    const date = new Date(at * 1000);
    return day(at) + ' ' + two(date.getUTCHours()) + ':' + two(date.getUTCMinutes());
  };

  const runs = (number) => (number === 1 ? '1 run' : grouped(number) + ' runs');

  const bucketSize = (from, until) => (until - from <= 35 * DAY ? DAY : WEEK);
  const bucketStart = (at, size) => {
    const days = Math.floor(at / DAY);
    return (size === DAY ? days : days - ((((days + 3) % 7) + 7) % 7)) * DAY;
  };

  const none = () => ({ runs: 0, pass: 0, fail: 0, didNotRun: 0, gates: 0, cached: 0, spent: 0 });
  function add(counts, [, duration, , , verdict, , gates]) {
    counts.runs += 1;
    counts[['pass', 'fail', 'didNotRun'][verdict]] += 1;
    counts.gates += gates.length;
    counts.cached += gates.filter((gate) => gate[2] === 1).length;
    counts.spent += duration;
    return counts;
  }
  const count = (runs) => runs.reduce(add, none());

  function buckets(runs, size) {
    const found = new Map();
    for (const run of runs) {
      const start = bucketStart(run[0], size);
      if (!found.has(start)) found.set(start, none());
      add(found.get(start), run);
    }
    return [...found].map(([start, counts]) => ({ start, ...counts }));
  }

  const weeks = (from, until) => Math.max((until - from) / WEEK, 1);
  const rank = (sorted, percent) => (sorted.length === 0 ? 0 : sorted[Math.max(Math.ceil((percent * sorted.length) / 100) - 1, 0)]);
  // By bytes, as the program sorts, and not as a language does.
  const encoder = new TextEncoder();
  function byName(a, b) {
    const [left, right] = [encoder.encode(a), encoder.encode(b)];
    for (let index = 0; index < Math.min(left.length, right.length); index += 1) {
      if (left[index] !== right[index]) return left[index] - right[index];
    }
    return left.length - right.length;
  }

  function costs(runs, names, from, until) {
    const gates = new Map();
    for (const run of runs) {
      for (const [id, verdict, cached, duration] of run[6]) {
        if (!gates.has(id)) gates.set(id, { gate: names[id], id, ran: 0, cached: 0, pass: 0, fail: 0, didNotRun: 0, total: 0, durations: [] });
        const cost = gates.get(id);
        if (cached) {
          cost.cached += 1;
          continue;
        }
        cost.ran += 1;
        cost[['pass', 'fail', 'didNotRun'][verdict]] += 1;
        cost.total += duration;
        cost.durations.push(duration);
      }
    }
    const all = [...gates.values()];
    for (const cost of all) {
      cost.durations.sort((a, b) => a - b);
      cost.median = rank(cost.durations, 50);
      cost.p95 = rank(cost.durations, 95);
      cost.week = Math.round(cost.total / weeks(from, until));
    }
    return all.sort((a, b) => b.total - a.total || byName(a.gate, b.gate));
  }

  function flaky(runs, names, testNames) {
    const ran = new Map();
    const tests = new Map();
    const commits = new Map();
    for (const [at, , , , , commit, gates] of runs) {
      for (const [id, verdict, cached, , flaky] of gates) {
        if (cached) continue;
        ran.set(id, (ran.get(id) || 0) + 1);
        for (const test of new Set(flaky || [])) {
          const key = id + ' ' + test;
          const known = tests.get(key) || { gate: names[id], test: testNames[test], id, times: 0 };
          tests.set(key, { ...known, times: known.times + 1, last: at });
        }
        if (commit >= 0 && verdict !== 2) {
          const key = id + ' ' + commit;
          const known = commits.get(key) || { id, seen: new Set() };
          known.seen.add(verdict);
          known.last = at;
          commits.set(key, known);
        }
      }
    }
    const whole = new Map();
    for (const { id, seen, last } of commits.values()) {
      if (seen.size < 2) continue;
      const known = whole.get(id) || { gate: names[id], test: '', id, times: 0, last };
      whole.set(id, { ...known, times: known.times + 1, last: Math.max(known.last, last) });
    }
    const all = [...tests.values(), ...whole.values()].map((one) => ({ ...one, ran: ran.get(one.id) || 0 }));
    return all.sort((a, b) => b.times - a.times || byName(a.gate, b.gate) || byName(a.test, b.test));
  }

  const rows = {
    bucket: (one) => [
      day(one.start), grouped(one.runs), grouped(one.pass), grouped(one.fail), grouped(one.didNotRun),
      percent(one.pass, one.runs), grouped(one.gates), percent(one.cached, one.gates), time(one.spent),
    ],
    gate: (one, all) => [
      one.gate, time(one.week), percent(one.total, all), time(one.total), grouped(one.ran), grouped(one.cached),
      percent(one.pass, one.ran), grouped(one.fail), grouped(one.didNotRun),
      one.ran === 0 ? NONE : time(one.median), one.ran === 0 ? NONE : time(one.p95),
    ],
    flaky: (one) => [
      one.test === '' ? '(the whole gate, on the same commit)' : one.test, one.gate, grouped(one.times), grouped(one.ran), minute(one.last),
    ],
  };

  // What `view/tiles.rs` says: each a value, a note, and whether somebody should look at it.
  function tiles(counts, flakyCount, points, from, until) {
    const measured = points.coverage.map((point) => point[4][1]).filter((tenths) => tenths !== null);
    const change = measured.length > 0 ? measured[measured.length - 1] - measured[0] : 0;
    const size = Math.abs(change);
    const whole = points.findings.filter((point) => point[2] === 'ci');
    const looked = whole.length > 0 ? whole : points.findings;
    const last = looked[looked.length - 1];
    const fate = (number) => points.releases.filter((point) => point[4][1] === number).length;
    return {
      passed: [percent(counts.pass, counts.runs), grouped(counts.pass) + ' of ' + runs(counts.runs) + ', ' + grouped(counts.didNotRun) + ' without a verdict', false],
      spent: [time(Math.round(counts.spent / weeks(from, until))), time(counts.spent) + ' in all', false],
      cached: [percent(counts.cached, counts.gates), grouped(counts.cached) + ' of ' + grouped(counts.gates) + ' gates', false],
      coverage: measured.length === 0
        ? [NONE, 'not measured', false]
        : measured.length === 1 ? [inTenths(measured[0]), 'measured once', false]
        : [inTenths(measured[measured.length - 1]), (change < 0 ? '−' : '+') + Math.floor(size / 10) + '.' + (size % 10) + ' points in this time', false],
      findings: last === undefined
        ? [NONE, 'nothing was looked at', false]
        : [grouped(last[4][0] + last[4][1]), 'in the last ' + last[2] + '; ' + grouped(last[4][2]) + ' medium, ' + grouped(last[4][3]) + ' low', last[4][0] + last[4][1] > 0],
      flaky: [grouped(flakyCount), 'tests and gates that passed and failed without a change', false],
      releases: [grouped(points.releases.length), grouped(fate(0)) + ' verified, ' + grouped(fate(1)) + ' restored, ' + grouped(fate(3)) + ' not restored', fate(3) > 0],
    };
  }

  return { DAY, bucketSize, bucketStart, buckets, byName, costs, count, day, digits, flaky, grouped, minute, percent, rows, runs, tiles, time };
})();
