'use strict';
(() => {
  const data = JSON.parse(document.getElementById('data').textContent);
  const digits = (value) => (value === null || value === undefined ? '–' : String(Number(value.toPrecision(3))));
  const percent = (x) => String(Number((100 * (1 - 1 / x)).toPrecision(10))) + ' %';
  let drawn = [];

  function draw() {
    drawn.forEach((chart) => chart.destroy());
    drawn = [];
    for (const place of document.querySelectorAll('[data-chart]')) {
      const chart = data[place.dataset.chart];
      place.classList.add('lines');
      const spectrum = chart.x === 'percentile';
      const series = chart.series.map((one, index) => ({
        ...plots.line(one.label, index),
        // A value between two gaps has no line, only a point.
        points: { show: chart.at.length < 40 },
        value: (_, value) => digits(value),
      }));
      const ground = plots.color('raised');
      const options = {
        width: Math.max(280, place.clientWidth),
        height: 300,
        scales: {
          x: spectrum ? { time: false, distr: 3, log: 10 } : { time: false },
          y: { range: plots.fromZero },
        },
        axes: [
          {
            ...plots.axis(),
            ...(spectrum ? {} : { incrs: [1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 1800, 3600, 7200, 21600] }),
            label: spectrum ? 'percentile' : 'seconds since the start',
            values: spectrum ? (_, ticks) => ticks.map((x) => (Number.isInteger(Math.log10(x)) ? percent(x) : '')) : undefined,
          },
          { ...plots.axis(), label: chart.unit, size: 70, values: (_, ticks) => ticks.map(digits) },
        ],
        hooks: { drawClear: [(drawing) => shade(drawing, chart.warmUp, ground)] },
        legend: plots.samples(series),
        series: [{ label: spectrum ? 'percentile' : 'second', value: (_, x) => (x === null ? '–' : spectrum ? percent(x) : x) }, ...series],
      };
      drawn.push(new uPlot(options, [chart.at, ...chart.series.map((one) => one.values)], place));
      plots.legend(place);
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

  plots.keep(draw);
})();
