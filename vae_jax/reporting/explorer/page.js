/*
 * The page: what is shown (state), how it changes (set), and how it is drawn (render). Everything
 * that comes from data is set as text, never as HTML.
 */

const CONTENTS = JSON.parse(document.getElementById("contents").textContent);
const NUM_SLIDERS = 10;
const NUM_SAMPLES = 12;
const STEPS_OF_STRIP = 9;
const ANY = "any seed"; // a choice in the table of a study, which no number is

const element = (id) => document.getElementById(id);
const nameOf = (latent) => `z${latent + 1}`;
const textOf = (number, digits = 4) => String(Number(number.toPrecision(digits))).replace("-", "\u2212");
const fixed = (number) => (Math.round(100 * number) / 100 + 0).toFixed(2).replace("-", "\u2212");

/** What is shown. z has the latents of the left run; the right one takes as many of them as it has. */
const state = {
  left: null,
  right: null,
  z: null,
  label: 0,
  how: "mean",
  example: 0,
  axes: [0, 1],
  slots: { a: 0, b: 1, c: 2 },
};

/** Runs by their numbers; their arrays are read when a run is first shown. */
const readRuns = {};

function runOf(number) {
  return (readRuns[number] ??= readRun(JSON.parse(element(`run-${number}`).textContent)));
}

/** Returns a run with its arrays as numbers. */
function readRun(run) {
  const prior = Object.fromEntries(
    Object.entries(run.prior).map(([name, value]) => [name, value && value.data ? unpack(value) : value]),
  );
  if (prior.couplings) {
    for (const [name, packed] of Object.entries(prior.couplings)) {
      prior.couplings[name] = { shape: packed.shape, values: unpack(packed) };
    }
  }
  return { ...run, prior, layers: unpackLayers(run.layers), bias: unpack(run.bias), codes: unpack(run.codes) };
}

const readExamples = {};

/** Returns a test example as the run sees it. */
function exampleOf(run, index) {
  const bytes = (readExamples[run.examples] ??= unpack(CONTENTS.examples[run.examples]));
  const size = CONTENTS.shape.reduce((a, b) => a * b, 1);
  const { low, high } = CONTENTS;
  const own = bytes.subarray(index * size, (index + 1) * size);
  return Float32Array.from(own, (byte) => low + (byte / 255) * (high - low));
}

const numExamples = () => Object.values(CONTENTS.examples)[0].shape[0];

/** Returns the code of a test example, the center of q(z|x). */
function codeOf(run, index) {
  return Float64Array.from(run.codes.subarray(index * run.latents, (index + 1) * run.latents));
}

/** Returns what a run makes of z; missing latents are zero. */
function pictureOf(run, z, how = state.how) {
  const own = Float64Array.from({ length: run.latents }, (_, i) => z[i] ?? 0);
  return decode(run, project(run, own), state.label, how);
}

/** Changes z, to the nearest point at which the run's z may lie, and draws it. */
function setZ(z) {
  state.z = project(state.left, Float64Array.from(z));
  requestRender();
}

function setLatents(values) {
  const z = state.z.slice();
  for (const [latent, value] of values) z[latent] = value;
  setZ(z);
}

/** Shows a test example: z becomes its code and, of a conditional run, the class becomes its own. */
function setExample(index) {
  const count = numExamples();
  state.example = ((Math.trunc(index) % count) + count) % count || 0;
  if (state.left.num_classes && CONTENTS.labels) setLabel(CONTENTS.labels[state.example]);
  element("example").value = state.example;
  const canvas = element("example-picture");
  drawExample(canvas, exampleOf(state.left, state.example), CONTENTS);
  const label = CONTENTS.labels ? `, ${className(CONTENTS.labels[state.example])}` : "";
  element("example-caption").textContent = `test example ${state.example}${label}`;
  canvas.setAttribute("aria-label", element("example-caption").textContent);
  setZ(codeOf(state.left, state.example));
}

function setLabel(label) {
  state.label = label;
  element("class").value = label;
  requestRender();
}

function className(label) {
  const found = CONTENTS.classes.find((each) => each.label === label);
  return found && found.name !== String(label) ? found.name : `class ${label}`;
}

/* ---- drawing ---- */

let isRequested = false;

/** Draws before the next frame, once for all changes until then. */
function requestRender() {
  if (isRequested) return;
  isRequested = true;
  requestAnimationFrame(() => {
    isRequested = false;
    render();
  });
}

function render() {
  drawRun("left", state.left);
  if (state.right) drawRun("right", state.right);
  for (const slider of document.querySelectorAll(".slider input")) {
    const latent = Number(slider.dataset.latent);
    slider.value = state.z[latent];
    slider.nextElementSibling.textContent = fixed(state.z[latent]);
  }
  pad.draw(state.z, state.example);
  const values = state.axes.map((latent) => `${nameOf(latent)} = ${fixed(state.z[latent])}`);
  element("place").textContent = `${values.join(", ")}; |z| = ${fixed(norm(state.z))}`;
}

function drawRun(side, run) {
  const canvas = element(`${side}-picture`);
  drawExample(canvas, pictureOf(run, state.z), CONTENTS);
  const what = state.how === "mean" ? "E[x|z]" : "draw from p(x|z)";
  const caption = CONTENTS.order.length > 1 ? `${what}, run ${run.run}` : what;
  element(`${side}-caption`).textContent = caption;
  canvas.setAttribute("aria-label", caption);
}

/* ---- runs ---- */

/** Shows another run on the left, with the example that was shown. */
function setLeft(number) {
  state.left = runOf(number);
  state.axes = [state.left.order[0], state.left.order[1] ?? state.left.order[0]];
  state.z = new Float64Array(state.left.latents);
  element("class-choice").hidden = !state.left.num_classes;
  makeSliders();
  makeAxes();
  showPrior();
  element("samples").replaceChildren();
  element("way").value = state.left.support === "sphere" ? "spherical" : "straight";
  setExample(state.example);
  for (const slot of "abc") setSlot(slot, state.slots[slot]);
  showFacts();
}

/** Shows a second run beside the first, at the same z; null for none. */
function setRight(number) {
  state.right = number === null ? null : runOf(number);
  element("right").hidden = !state.right;
  showFacts();
  requestRender();
}

function showFacts() {
  const facts = [state.left, ...(state.right ? [state.right] : [])].map(
    (run) =>
      `${CONTENTS.order.length > 1 ? `Run ${run.run}: ` : ""}${run.network} decoder, ` +
      `${run.latents} latents${run.step == null ? "" : `, ${run.step.toLocaleString("en")} updates`}. ` +
      `Its weights are here as ${run.storage}: at the codes of ${run.checked} test examples E[x|z] ` +
      `differs from the model's by at most ${textOf(run.error, 2)}.`,
  );
  element("facts").textContent = facts.join(" ");
}

/* ---- latents ---- */

/** Returns the range in which a latent is moved: that of the codes, and at least that of the prior. */
function rangeOf(run, latent) {
  if (run.support !== "reals") return [-1, 1];
  let [low, high] = [-3, 3];
  for (let i = latent; i < run.codes.length; i += run.latents) {
    low = Math.min(low, run.codes[i]);
    high = Math.max(high, run.codes[i]);
  }
  return [low, high];
}

function makeSliders() {
  const run = state.left;
  const rows = run.order.map((latent) => makeSlider(run, latent));
  element("sliders").replaceChildren(...rows.slice(0, NUM_SLIDERS));
  element("more-sliders").replaceChildren(...rows.slice(NUM_SLIDERS));
  element("rest").hidden = rows.length <= NUM_SLIDERS;
  element("rest").querySelector("summary").textContent = `the other ${rows.length - NUM_SLIDERS}`;
  const total = run.kl && textOf(run.kl.reduce((a, b) => a + b, 0), 4);
  const order = run.kl
    ? `The most informative first: KL(q(z|x) || p(z)) of each in nats, a mean over test; ${total} in all.`
    : "Those first whose codes vary most; a KL of each is not known.";
  const move = { sphere: " z stays on the unit sphere.", grid: " z stays on the grid." };
  element("latents-help").textContent = order + (move[run.support] ?? "");
}

function makeSlider(run, latent) {
  const [low, high] = rangeOf(run, latent);
  const step = run.support === "grid" ? 2 / (run.levels - 1) : "any";
  const input = make("input", { type: "range", min: low, max: high, step });
  input.dataset.latent = latent;
  input.addEventListener("input", () => setLatents([[latent, Number(input.value)]]));
  input.addEventListener("keydown", (event) => stepByKey(event, latent, [low, high], step));
  const kl = run.kl ? `${run.kl[latent].toFixed(2)} nats` : "";
  input.setAttribute("aria-label", `${nameOf(latent)} ${kl}`);
  const row = make("div", { className: "slider" });
  row.append(make("span", { textContent: nameOf(latent) }), input, make("output"), make("span", { textContent: kl }));
  return row;
}

/** Moves a latent by a fiftieth of its range: a slider without steps hardly moves by keys. */
function stepByKey(event, latent, [low, high], step) {
  const sign = { ArrowLeft: -1, ArrowDown: -1, ArrowRight: 1, ArrowUp: 1 }[event.key];
  if (!sign) return;
  event.preventDefault();
  const size = step === "any" ? (high - low) / 50 : step;
  setLatents([[latent, Math.min(high, Math.max(low, state.z[latent] + sign * size))]]);
}

function makeAxes() {
  for (const [i, id] of ["x-latent", "y-latent"].entries()) {
    const options = state.left.order.map((latent) => new Option(latentText(latent), latent));
    element(id).replaceChildren(...options);
    element(id).value = state.axes[i];
  }
  setPoints();
}

function latentText(latent) {
  const { kl } = state.left;
  return kl ? `${nameOf(latent)} (${kl[latent].toFixed(2)} nats)` : nameOf(latent);
}

function setPoints() {
  const run = state.left;
  pad.setPoints({
    codes: run.codes,
    columns: run.latents,
    of: state.axes,
    ranges: state.axes.map((latent) => widened(rangeOf(run, latent))),
    labels: CONTENTS.labels,
    names: state.axes.map(nameOf),
  });
}

const widened = ([low, high]) => [low - 0.05 * (high - low), high + 0.05 * (high - low)];

/* ---- prior ---- */

function showPrior() {
  const { prior, has_density } = state.left;
  const isTempered = TEMPERED.has(prior.kind);
  element("temperature-choice").hidden = !isTempered;
  const notes = [`z is drawn from the run's own prior: ${prior.name}.`];
  if (isTempered) notes.push("The temperature multiplies the deviations from its means.");
  if (!has_density) notes.push("This model has no KL term: nothing made its codes follow that prior.");
  element("prior").textContent = notes.join(" ");
}

function drawSample() {
  const temperature = TEMPERED.has(state.left.prior.kind) ? Number(element("temperature").value) : 1;
  setZ(samplePrior(state.left, state.label, temperature));
  const samples = element("samples");
  samples.prepend(thumbnail(state.z, "sample"));
  while (samples.children.length > NUM_SAMPLES) samples.lastChild.remove();
}

/** Returns a small picture of z that leads back to it. */
function thumbnail(z, title) {
  const button = make("button", { type: "button", title });
  const canvas = make("canvas");
  drawExample(canvas, pictureOf(state.left, z, "mean"), CONTENTS);
  button.append(canvas);
  button.setAttribute("aria-label", title);
  button.addEventListener("click", () => setZ(z));
  return button;
}

/* ---- two and three examples ---- */

function makeSlots() {
  for (const slot of "abc") {
    const box = make("div");
    const canvas = make("canvas", { id: `slot-${slot}` });
    const button = make("button", { type: "button", textContent: `set ${slot}`, id: `set-${slot}` });
    canvas.setAttribute("role", "img");
    button.addEventListener("click", () => setSlot(slot, state.example));
    box.append(canvas, button);
    element("slots").append(box);
  }
}

function setSlot(slot, index) {
  state.slots[slot] = index;
  const canvas = element(`slot-${slot}`);
  drawExample(canvas, exampleOf(state.left, index), CONTENTS);
  canvas.setAttribute("aria-label", `${slot}: test example ${index}`);
  if (slot !== "c") makeStrip();
}

const slotCode = (slot) => codeOf(state.left, state.slots[slot]);

/** Returns z at share t of the way from a to b. */
function between(t) {
  return project(state.left, PATHS[element("way").value](slotCode("a"), slotCode("b"), t));
}

function makeStrip() {
  const shares = Array.from({ length: STEPS_OF_STRIP }, (_, i) => i / (STEPS_OF_STRIP - 1));
  element("strip").replaceChildren(
    ...shares.map((t) => thumbnail(between(t), `${textOf(t, 3)} of the way from a to b`)),
  );
}

function moveBetween() {
  const t = Number(element("share").value);
  element("share-value").textContent = textOf(t, 2);
  setZ(between(t));
}

/* ---- the table of a study ---- */

/** Returns the best row with these settings, null where there is none. */
function rowWith(settings) {
  const rank = (row) => (CONTENTS.ranked.indexOf(row.run) + 1 || Infinity); // diverged runs have none
  const found = CONTENTS.rows.filter((row) =>
    Object.entries(settings).every(([name, value]) => row.settings[name] === value),
  );
  return found.reduce((best, row) => (best && rank(best) <= rank(row) ? best : row), null);
}

function makeRunControls() {
  const { swept, columns } = CONTENTS;
  element("runs").hidden = false;
  for (const [id, index] of [["across", 0], ["down", 1]]) {
    element(id).append(...swept.map((name) => new Option(name, name)));
    element(id).value = swept[Math.min(index, swept.length - 1)];
    element(id).addEventListener("change", makeHeat);
  }
  element("down").closest("label").hidden = swept.length < 2;
  const isAlone = columns.length === 0; // runs that differ in no number
  element("term").append(...columns.map(({ name, title }) => new Option(title, name)));
  element("term").closest("label").hidden = isAlone;
  element("term").addEventListener("change", makeHeat);
  element("one-run").addEventListener("click", () => {
    setRight(null);
    element("side").value = "left";
    makeHeat();
  });
}

/** Returns the choices of what neither axis shows, made anew where the axes changed. */
function heldSettings(axes) {
  const names = CONTENTS.swept.filter((name) => !axes.includes(name));
  const box = element("held");
  if (box.dataset.names !== names.join()) {
    const best = CONTENTS.rows.find((row) => row.run === state.left.run).settings;
    box.dataset.names = names.join();
    box.replaceChildren(
      ...names.map((name) => {
        const select = make("select", { ariaLabel: name });
        if (name === "seed") select.append(new Option("the best", ANY));
        select.append(...CONTENTS.axes[name].map((value) => new Option(value, value)));
        select.value = name === "seed" ? ANY : best[name];
        select.addEventListener("change", makeHeat);
        const label = make("label", { textContent: name });
        label.append(select);
        return label;
      }),
    );
  }
  const values = [...box.querySelectorAll("select")].map((select) => select.value);
  return Object.fromEntries(names.map((name, i) => [name, values[i]]).filter(([, value]) => value !== ANY));
}

function makeHeat() {
  const [across, down] = ["across", "down"].map((id) => element(id).value);
  const isLine = across === down;
  const held = heldSettings([across, down]);
  const numbers = CONTENTS.rows.map((row) => row.numbers[element("term").value]).filter(Number.isFinite);
  const range = [Math.min(...numbers), Math.max(...numbers)];
  const head = make("tr");
  head.append(make("th", { textContent: isLine ? across : `${down} \\ ${across}` }));
  head.append(...CONTENTS.axes[across].map((value) => make("th", { textContent: value, scope: "col" })));
  const lines = (isLine ? [""] : CONTENTS.axes[down]).map((value) => {
    const line = make("tr");
    line.append(make("th", { textContent: value, scope: "row" }));
    for (const other of CONTENTS.axes[across]) {
      const settings = { ...held, ...(isLine ? {} : { [down]: value }), [across]: other };
      line.append(heatCell(rowWith(settings), range));
    }
    return line;
  });
  const [top, body] = [make("thead"), make("tbody")];
  top.append(head);
  body.append(...lines);
  element("heat").replaceChildren(top, body);
  const column = CONTENTS.columns.find(({ name }) => name === element("term").value);
  const unit = column && column.unit ? `In ${column.unit}. ` : "";
  element("heat-note").textContent =
    `${unit}Darker is larger. In brackets: runs whose decoder is not in this file. L and R: the runs shown.`;
}

/** Returns the cell of a run: its number, shaded by its place in the range. */
function heatCell(row, [low, high]) {
  const cell = make("td");
  if (!row) return cell;
  const value = row.numbers[element("term").value];
  const share = high > low && Number.isFinite(value) ? (value - low) / (high - low) : 0;
  const sides = [["L", state.left], ["R", state.right]].filter(([, run]) => run && run.run === row.run);
  const marks = sides.map(([mark]) => ` ${mark}`).join("");
  const text = Number.isFinite(value) ? textOf(value) : `run ${row.run}`;
  const isHere = CONTENTS.order.includes(row.run);
  const button = make("button", {
    type: "button",
    textContent: (isHere ? text : `(${text})`) + marks,
    disabled: !isHere,
    title: `run ${row.run}`,
  });
  button.dataset.run = row.run;
  button.setAttribute("aria-pressed", String(sides.length > 0));
  button.style.background = `hsl(209 60% ${Math.round(94 - 64 * share)}%)`;
  button.style.color = share > 0.62 ? "#fff" : "#12202c";
  button.addEventListener("click", () => chooseRun(row.run));
  cell.append(button);
  return cell;
}

function chooseRun(number) {
  if (element("side").value === "left") setLeft(number);
  else setRight(number);
  makeHeat();
  element("heat").querySelector(`[data-run="${number}"]`)?.focus();
}

/* ---- what a reader does ---- */

const pad = new Pad(element("pad"));

/** A click chooses an example, or a place; a pointer that is drawn along moves z, a trembling one not. */
function listenToPad() {
  const { canvas } = pad;
  const near = 24; // pixels of the canvas: a finger's
  const still = 5; // pixels of the window
  let start = null; // where a pointer was pressed
  let isDrawn = false;
  const move = (event) => setLatents(state.axes.map((latent, i) => [latent, pad.valuesAt(pad.placeOfEvent(event))[i]]));
  canvas.addEventListener("pointerdown", (event) => {
    canvas.setPointerCapture(event.pointerId);
    [start, isDrawn] = [[event.clientX, event.clientY], false];
    const found = pad.nearest(pad.placeOfEvent(event), near);
    if (found === null) move(event);
    else setExample(found);
  });
  canvas.addEventListener("pointermove", (event) => {
    if (!start) return;
    isDrawn ||= Math.hypot(event.clientX - start[0], event.clientY - start[1]) > still;
    if (isDrawn) move(event);
  });
  for (const name of ["pointerup", "pointercancel"]) canvas.addEventListener(name, () => (start = null));
  canvas.addEventListener("keydown", padKey);
}

function padKey(event) {
  const moves = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, 1], ArrowDown: [0, -1] };
  const steps = { PageUp: 1, PageDown: -1 };
  if (event.key in moves) {
    const sizes = pad.ranges.map(([low, high]) => (high - low) / 50);
    const values = state.axes.map((latent, i) => [latent, state.z[latent] + moves[event.key][i] * sizes[i]]);
    setLatents(state.axes[0] === state.axes[1] ? values.slice(0, 1) : values);
  } else if (event.key in steps) setExample(state.example + steps[event.key]);
  else if (event.key === "Enter") setExample(pad.nearest(pad.placeOf(state.axes.map((i) => state.z[i]))));
  else return;
  event.preventDefault();
}

function listen() {
  const on = (id, event, act) => element(id).addEventListener(event, act);
  listenToPad();
  for (const [i, id] of ["x-latent", "y-latent"].entries()) {
    on(id, "change", () => {
      state.axes[i] = Number(element(id).value);
      setPoints();
      requestRender();
    });
  }
  on("example", "change", () => setExample(Number(element("example").value)));
  on("how", "change", () => {
    state.how = element("how").value;
    requestRender();
  });
  on("class", "change", () => {
    setLabel(Number(element("class").value));
    makeStrip();
  });
  on("zero", "click", () => setZ(new Float64Array(state.left.latents)));
  on("sample", "click", drawSample);
  on("temperature", "input", () => {
    element("temperature-value").textContent = textOf(Number(element("temperature").value), 3);
  });
  on("share", "input", moveBetween);
  on("way", "change", () => {
    makeStrip();
    moveBetween();
  });
  on("arithmetic", "click", () => setZ(arithmetic(slotCode("a"), slotCode("b"), slotCode("c"))));
}

/* ---- the beginning ---- */

/** Returns an element with these properties. */
function make(name, properties = {}) {
  return Object.assign(document.createElement(name), properties);
}

function showHeader() {
  const { title, data, left_out, order, rows } = CONTENTS;
  element("title").textContent = `${title}: the latent space`;
  const what = rows.length ? `A study of ${rows.length} runs` : "A run";
  element("lead").textContent = order.length
    ? `${what} on ${data}. The decoder runs in this page: move z, and see what it stands for.`
    : `${what} on ${data}.`;
  element("notes").hidden = !left_out.length;
  element("notes").replaceChildren(...left_out.map((textContent) => make("p", { textContent })));
}

function showLegend() {
  if (!CONTENTS.labels) return;
  element("legend").replaceChildren(
    ...CONTENTS.classes.map(({ label }) => {
      const mark = make("b", { textContent: markOf(label) });
      mark.style.color = colourOf(label);
      const item = make("li");
      item.append(mark, ` ${className(label)}`);
      return item;
    }),
  );
  element("class").append(...CONTENTS.classes.map(({ label, name }) => new Option(name, label)));
}

/** Shows the best run and its first example. */
function begin() {
  showHeader();
  element("tools").hidden = !CONTENTS.order.length;
  if (!CONTENTS.order.length) return;
  showLegend();
  makeSlots();
  element("example").max = numExamples() - 1;
  for (const slot of "abc") state.slots[slot] = Math.min(state.slots[slot], numExamples() - 1);
  setLeft(CONTENTS.order[0]);
  if (CONTENTS.rows.length) {
    makeRunControls();
    makeHeat();
  }
  listen();
}

begin();
