'use strict';
// The pictures of a selection: which series each has. uPlot draws them; lines differ by their dashes, bars by their
// hatching and releases by their shapes, and never by a colour alone.
const charts = (() => {
  const MOST_LINES = 4;
  const MOST_GATES = 5;
  const HEIGHT = 230;
  const months = ['Jan', 'Feb', 'Mar', 'Apr', 'May', 'Jun', 'Jul', 'Aug', 'Sep', 'Oct', 'Nov', 'Dec'];
  const { DAY, bucketSize, bucketStart, digits, grouped, minute } = figures;
  let drawn = [];

  const number = (value) => (Math.abs(value) >= 1000 && Number.isInteger(value) ? grouped(value) : digits(value));
  const shown = (value) => (value === null || value === undefined ? '–' : number(value));

  // 12 Nov, and the year or the hour where the ticks are that far or that near.
  function moment(at, step) {
    const date = new Date(at * 1000);
    const [month, year] = [months[date.getUTCMonth()], date.getUTCFullYear()];
    if (step >= 300 * DAY) return String(year);
    if (step >= 28 * DAY) return month + ' ' + year;
    if (step >= DAY || at % DAY === 0) return date.getUTCDate() + ' ' + month;
    return minute(at).slice(11);
  }

  // A small picture that is repeated: stripes one way, the other way, level, or dots, on the ground of its colour.
  const hatchings = ['none', 'falling', 'rising', 'level', 'dots', 'crossed'];
  function hatched(context, color, ink, kind) {
    const size = 8 * devicePixelRatio;
    const tile = document.createElement('canvas');
    tile.width = size;
    tile.height = size;
    const brush = tile.getContext('2d');
    brush.fillStyle = color;
    brush.fillRect(0, 0, size, size);
    brush.strokeStyle = ink;
    brush.fillStyle = ink;
    brush.lineWidth = 1.5 * devicePixelRatio;
    const stroke = (...lines) => {
      brush.beginPath();
      for (const [x, y, toX, toY] of lines) {
        brush.moveTo(x * size, y * size);
        brush.lineTo(toX * size, toY * size);
      }
      brush.stroke();
    };
    const falling = [[-0.5, -0.5, 1.5, 1.5], [-0.5, 0.5, 0.5, 1.5], [0.5, -0.5, 1.5, 0.5]];
    const rising = [[-0.5, 1.5, 1.5, -0.5], [-0.5, 0.5, 0.5, -0.5], [0.5, 1.5, 1.5, 0.5]];
    if (kind === 'falling' || kind === 'crossed') stroke(...falling);
    if (kind === 'rising' || kind === 'crossed') stroke(...rising);
    if (kind === 'level') stroke([0, 0.5, 1, 0.5]);
    if (kind === 'dots') brush.fillRect(size * 0.3, size * 0.3, size * 0.35, size * 0.35);
    return context.createPattern(tile, 'repeat');
  }
  // The same for the names below the picture, in the words of CSS.
  function swatch(color, ink, kind) {
    const stripes = (angle) => `repeating-linear-gradient(${angle}deg, ${color} 0 3px, ${ink} 3px 4.5px)`;
    if (kind === 'falling') return stripes(45);
    if (kind === 'rising') return stripes(135);
    if (kind === 'level') return stripes(0);
    if (kind === 'crossed') return `repeating-linear-gradient(45deg, transparent 0 3px, ${ink} 3px 4.5px), ${stripes(135)}`;
    if (kind === 'dots') return `radial-gradient(${ink} 30%, ${color} 34%) 0 0 / 6px 6px`;
    return color;
  }

  // Shapes of the releases, in the order of their fates.
  const shapes = [
    (path, x, y, r) => path.arc(x, y, r, 0, 2 * Math.PI),
    (path, x, y, r) => polygon(path, [[x, y - r], [x + r, y + r * 0.8], [x - r, y + r * 0.8]]),
    (path, x, y, r) => path.rect(x - r * 0.85, y - r * 0.85, r * 1.7, r * 1.7),
    (path, x, y, r) => {
      const [a, b] = [r * 0.4, r];
      polygon(path, [[x, y - a], [x + a, y - b], [x + b, y - a], [x + a, y], [x + b, y + a], [x + a, y + b], [x, y + a], [x - a, y + b], [x - b, y + a], [x - a, y], [x - b, y - a], [x - a, y - b]]);
    },
    (path, x, y, r) => {
      path.arc(x, y, r, 0, 2 * Math.PI);
      path.moveTo(x + r * 0.5, y);
      path.arc(x, y, r * 0.5, 0, 2 * Math.PI, true);
    },
  ];
  const marks = ['●', '▲', '■', '✕', '○'];
  function polygon(path, [[x, y], ...others]) {
    path.moveTo(x, y);
    for (const [toX, toY] of others) path.lineTo(toX, toY);
    path.closePath();
  }

  // Everything but the series: each picture has the same time from left to right, and one cursor.
  function options(place, [from, until], y, axis) {
    const base = plots.axis();
    return {
      width: Math.max(260, place.clientWidth),
      height: HEIGHT,
      tzDate: (at) => uPlot.tzDate(new Date(at * 1000), 'Etc/UTC'),
      cursor: { drag: { x: false, y: false }, sync: { key: 'time', setSeries: false } },
      scales: { x: { time: true, range: () => [from, until] }, y: { range: plots.fromZero, ...y } },
      axes: [
        { ...base, values: (_, ticks, __, ___, step) => ticks.map((at) => moment(at, step)), space: 70 },
        { ...base, size: 62, values: (_, ticks) => ticks.map(number), ...axis },
      ],
    };
  }
  const timeline = { label: 'time', value: (_, at) => (at === null ? '–' : minute(at)) };

  function lines(place, span, at, series, y, axis) {
    place.classList.add('lines');
    const drawnSeries = series.map((one, index) => ({
      ...plots.line(one.label, index, one.color),
      spanGaps: true,
      points: { show: at.length < 60 },
      value: (_, value) => shown(value),
      ...(one.stepped ? { paths: uPlot.paths.stepped({ align: 1 }) } : {}),
    }));
    plot(place, { ...options(place, span, y, axis), legend: plots.samples(drawnSeries), series: [timeline, ...drawnSeries] }, [at, ...series.map((one) => one.values)]);
  }

  // Each series stands on those before it.
  function bars(place, span, at, series, axis) {
    const tops = [];
    series.forEach((one, index) => tops.push(one.values.map((value, i) => value + (index > 0 ? tops[index - 1][i] : 0))));
    const ink = plots.color('ground');
    const drawnSeries = series.map(({ label, color, hatching, values }, index) => {
      const edge = (of) => ({ unit: 1, values: () => of });
      const floor = index > 0 ? tops[index - 1] : at.map(() => 0);
      let pattern;
      return {
        label,
        stroke: color,
        width: 0,
        fill: (drawing) => (pattern = pattern || hatched(drawing.ctx, color, ink, hatching)),
        paths: uPlot.paths.bars({ size: [0.86, 48], align: 1, disp: { y0: edge(floor), y1: edge(tops[index]) } }),
        points: { show: false },
        value: (_, __, ___, i) => (i === null || i === undefined ? '–' : shown(values[i])),
      };
    });
    const background = (_, i) => (i === 0 ? null : swatch(series[i - 1].color, ink, series[i - 1].hatching));
    const legend = { markers: { fill: background, stroke: () => null, width: 0 } };
    plot(place, { ...options(place, span, {}, axis), legend, series: [timeline, ...drawnSeries] }, [at, ...tops]);
  }

  function plot(place, wanted, values) {
    place.closest('figure').hidden = false;
    drawn.push(new uPlot(wanted, values, place));
    plots.legend(place);
  }

  // One line for each of the names with the most points.
  function byName(points, name, value) {
    const counts = new Map();
    points.forEach((point) => counts.set(name(point), (counts.get(name(point)) || 0) + 1));
    const chosen = [...counts].sort((a, b) => b[1] - a[1] || figures.byName(a[0], b[0])).slice(0, MOST_LINES).map(([one]) => one);
    const at = [...new Set(points.map((point) => point[0]))];
    const index = new Map(at.map((one, i) => [one, i]));
    const series = chosen.map((label) => ({ label: label || '(no branch)', values: at.map(() => null) }));
    for (const point of points) {
      const line = series[chosen.indexOf(name(point))];
      if (line !== undefined) line.values[index.get(point[0])] = value(point);
    }
    return { at, series };
  }

  // What is counted has no halves.
  const whole = { incrs: [1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10000] };
  const severities = [['critical', 'series-4'], ['high', 'series-2'], ['medium', 'series-3'], ['low', 'series-6']];

  const pictures = {
    verdicts(place, { buckets, span }) {
      const series = [
        { label: 'passed', color: plots.color('good'), hatching: 'none', values: buckets.map((one) => one.pass) },
        { label: 'failed', color: plots.color('bad'), hatching: 'falling', values: buckets.map((one) => one.fail) },
        { label: 'no verdict', color: plots.color('open'), hatching: 'dots', values: buckets.map((one) => one.didNotRun) },
      ];
      bars(place, span, buckets.map((one) => one.start), series, whole);
    },
    shares(place, { buckets, span, size }) {
      const share = (part, whole) => (whole === 0 ? null : (100 * part) / whole);
      const series = [
        { label: 'passed', values: buckets.map((one) => share(one.pass, one.runs)) },
        { label: 'from the cache', values: buckets.map((one) => share(one.cached, one.gates)) },
      ];
      // A share is that of its whole day or week.
      lines(place, span, buckets.map((one) => one.start + size / 2), series, { range: () => [0, 102] });
    },
    costs(place, { runs, costs, gates, span, size, starts }) {
      const top = costs.slice(0, MOST_GATES).map((one) => one.id);
      const values = [...top, -1].map(() => starts.map(() => 0));
      const column = new Map(starts.map((start, index) => [start, index]));
      for (const run of runs) {
        const at = column.get(bucketStart(run[0], size));
        for (const [id, , cached, duration] of run[6]) {
          const line = top.indexOf(id);
          if (!cached) values[line < 0 ? top.length : line][at] += duration / 60000;
        }
      }
      const name = (index) => (index < top.length ? gates[top[index]] : 'all others');
      const series = values.map((of, index) => ({
        label: name(index), color: plots.color('series-' + (index + 1)), hatching: hatchings[index], values: of,
      }));
      if (costs.length <= top.length) series.pop();
      bars(place, span, starts, series);
    },
    coverage(place, { points, span }) {
      const measured = points.coverage.filter((point) => point[4][0] !== null);
      const { at, series } = byName(measured, (point) => point[1], (point) => point[4][0]);
      const low = Math.min(...measured.map((point) => point[4][0]));
      // Where nothing is low, the upper part is what is of interest; the axis says so.
      const floor = Math.max(0, Math.floor((low - 5) / 10) * 10);
      if (at.length > 0) lines(place, span, at, series, { range: () => [floor, 100.5] });
    },
    findings(place, { points, span, task }) {
      const ofCi = points.findings.filter((point) => point[2] === 'ci');
      const looked = task === '' && ofCi.length > 0 ? ofCi : points.findings;
      const series = severities.map(([label, color], index) => ({
        label, color, stepped: true, values: looked.map((point) => point[4][index]),
      }));
      if (looked.length > 0) lines(place, span, looked.map((point) => point[0]), series, {}, whole);
    },
    images(place, { points, span }) {
      const { at, series } = byName(points.images, (point) => point[1], (point) => point[4][0]);
      if (at.length > 0) lines(place, span, at, series);
    },
    releases(place, { points, span, environments, fates }) {
      const releases = points.releases;
      if (releases.length === 0) return;
      const at = releases.map((point) => point[0]);
      const colors = ['good', 'open', 'quiet', 'bad', 'series-1'].map(plots.color);
      const present = fates.map((_, fate) => fate).filter((fate) => releases.some((point) => point[4][1] === fate));
      const series = present.map((fate) => ({
        label: marks[fate] + ' ' + fates[fate],
        stroke: colors[fate],
        fill: colors[fate],
        width: 0,
        paths: () => null,
        points: { show: true, width: 0, stroke: colors[fate], fill: colors[fate], size: 13, paths: shaped(shapes[fate]) },
        value: (_, value) => (value === null || value === undefined ? '–' : environments[value]),
      }));
      const values = present.map((fate) => releases.map((point) => (point[4][1] === fate ? point[4][0] : null)));
      const longest = Math.max(...environments.map((name) => name.length));
      const axis = {
        size: Math.min(160, 24 + 8 * longest),
        splits: () => environments.map((_, index) => index),
        values: (_, ticks) => ticks.map((index) => (environments[index].length > 18 ? environments[index].slice(0, 17) + '…' : environments[index])),
      };
      const wanted = options(place, span, { range: () => [environments.length - 0.5, -0.5], dir: 1 }, axis);
      wanted.scales.y = { range: () => [-0.5, environments.length - 0.5] };
      wanted.height = 110 + 48 * environments.length;
      plot(place, { ...wanted, series: [timeline, ...series] }, [at, ...values]);
    },
  };
  function shaped(shape) {
    return (drawing, series, first, last) => {
      const path = new Path2D();
      for (let index = first; index <= last; index += 1) {
        const value = drawing.data[series][index];
        if (value === null || value === undefined) continue;
        const single = new Path2D();
        shape(single, drawing.valToPos(drawing.data[0][index], 'x', true), drawing.valToPos(value, 'y', true), 6.5 * devicePixelRatio);
        path.addPath(single);
      }
      return { stroke: null, fill: path, clip: null, flags: 3 };
    };
  }
  function load(place, selection, index) {
    const names = [...new Set(selection.points.loads.map((point) => point[4][0]))].sort(figures.byName);
    const points = selection.points.loads.filter((point) => point[4][0] === names[index]);
    if (points.length === 0) return;
    place.closest('figure').querySelector('figcaption').textContent = names[index] + ', milliseconds';
    const series = ['p50', 'p95', 'p99'].map((label, i) => ({ label, values: points.map((point) => point[4][1][i]) }));
    if (points.some((point) => point[4][2] !== null)) {
      series.push({ label: 'first token p95', values: points.map((point) => point[4][2]) });
    }
    lines(place, selection.span, points.map((point) => point[0]), series);
  }

  // Draws all pictures of a selection; one without a figure is not there.
  function draw(selection) {
    drawn.forEach((chart) => chart.destroy());
    drawn = [];
    const size = bucketSize(selection.from, selection.until);
    const start = bucketStart(selection.from, size);
    const starts = [];
    for (let at = start; at <= selection.until; at += size) starts.push(at);
    const known = new Map(selection.buckets.map((one) => [one.start, one]));
    const empty = (at) => ({ start: at, runs: 0, pass: 0, fail: 0, didNotRun: 0, gates: 0, cached: 0, spent: 0 });
    const buckets = starts.map((at) => known.get(at) || empty(at));
    const all = { ...selection, size, starts, buckets, span: [start, starts[starts.length - 1] + size] };
    const places = [...document.querySelectorAll('[data-chart]')];
    // A figure that is hidden has no width.
    places.forEach((place) => { place.closest('figure').hidden = false; });
    for (const place of places) {
      const name = place.dataset.chart;
      const before = drawn.length;
      const number = /^load-(\d)$/.exec(name);
      if (number !== null) load(place, all, Number(number[1]));
      else if (selection.runs.length > 0 || name === 'releases') pictures[name](place, all);
      place.closest('figure').hidden = drawn.length === before;
    }
  }

  return { draw };
})();
