'use strict';
(() => {
  const data = JSON.parse(document.getElementById('data').textContent);
  const root = document.documentElement;
  const dashes = [[], [8, 4], [2, 3], [12, 3, 2, 3]];
  const digits = (value) => (value === null || value === undefined ? '–' : String(Number(value.toPrecision(3))));
  const percent = (x) => String(Number((100 * (1 - 1 / x)).toPrecision(10))) + ' %';
  let drawn = [];

  function draw() {
    drawn.forEach((chart) => chart.destroy());
    drawn = [];
    const style = getComputedStyle(root);
    const color = (name) => style.getPropertyValue('--' + name).trim();
    for (const place of document.querySelectorAll('[data-chart]')) {
      const chart = data[place.dataset.chart];
      const spectrum = chart.x === 'percentile';
      const series = chart.series.map((one, index) => ({
        label: one.label,
        stroke: color('series-' + ((index % 4) + 1)),
        width: 2,
        dash: dashes[index % 4],
        spanGaps: false,
        // A value between two gaps has no line, only a point.
        points: { show: chart.at.length < 40 },
        value: (_, value) => digits(value),
      }));
      const axis = { stroke: color('text'), grid: { stroke: color('line'), width: 1 }, ticks: { stroke: color('line'), width: 1 } };
      const options = {
        width: Math.max(280, place.clientWidth),
        height: 300,
        scales: {
          x: spectrum ? { time: false, distr: 3, log: 10 } : { time: false },
          // Nothing that is counted or timed begins elsewhere than at zero.
          y: { range: (_, low, high) => [0, high > 0 ? high * 1.05 : 1] },
        },
        axes: [
          {
            ...axis,
            ...(spectrum ? {} : { incrs: [1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 1800, 3600, 7200, 21600] }),
            label: spectrum ? 'percentile' : 'seconds since the start',
            values: spectrum ? (_, ticks) => ticks.map((x) => (Number.isInteger(Math.log10(x)) ? percent(x) : '')) : undefined,
          },
          { ...axis, label: chart.unit, size: 70, values: (_, ticks) => ticks.map(digits) },
        ],
        hooks: { drawClear: [(drawing) => shade(drawing, chart.warmUp, color('raised'))] },
        series: [{ label: spectrum ? 'percentile' : 'second', value: (_, x) => (x === null ? '–' : spectrum ? percent(x) : x) }, ...series],
      };
      drawn.push(new uPlot(options, [chart.at, ...chart.series.map((one) => one.values)], place));
      legend(place);
    }
  }

  // The warm-up lies on another ground.
  function shade(drawing, until, fill) {
    if (!until) return;
    const { left, top, height } = drawing.bbox;
    const right = Math.min(Math.max(drawing.valToPos(until, 'x', true), left), left + drawing.bbox.width);
    drawing.ctx.save();
    drawing.ctx.fillStyle = fill;
    drawing.ctx.fillRect(left, top, right - left, height);
    drawing.ctx.restore();
  }

  // A series is hidden by a click on its name; from the keyboard as well.
  function legend(place) {
    place.querySelectorAll('.u-legend .u-series').forEach((row, index) => {
      const name = row.querySelector('th');
      if (index === 0 || name === null) return;
      const state = () => name.setAttribute('aria-pressed', String(!row.classList.contains('u-off')));
      name.tabIndex = 0;
      name.setAttribute('role', 'button');
      name.addEventListener('click', () => setTimeout(state));
      name.addEventListener('keydown', (event) => {
        if (event.key === 'Enter' || event.key === ' ') {
          event.preventDefault();
          name.click();
        }
      });
      state();
    });
  }

  draw();
  matchMedia('(prefers-color-scheme: dark)').addEventListener('change', draw);
  let later;
  addEventListener('resize', () => {
    clearTimeout(later);
    later = setTimeout(draw, 100);
  });
  // Paper is white.
  addEventListener('beforeprint', () => {
    root.dataset.theme = 'light';
    draw();
  });
  addEventListener('afterprint', () => {
    delete root.dataset.theme;
    draw();
  });
})();
