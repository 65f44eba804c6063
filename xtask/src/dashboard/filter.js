'use strict';
// What is shown: the filter, which lies in the address as well, the tables of a selection, and the theme.
(() => {
  const MOST_ROWS = 500;
  const data = JSON.parse(document.getElementById('data').textContent);
  const root = document.documentElement;
  const find = (id) => document.getElementById(id);
  const [form, branch, task, range, theme] = ['filter', 'branch', 'task', 'range', 'theme'].map(find);
  const hasRuns = data.runs.length > 0 || data.points.releases.length > 0;
  const sorting = { by: null, falling: true };

  function option(select, value, text) {
    const one = document.createElement('option');
    one.value = value;
    one.textContent = text;
    select.append(one);
  }
  function choices(select, all, names, index) {
    const counts = names.map(() => 0);
    data.runs.forEach((run) => { counts[run[index]] += 1; });
    option(select, '', all);
    const order = names.map((_, number) => number).sort((a, b) => counts[b] - counts[a] || figures.byName(names[a], names[b]));
    order.forEach((number) => option(select, 'is:' + names[number], (names[number] || '(no branch)') + ' (' + figures.grouped(counts[number]) + ')'));
  }

  // The runs and the points that the filter lets through.
  function selection() {
    const chosen = data.ranges.find((one) => one.id === range.value) || data.ranges[0];
    const { from } = chosen;
    const is = (select, name) => select.value === '' || select.value === 'is:' + name;
    const runs = data.runs.filter((run) => run[0] >= from && is(branch, data.branches[run[2]]) && is(task, data.tasks[run[3]]));
    const through = (point) => point[0] >= from && is(branch, point[1]) && is(task, point[2]);
    const { coverage, findings, loads, images, releases } = data.points;
    const points = {
      coverage: coverage.filter(through),
      findings: findings.filter(through),
      loads: loads.filter(through),
      images: images.filter(through),
      releases: releases.filter((point) => point[0] >= from),
    };
    const { until } = data;
    return {
      runs, points, from, until,
      task: task.value,
      delivery: chosen.delivery,
      buckets: figures.buckets(runs, figures.bucketSize(from, until)),
      costs: figures.costs(runs, data.gates, from, until),
      flaky: figures.flaky(runs, data.gates, data.tests),
      gates: data.gates,
      environments: data.environments,
      fates: data.fates,
    };
  }

  // A table is written anew only where the filter or its order has changed.
  function fill(id, rows) {
    const table = find('table-' + id);
    const body = document.createElement('tbody');
    for (const cells of rows.slice(0, MOST_ROWS)) {
      const row = body.insertRow();
      cells.forEach((text, index) => {
        const cell = document.createElement(index === 0 ? 'th' : 'td');
        if (index === 0) cell.scope = 'row';
        cell.textContent = text;
        row.append(cell);
      });
    }
    table.tBodies[0].replaceWith(body);
    table.querySelector('.cut').textContent =
      rows.length > MOST_ROWS ? ', the first ' + figures.grouped(MOST_ROWS) + ' of ' + figures.grouped(rows.length) : '';
    find('none-' + id).hidden = rows.length > 0;
    table.parentElement.hidden = rows.length === 0;
    const details = table.closest('details');
    if (details !== null) details.hidden = rows.length === 0;
  }
  const newest = (points) => points.map((point) => point[3]).reverse();

  function tables(chosen) {
    const all = chosen.costs.reduce((sum, one) => sum + one.total, 0);
    fill('runs', [...chosen.buckets].reverse().map(figures.rows.bucket));
    fill('gates', sorted(chosen.costs).map((one) => figures.rows.gate(one, all)));
    fill('flaky', chosen.flaky.map(figures.rows.flaky));
    for (const name of ['coverage', 'findings', 'loads', 'images', 'releases']) fill(name, newest(chosen.points[name]));
    fill('delivery', chosen.delivery);
    const { runs, flaky, points, from, until } = chosen;
    const tiles = figures.tiles(figures.count(runs), flaky.length, points, from, until);
    for (const [id, [value, note, isBad]] of Object.entries(tiles)) {
      const tile = find('tile-' + id);
      tile.querySelector('.value').textContent = value;
      tile.querySelector('.note').textContent = note;
      tile.classList.toggle('bad', isBad);
    }
    find('shown').textContent = figures.grouped(runs.length) + ' of ' + figures.runs(data.runs.length);
  }

  // The table of gates, by any of its columns.
  const columns = ['gate', 'week', 'total', 'total', 'ran', 'cached', 'rate', 'fail', 'didNotRun', 'median', 'p95'];
  function sorted(costs) {
    if (sorting.by === null) return costs;
    const key = columns[sorting.by];
    const value = (one) => (key === 'rate' ? one.pass / one.ran || 0 : one[key]);
    const order = (a, b) => (key === 'gate' ? figures.byName(a.gate, b.gate) : value(a) - value(b));
    return [...costs].sort((a, b) => (sorting.falling ? order(b, a) : order(a, b)));
  }
  function sortable() {
    const heads = [...find('table-gates').tHead.rows[0].cells];
    heads.forEach((head, index) => {
      const button = document.createElement('button');
      button.type = 'button';
      button.textContent = head.textContent;
      head.replaceChildren(button);
      button.addEventListener('click', () => {
        sorting.falling = sorting.by === index ? !sorting.falling : index > 0;
        sorting.by = index;
        heads.forEach((other) => other.removeAttribute('aria-sort'));
        head.setAttribute('aria-sort', sorting.falling ? 'descending' : 'ascending');
        const chosen = selection();
        const all = chosen.costs.reduce((sum, one) => sum + one.total, 0);
        fill('gates', sorted(chosen.costs).map((one) => figures.rows.gate(one, all)));
      });
    });
  }

  // The filter in the address: a selection can be kept as a bookmark. An anchor of a section is no filter.
  function fromAddress() {
    if (!location.hash.includes('=')) return;
    const wanted = new URLSearchParams(location.hash.slice(1));
    for (const [select, name, prefix] of [[branch, 'branch', 'is:'], [task, 'task', 'is:'], [range, 'range', '']]) {
      const value = wanted.has(name) ? prefix + wanted.get(name) : '';
      select.value = value;
      // What is not there is not chosen.
      if (select.value !== value || value === '') select.selectedIndex = 0;
    }
  }
  function toAddress() {
    const wanted = new URLSearchParams();
    if (branch.value !== '') wanted.set('branch', branch.value.slice(3));
    if (task.value !== '') wanted.set('task', task.value.slice(3));
    if (range.selectedIndex > 0) wanted.set('range', range.value);
    history.replaceState(null, '', '#' + (wanted.toString() || 'range=all'));
  }

  // Storage is not there for every page that lies in a file.
  function stored(value) {
    try {
      if (value === undefined) return localStorage.getItem('pipeline-theme') || '';
      localStorage.setItem('pipeline-theme', value);
    } catch {
      return '';
    }
    return value;
  }
  function paint() {
    if (theme.value === '') delete root.dataset.theme;
    else root.dataset.theme = theme.value;
  }

  form.hidden = false;
  form.addEventListener('submit', (event) => event.preventDefault());
  theme.value = stored();
  if (theme.selectedIndex < 0) theme.selectedIndex = 0;
  paint();
  theme.addEventListener('change', () => stored(theme.value));
  if (!hasRuns) {
    for (const select of [branch, task, range]) select.parentElement.hidden = true;
    theme.addEventListener('change', paint);
    return;
  }
  choices(branch, 'All branches', data.branches, 2);
  choices(task, 'All tasks', data.tasks, 3);
  data.ranges.forEach((one) => option(range, one.id, one.name));
  sortable();
  const draw = () => charts.draw(selection());
  const show = () => {
    tables(selection());
    draw();
  };
  for (const select of [branch, task, range]) {
    select.addEventListener('change', () => {
      toAddress();
      show();
    });
  }
  theme.addEventListener('change', () => {
    paint();
    draw();
  });
  addEventListener('hashchange', () => {
    if (!location.hash.includes('=')) return;
    fromAddress();
    show();
  });
  fromAddress();
  if (branch.selectedIndex > 0 || task.selectedIndex > 0 || range.selectedIndex > 0) tables(selection());
  else find('shown').textContent = figures.grouped(data.runs.length) + ' of ' + figures.runs(data.runs.length);
  plots.keep(draw);
  root.dataset.ready = 'yes';
})();
