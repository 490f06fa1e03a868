/* The report of a study answers: its tables sort and filter, its heat maps tell their values and
 * open the pictures of a run, and the curves of chosen runs are drawn.
 *
 * The page is whole without this script, which only adds to it. It loads nothing: its data are the
 * JSON of the element "study", and what the tables and heat maps of the page say. All texts of the
 * data go in as text, never as HTML.
 */
"use strict";

(() => {
  const MOST_CHOSEN = 10; // runs whose curves can be told apart
  const MOST_OPTIONS = 40; // values of a setting that a list offers
  const COLORS = [
    "#3b82c4", "#d95763", "#3a9b4b", "#d98e2b", "#8f6fd1",
    "#1aa3a8", "#a97845", "#cf5fae", "#8a9a35", "#7d8a99",
  ];
  const MISSING = "\u2013";
  const PANEL = { width: 340, height: 244, left: 58, right: 26, top: 10, bottom: 40 };

  const study = JSON.parse(document.getElementById("study").textContent);
  const tables = [...document.querySelectorAll("table.runs")].map(readTable);
  const runs = tables.length ? tables[0] : { heads: [], rows: [] };
  const rowOf = new Map(runs.rows.map((row) => [row.run, row]));
  const numSwept = study.swept.length;
  const chosen = new Map(); // number of a run -> index of its colour

  // ---------------------------------------------------------------- elements and numbers

  /** Make an element; `on...` are listeners, other attributes text, children nodes or text. */
  function make(tag, attributes = {}, ...children) {
    const isSVG = ["svg", "g", "path", "line", "text", "circle", "rect", "clipPath"].includes(tag);
    const element = isSVG
      ? document.createElementNS("http://www.w3.org/2000/svg", tag)
      : document.createElement(tag);
    for (const [name, value] of Object.entries(attributes)) {
      if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
      else if (value !== false && value !== null) element.setAttribute(name, value);
    }
    element.append(...children);
    return element;
  }

  /** Return the number that a cell shows, NaN for text; a setting such as 400,200 is text. */
  function asNumber(text, isSetting) {
    const plain = text.split("\u00b1")[0].trim().replace("\u2212", "-");
    if (/^-?inf$/.test(plain)) return plain === "inf" ? Infinity : -Infinity;
    const digits = isSetting ? plain : plain.replaceAll(",", "");
    return /^-?\d*\.?\d+(e[+-]?\d+)?$/i.test(digits) ? Number(digits) : NaN;
  }

  /** Return a number as text with so many decimals, as the tables write it. */
  function written(value, decimals) {
    const options = { minimumFractionDigits: decimals, maximumFractionDigits: decimals };
    const text = Math.abs(value) >= 1e7
      ? value.toExponential(2)
      : value.toLocaleString("en-US", options);
    return text.replace("-", "\u2212");
  }

  // ---------------------------------------------------------------- the tables

  /** Read a table of the page: a row for each run, with its number first. */
  function readTable(element) {
    const heads = [...element.tHead.rows[0].cells];
    const rows = [...element.tBodies[0].rows].map((row, index) => {
      const texts = [...row.cells].map((cell) => cell.textContent.trim());
      return { element: row, index, run: texts[0], texts };
    });
    return { element, heads, rows, names: heads.map((head) => head.textContent), kinds: [] };
  }

  /** Return whether all known cells of a column are numbers. */
  function isNumeric(table, column) {
    table.kinds[column] ??= table.rows.every(({ texts }) => {
      const text = texts[column];
      return text === "" || text === MISSING || !Number.isNaN(numberIn(texts, column));
    });
    return table.kinds[column];
  }

  function numberIn(texts, column) {
    return asNumber(texts[column], column <= numSwept);
  }

  /** Make the heads of a table buttons that sort it: up, down, and as it was. */
  function makeSortable(table) {
    const next = { none: "ascending", ascending: "descending", descending: "none" };
    table.heads.forEach((head, column) => {
      const sort = () => {
        const order = next[head.getAttribute("aria-sort")];
        table.heads.forEach((other) => other.setAttribute("aria-sort", "none"));
        head.setAttribute("aria-sort", order);
        table.element.tBodies[0].append(...sorted(table, column, order).map((row) => row.element));
      };
      const button = make("button", { type: "button", class: "sort", onclick: sort });
      button.append(...head.childNodes);
      head.append(button);
      head.setAttribute("aria-sort", "none");
    });
  }

  /** Return the rows by a column; those without a value are last, of equals the earlier is first. */
  function sorted(table, column, order) {
    const rows = [...table.rows].sort((a, b) => a.index - b.index);
    if (order === "none") return rows;
    const sign = order === "ascending" ? 1 : -1;
    const isNumber = isNumeric(table, column);
    const isMissing = ({ texts }) => texts[column] === "" || texts[column] === MISSING;
    const compare = (a, b) => isNumber
      ? numberIn(a.texts, column) - numberIn(b.texts, column) || 0
      : a.texts[column].localeCompare(b.texts[column]);
    return rows.sort((a, b) => isMissing(a) - isMissing(b) ||
      (isMissing(a) ? 0 : sign * compare(a, b)));
  }

  /** Return the rows that are shown, in the order of the table. */
  function shownRows() {
    const order = new Map([...runs.element.tBodies[0].rows].map((row, i) => [row, i]));
    return runs.rows.filter((row) => !row.element.hidden)
      .sort((a, b) => order.get(a.element) - order.get(b.element));
  }

  // ---------------------------------------------------------------- filters

  const filters = new Map(); // name -> function of the texts of a row, true where it is shown
  const count = make("output", { class: "count" });

  function applyFilters() {
    const wanted = [...filters.values()];
    const hidden = new Set();
    for (const row of runs.rows) {
      row.element.hidden = !wanted.every((isWanted) => isWanted(row.texts));
      if (row.element.hidden) hidden.add(row.run);
    }
    for (const table of tables.slice(1)) {
      for (const row of table.rows) row.element.hidden = hidden.has(row.run);
    }
    count.textContent = `${runs.rows.length - hidden.size} of ${runs.rows.length} runs`;
  }

  function setFilter(name, isWanted) {
    if (isWanted) filters.set(name, isWanted);
    else filters.delete(name);
    applyFilters();
  }

  /** Return the filter of one setting: a list of its values, or the ends of a range. */
  function settingFilter(column) {
    const name = runs.names[column];
    const values = [...new Set(runs.rows.map(({ texts }) => texts[column]))];
    const isNumber = isNumeric(runs, column);
    if (values.length < 2) return [];
    if (values.length > MOST_OPTIONS) return isNumber ? [rangeFilter(name, () => column)] : [];
    if (isNumber) values.sort((a, b) => asNumber(a, true) - asNumber(b, true));
    const choose = (event) => {
      const index = event.target.selectedIndex - 1;
      setFilter(name, index < 0 ? null : (texts) => texts[column] === values[index]);
    };
    const options = ["all", ...values].map((value) => make("option", {}, value));
    return [make("label", {}, name, make("select", { name, onchange: choose }, ...options))];
  }

  /** Return two fields for the ends of a range of a column, which `columnOf` names. */
  function rangeFilter(name, columnOf, ...before) {
    const field = (end) => make("input", {
      type: "number", step: "any", placeholder: end, "aria-label": `${name}, ${end}`,
      oninput: () => update(),
    });
    const [low, high] = [field("from"), field("to")];
    function update() {
      const [from, to] = [low, high].map((input) => (input.value === "" ? NaN : +input.value));
      const isOpen = Number.isNaN(from) && Number.isNaN(to);
      const column = columnOf();
      setFilter(`range ${name}`, isOpen ? null : (texts) => {
        const value = numberIn(texts, column);
        return !Number.isNaN(value) && !(value < from) && !(value > to);
      });
    }
    const parts = before.length ? before : [name];
    parts.forEach((part) => part.addEventListener?.("change", update));
    return make("span", { class: "range" }, ...parts, low, high);
  }

  /** Return the controls above the table. */
  function controls() {
    const find = (event) => {
      const words = event.target.value.toLowerCase().split(/\s+/).filter(Boolean);
      setFilter("text", words.length === 0 ? null : (texts) => {
        const line = texts.join("\t").toLowerCase();
        return words.every((word) => line.includes(word));
      });
    };
    const terms = runs.names.map((name, column) => [name, column]).slice(numSwept + 1)
      .filter(([, column]) => isNumeric(runs, column));
    const options = terms.map(([name, column]) => make("option", { value: column }, name));
    const term = make("select", { "aria-label": "column of the range" }, ...options);
    const reset = () => {
      form.reset();
      filters.clear();
      applyFilters();
    };
    const form = make(
      "form",
      { class: "controls", "aria-label": "filters", onsubmit: (event) => event.preventDefault() },
      make("label", {}, "find", make("input", { type: "search", oninput: find })),
      ...study.swept.flatMap((_, i) => settingFilter(i + 1)),
      ...(terms.length ? [rangeFilter("of a term", () => +term.value, term)] : []),
      make("button", { type: "button", onclick: reset }, "show all"),
      count,
    );
    return form;
  }

  // ---------------------------------------------------------------- pictures of a run

  const dialog = document.getElementById("run");
  let opened = { runs: [], at: 0 };

  /** Open the pictures and numbers of a run, the one at `at` of those that belong together. */
  function open(numbers, at = 0) {
    opened = { runs: numbers, at };
    const run = numbers[at];
    const go = (by) => make("button", {
      type: "button", "aria-label": by < 0 ? "previous run" : "next run",
      disabled: numbers[at + by] === undefined ? "" : false, onclick: () => open(numbers, at + by),
    }, by < 0 ? "\u2039" : "\u203a");
    const place = numbers.length > 1
      ? [go(-1), make("span", {}, `${at + 1} of ${numbers.length}`), go(1)] : [];
    dialog.replaceChildren(
      make("header", {},
        make("h3", { tabindex: "-1" }, `Run ${run}`), ...place,
        make("button", { type: "button", onclick: () => dialog.close() }, "close")),
      make("p", {}, settingsOf(run)),
      ...(curvesOf(run) ? [make("label", {}, curveBox(run), " draw its curves")] : []),
      ...picturesOf(run),
      numbersOf(run),
    );
    if (!dialog.open) dialog.showModal();
    dialog.querySelector("h3").focus();
  }

  function settingsOf(run) {
    const row = rowOf.get(run);
    return row ? study.swept.map((name, i) => `${name} = ${row.texts[i + 1]}`).join(", ") : "";
  }

  function picturesOf(run) {
    const own = study.pictures[run] ?? [];
    if (own.length === 0) return [make("p", {}, `There are no pictures of this run. ${study.note}`)];
    return own.map(({ title, caption, width, labels, png }) => {
      const scale = Math.max(1, Math.min(4, Math.round(440 / width)));
      const image = make("img", {
        alt: `${title} of run ${run}`, width: width * scale, src: `data:image/png;base64,${png}`,
      });
      const lines = labels.length ? ` From the top: ${labels.join("; ")}.` : "";
      const text = make("figcaption", {}, make("b", {}, `${title}.`), ` ${caption}${lines}`);
      return make("figure", {}, image, text);
    });
  }

  /** Return the numbers of a run, from all tables. */
  function numbersOf(run) {
    const list = make("dl");
    for (const table of tables) {
      const row = table.rows.find((each) => each.run === run);
      for (let i = numSwept + 1; row && i < table.names.length; i++) {
        if (row.texts[i] === "" || row.texts[i] === MISSING) continue;
        list.append(make("div", {},
          make("dt", {}, table.names[i]), make("dd", {}, row.texts[i])));
      }
    }
    return list;
  }

  function prepareDialog() {
    dialog.setAttribute("aria-label", "pictures of a run");
    dialog.addEventListener("click", (event) => event.target === dialog && dialog.close());
    dialog.addEventListener("keydown", (event) => {
      const by = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
      if (!by || event.target.matches("input")) return;
      if (opened.runs[opened.at + by] !== undefined) open(opened.runs, opened.at + by);
    });
  }

  // ---------------------------------------------------------------- heat maps

  const tip = document.getElementById("tip");

  function showTip(text, x, y) {
    tip.textContent = text;
    tip.hidden = false;
    const { offsetWidth: width, offsetHeight: height } = tip;
    tip.style.left = `${Math.max(4, Math.min(x + 12, innerWidth - width - 4))}px`;
    tip.style.top = `${y + 18 + height > innerHeight ? y - height - 10 : y + 18}px`;
  }

  /** Make the cells of a map tell their value and open their runs, by pointer and by keys. */
  function prepareMap(svg) {
    const cells = [...svg.querySelectorAll("rect[data-runs]")];
    for (const cell of cells) {
      const title = cell.querySelector("title"); // a browser would show it as well, after a while
      cell.setAttribute("aria-label", title.textContent);
      cell.setAttribute("role", "button");
      cell.setAttribute("tabindex", "-1");
      title.remove();
    }
    cells[0]?.setAttribute("tabindex", "0");

    const cellOf = (event) => event.target.closest?.("rect[data-runs]");
    const openCell = (cell) => open(cell.dataset.runs.split(" "));
    const mark = make("rect", { class: "mark" });
    const tell = (cell, x, y) => {
      for (const name of ["x", "y", "width", "height"]) {
        mark.setAttribute(name, cell.getAttribute(name));
      }
      svg.append(mark);
      showTip(cell.getAttribute("aria-label"), x, y);
    };
    const hide = () => {
      mark.remove();
      tip.hidden = true;
    };
    svg.addEventListener("pointermove", (event) => {
      if (cellOf(event)) tell(cellOf(event), event.clientX, event.clientY);
      else hide();
    });
    svg.addEventListener("pointerleave", hide);
    svg.addEventListener("focusout", hide);
    svg.addEventListener("focusin", (event) => {
      const box = event.target.getBoundingClientRect();
      tell(event.target, box.left, box.bottom - 10);
    });
    svg.addEventListener("click", (event) => {
      if (cellOf(event)) openCell(cellOf(event));
    });
    svg.addEventListener("keydown", (event) => {
      const cell = cellOf(event);
      if (!cell) return;
      const direction = {
        ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1],
      }[event.key];
      if (event.key === "Enter" || event.key === " ") openCell(cell);
      else if (!direction) return;
      else moveFocus(cells, cell, direction);
      event.preventDefault();
    });
  }

  /** Move the focus to the next cell in a direction; one cell of a map is reached by Tab. */
  function moveFocus(cells, cell, [right, down]) {
    const at = (each) => [each.x.baseVal.value, each.y.baseVal.value];
    const [x, y] = at(cell);
    const ahead = cells.map((each) => [each, at(each)])
      .map(([each, [u, v]]) => [each, right * (u - x) + down * (v - y), right ? v === y : u === x])
      .filter(([, distance, isInLine]) => isInLine && distance > 0)
      .sort((a, b) => a[1] - b[1]);
    if (ahead.length === 0) return;
    cell.setAttribute("tabindex", "-1");
    ahead[0][0].setAttribute("tabindex", "0");
    ahead[0][0].focus();
  }

  // ---------------------------------------------------------------- curves of chosen runs

  const section = document.getElementById("curves");
  const panels = make("div", { class: "panels" });
  const legend = make("div", { class: "wide" });
  const slider = make("input", { type: "range", min: 0, value: 0, "aria-label": "step that is read" });
  const message = make("output");

  /** Return the curves of a run: steps, then for each term the values on train and on valid. */
  function curvesOf(run) {
    const found = study.curves.runs[run];
    if (!found) return null;
    const num = study.curves.terms.length;
    return {
      steps: study.curves.steps[found[0]],
      train: found.slice(1, num + 1),
      valid: found.slice(num + 1),
    };
  }

  /** Choose a run or not; of more than can be told apart none is added. */
  function choose(run, isChosen) {
    message.textContent = "";
    if (!isChosen) chosen.delete(run);
    else if (!chosen.has(run) && curvesOf(run)) {
      const used = new Set(chosen.values());
      const color = COLORS.findIndex((_, i) => !used.has(i));
      if (chosen.size < MOST_CHOSEN) chosen.set(run, color);
      else message.textContent = `At most ${MOST_CHOSEN} runs are drawn: leave out one first.`;
    }
    for (const box of document.querySelectorAll("input[data-run]")) {
      box.checked = chosen.has(box.dataset.run);
    }
    drawCurves();
  }

  function curveBox(run) {
    const box = make("input", {
      type: "checkbox", "data-run": run, "aria-label": `curves of run ${run}`,
      onchange: () => choose(run, box.checked),
    });
    box.checked = chosen.has(run);
    return box;
  }

  function drawCurves() {
    const numbers = [...chosen.keys()];
    const steps = numbers.map((run) => curvesOf(run).steps)
      .reduce((longest, own) => (own.length > longest.length ? own : longest), []);
    const wasLast = +slider.value === +slider.max;
    slider.max = Math.max(steps.length - 1, 0);
    if (wasLast) slider.value = slider.max;
    slider.oninput = () => read(steps[slider.value]);
    panels.replaceChildren(...study.curves.terms.map(([name, unit], term) =>
      panel(name, unit, term, numbers, steps)));
    read(steps[slider.value]);
  }

  /** Return values of which the first quarter and single spikes do not stretch the axis. */
  function limits(curves) {
    const known = curves.map((values) => values.filter((value) => value !== null))
      .filter((values) => values.length);
    if (known.length === 0) return [0, 1];
    const all = known.flat();
    const tails = known.flatMap((values) => values.slice(Math.floor(values.length / 4)))
      .sort((a, b) => a - b);
    const at = (share) => {
      const place = share * (tails.length - 1);
      const below = Math.floor(place);
      const above = Math.min(below + 1, tails.length - 1);
      return tails[below] + (place - below) * (tails[above] - tails[below]);
    };
    const margin = Math.max(0.25 * (at(0.95) - at(0.05)), 0.05 * Math.abs(at(0.5)));
    const last = known.map((values) => values[values.length - 1]);
    const low = Math.max(Math.min(at(0.05) - margin, ...last), Math.min(...all));
    const high = Math.min(Math.max(at(0.95) + margin, ...last), Math.max(...all));
    const pad = 0.04 * (high - low) || 1;
    return [low - pad, high + pad];
  }

  /** Return about four round numbers between two ends. */
  function ticks(low, high) {
    const rough = (high - low) / 4;
    const power = 10 ** Math.floor(Math.log10(rough));
    const step = [1, 2, 5, 10].map((factor) => factor * power).find((each) => each >= rough);
    const found = [];
    for (let i = Math.ceil(low / step); i * step <= high; i++) found.push(i * step);
    return [found, Math.max(0, -Math.floor(Math.log10(step) + 1e-9))];
  }

  /** Return the panel of one term: a curve on train, dashed, and one on valid, for each run. */
  function panel(name, unit, term, numbers, steps) {
    const { width, height, left, right, top, bottom } = PANEL;
    const curves = numbers.map((run) => ({ run, ...curvesOf(run) }));
    const values = curves.flatMap((own) => [own.train[term], own.valid[term]]).filter(Boolean);
    const [low, high] = limits(values);
    const end = Math.max(1, ...curves.flatMap((own) => own.steps.slice(-1)));
    const x = (step) => left + (step / end) * (width - left - right);
    const y = (value) => top + ((high - value) / (high - low)) * (height - top - bottom);
    const clip = `clip${term}`;
    const svg = make("svg", {
      viewBox: `0 0 ${width} ${height}`, role: "img",
      "aria-label": `${name} of runs ${numbers.join(", ")} over the training steps`,
    });
    const frame = { x: left, y: top, width: width - left - right, height: height - top - bottom };
    svg.append(make("clipPath", { id: clip }, make("rect", frame)));
    const [levels, decimals] = ticks(low, high);
    for (const level of levels) {
      svg.append(
        make("line", { x1: left, x2: width - right, y1: y(level), y2: y(level), class: "grid" }),
        make("text", { x: left - 6, y: y(level) + 4, class: "down" }, written(level, decimals)));
    }
    for (const step of ticks(0, end)[0]) {
      svg.append(make("text", { x: x(step), y: height - bottom + 16 }, written(step, 0)));
    }
    svg.append(make("text", { x: (left + width - right) / 2, y: height - 8 }, "training step"));
    const ends = [];
    for (const own of curves) {
      const color = COLORS[chosen.get(own.run)];
      for (const split of ["train", "valid"]) {
        const points = own[split][term];
        if (!points) continue;
        svg.append(make("path", {
          d: pathOf(own.steps, points, x, y), class: split, stroke: color, "clip-path": `url(#${clip})`,
        }));
        const last = points.findLastIndex((value) => value !== null);
        const isLabelled = split === "valid" || !own.valid[term];
        if (isLabelled && last >= 0) {
          ends.push({ run: own.run, color, x: x(own.steps[last]) + 3, y: y(points[last]) + 4 });
        }
      }
    }
    let lowest = -Infinity; // numbers of runs do not cover each other
    for (const { run, color, x: place, y: wanted } of ends.sort((a, b) => a.y - b.y)) {
      lowest = Math.max(wanted, lowest + 11);
      svg.append(make("text", { x: place, y: lowest, class: "end", fill: color }, run));
    }
    svg.append(make("line", { y1: top, y2: height - bottom, class: "cursor", "data-end": end }));
    svg.addEventListener("pointermove", (event) => {
      if (steps.length === 0) return;
      const box = svg.getBoundingClientRect();
      const share = ((event.clientX - box.left) / box.width * width - left) / (width - left - right);
      const nearest = nearestIndex(steps, share * end);
      slider.value = nearest;
      read(steps[nearest]);
    });
    return make("figure", {}, make("figcaption", {}, make("b", {}, name), ` ${unit}`), svg);
  }

  /** Return a path through the known points; train has more of them than valid. A lone one is a dot. */
  function pathOf(steps, values, x, y) {
    const points = steps.map((step, i) => [step, values[i]]).filter(([, value]) => value !== null);
    const places = points.map(([step, value]) => `${x(step).toFixed(1)} ${y(value).toFixed(1)}`);
    return places.length ? `M${places.join("L")}${places.length === 1 ? "h0.1" : ""}` : "";
  }

  /** Return the value at the known point that is nearest to a step. */
  function valueAt({ steps }, values, step) {
    const known = values?.map((_, i) => i).filter((i) => values[i] !== null) ?? [];
    if (known.length === 0) return null;
    return values[known[nearestIndex(known.map((i) => steps[i]), step)]];
  }

  function nearestIndex(steps, wanted) {
    return steps.reduce((best, step, i) =>
      (Math.abs(step - wanted) < Math.abs(steps[best] - wanted) ? i : best), 0);
  }

  /** Show the values of the chosen runs at a step, in a table that is the legend. */
  function read(step) {
    for (const cursor of panels.querySelectorAll(".cursor")) {
      const { width, left, right } = PANEL;
      const place = left + (step / +cursor.dataset.end) * (width - left - right);
      cursor.setAttribute("x1", place);
      cursor.setAttribute("x2", place);
    }
    if (chosen.size === 0) {
      legend.replaceChildren(make("p", {}, "No run is chosen: tick some in the table of all runs."));
      return;
    }
    const splits = study.curves.terms.flatMap(([name], term) =>
      ["train", "valid"].map((split) => [name, term, split]));
    const used = splits.filter(([, term, split]) =>
      [...chosen.keys()].some((run) => curvesOf(run)[split][term]));
    const heads = ["run", ...study.swept, ...used.map(([name, , split]) => `${name}, ${split}`), ""];
    const lines = [...chosen].map(([run, color]) => {
      const own = curvesOf(run);
      const value = ([, term, split]) => valueAt(own, own[split][term], step);
      const swatch = make("span", { class: "swatch" });
      swatch.style.background = COLORS[color];
      const remove = make("button", {
        type: "button", "aria-label": `leave out run ${run}`, onclick: () => choose(run, false),
      }, "\u00d7");
      return make("tr", {},
        make("td", {}, swatch, run),
        ...study.swept.map((_, i) => make("td", {}, rowOf.get(run)?.texts[i + 1] ?? "")),
        ...used.map((each) => make("td", {}, value(each) === null ? MISSING : written(value(each), 2))),
        make("td", {}, remove));
    });
    legend.replaceChildren(
      make("p", { class: "small" }, `At step ${written(step, 0)}, nats per example:`),
      make("table", {},
        make("thead", {}, make("tr", {}, ...heads.map((head) => make("th", {}, head)))),
        make("tbody", {}, ...lines)));
  }

  /** Return buttons that choose several runs at once. */
  function choosers() {
    const replace = (numbers) => {
      chosen.clear();
      numbers.filter((run) => curvesOf(run)).slice(0, 5).forEach((run) => choose(run, true));
      if (numbers.length === 0) choose("", false);
    };
    return make("p", { class: "controls" },
      make("button", { type: "button", onclick: () => replace(shownRows().map((row) => row.run)) },
        "choose the first 5 of the table"),
      make("button", { type: "button", onclick: () => replace([]) }, "choose none"), message);
  }

  // ---------------------------------------------------------------- all together

  /** Give each row a box for its curves and a button for its pictures. */
  function prepareRow(row) {
    const cell = row.element.cells[0];
    const parts = [];
    if (curvesOf(row.run)) parts.push(curveBox(row.run));
    parts.push(row.run);
    if (study.pictures[row.run]) {
      const view = () => {
        const numbers = shownRows().map((each) => each.run);
        open(numbers, numbers.indexOf(row.run));
      };
      const label = `pictures of run ${row.run}`;
      parts.push(make("button", { type: "button", "aria-label": label, onclick: view }, "view"));
    }
    cell.replaceChildren(...parts);
    cell.classList.add("run");
  }

  function links() {
    const wanted = ["Heat maps", "Figures", "All runs", "Curves of chosen runs", "All flags"];
    const heads = [...document.querySelectorAll("h2")]
      .filter((head) => wanted.includes(head.textContent));
    heads.forEach((head, i) => { head.id = `part${i}`; });
    const items = heads.map((head) => make("a", { href: `#${head.id}` }, head.textContent));
    document.querySelector("header").append(make("nav", { "aria-label": "parts" }, ...items));
  }

  tables.forEach(makeSortable);
  prepareDialog();
  document.querySelectorAll("figure.heat svg").forEach(prepareMap);
  if (tables.length) {
    runs.rows.forEach(prepareRow);
    const box = runs.element.parentElement;
    box.before(controls());
    box.classList.add("scrolled");
    tables.slice(1).forEach((table) => table.element.parentElement.classList.add("scrolled"));
    for (const table of tables) {
      const runOf = new Map(table.rows.map((row) => [row.element, row.run]));
      table.element.tBodies[0].addEventListener("click", (event) => {
        const row = event.target.closest("tr");
        const isControl = event.target.closest("button, input, label");
        if (isControl || String(getSelection())) return;
        choose(runOf.get(row), !chosen.has(runOf.get(row)));
      });
    }
    applyFilters();
  }
  if (section && Object.keys(study.curves.runs).length) {
    section.hidden = false;
    section.append(choosers(), panels, make("label", { class: "step" }, "step", slider), legend);
    study.first.map(String).forEach((run) => choose(run, true));
    slider.value = slider.max;
    drawCurves();
  }
  links();
})();
