'use strict';
// What all pages with pictures need beside uPlot: colours of the theme, axes, names of lines that work from the
// keyboard, and drawing anew when the theme, the width or the medium changes.
const plots = (() => {
  const root = document.documentElement;
  // Lines differ by more than their colours.
  const dashes = [[], [8, 4], [2, 3], [12, 3, 2, 3], [5, 2], [16, 4]];
  const color = (name) => getComputedStyle(root).getPropertyValue('--' + name).trim();
  const axis = () => ({
    stroke: color('text'),
    grid: { stroke: color('line'), width: 1 },
    ticks: { stroke: color('line'), width: 1 },
  });
  const line = (label, index, name) => ({
    label,
    stroke: color(name || 'series-' + ((index % 6) + 1)),
    width: 2,
    dash: dashes[index % 6],
    spanGaps: false,
  });
  // Beside the name of a line, a piece of it.
  function sample(stroke, dash) {
    let at = 0;
    const pieces = dash.map((length, index) => {
      const piece = `${index % 2 === 0 ? stroke : 'transparent'} ${at}px ${at + length}px`;
      at += length;
      return piece;
    });
    return pieces.length === 0 ? stroke : `repeating-linear-gradient(90deg, ${pieces.join(', ')})`;
  }
  const samples = (lines) => ({
    markers: { width: 0, stroke: () => null, fill: (_, index) => (index === 0 ? null : sample(lines[index - 1].stroke, lines[index - 1].dash)) },
  });
  // Nothing that is counted or timed begins elsewhere than at zero.
  const fromZero = (_, low, high) => [0, high > 0 ? high * 1.05 : 1];

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

  // Draws now, and again whenever what is there would look wrong.
  function keep(draw) {
    let theme;
    let width = root.clientWidth;
    let later;
    draw();
    matchMedia('(prefers-color-scheme: dark)').addEventListener('change', draw);
    addEventListener('resize', () => {
      clearTimeout(later);
      later = setTimeout(() => {
        if (root.clientWidth !== width) {
          width = root.clientWidth;
          draw();
        }
      }, 100);
    });
    // Paper is white.
    addEventListener('beforeprint', () => {
      theme = root.dataset.theme;
      root.dataset.theme = 'light';
      draw();
    });
    addEventListener('afterprint', () => {
      if (theme === undefined) delete root.dataset.theme;
      else root.dataset.theme = theme;
      draw();
    });
  }

  return { axis, color, fromZero, keep, legend, line, samples };
})();
