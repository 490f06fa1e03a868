/*
 * Pictures on canvases: an x as an image or as bars, and the codes of the test examples on two
 * latents.
 */

const BARS = { width: 252, height: 140 };
/** Colours of classes, dark enough for a white ground; each class has a mark of its own as well. */
const COLOURS = [
  ...["#1b63a5", "#b3261e", "#1d7a3a", "#7a3fa0", "#a65a00"],
  ...["#00727a", "#a3246e", "#4d5a66", "#5c6b00", "#3d3db8"],
];
const MARKS = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ";

const colourOf = (label) => COLOURS[label % COLOURS.length];
const markOf = (label) => MARKS[label % MARKS.length];

/** Draws x, numbers of which `low` is black and `high` white: an image pixel by pixel, else bars. */
function drawExample(canvas, x, { shape, low, high }) {
  const unit = Float32Array.from(x, (value) => (value - low) / (high - low));
  if (shape.length === 3) drawImage(canvas, unit, shape);
  else drawBars(canvas, unit, Math.min(1, Math.max(0, -low / (high - low))));
}

/** Draws an image of one or three channels; of two the first, of more the first three. */
function drawImage(canvas, unit, [height, width, channels]) {
  if (canvas.width !== width || canvas.height !== height) Object.assign(canvas, { width, height });
  const image = new ImageData(width, height);
  for (let pixel = 0; pixel < width * height; pixel++) {
    for (let colour = 0; colour < 3; colour++) {
      const channel = channels < 3 ? 0 : colour;
      // A clamped array rounds, and cuts off what lies below 0 or above 255.
      image.data[4 * pixel + colour] = 255 * unit[pixel * channels + channel];
    }
    image.data[4 * pixel + 3] = 255;
  }
  canvas.getContext("2d").putImageData(image, 0, 0);
}

/** Draws a bar for each number, from the foot on: neighbours as their mean where there are many. */
function drawBars(canvas, unit, foot) {
  const { width, height } = Object.assign(canvas, BARS);
  const context = canvas.getContext("2d");
  context.fillStyle = "#fff";
  context.fillRect(0, 0, width, height);
  const count = Math.min(unit.length, width / 2);
  const pitch = width / count;
  context.fillStyle = "#1c5d99";
  for (let bar = 0; bar < count; bar++) {
    const first = Math.floor((bar * unit.length) / count);
    const last = Math.max(first + 1, Math.floor(((bar + 1) * unit.length) / count));
    const mean = unit.subarray(first, last).reduce((a, b) => a + b, 0) / (last - first);
    const top = height * (1 - Math.min(1, Math.max(0, mean)));
    const zero = height * (1 - foot);
    const gap = pitch > 3 ? 1 : 0;
    context.fillRect(bar * pitch, Math.min(top, zero), pitch - gap, Math.abs(zero - top));
  }
  context.fillStyle = "#888";
  context.fillRect(0, Math.min(height - 1, height * (1 - foot)), width, 1);
}

/** The pad: two latents, one across and one up, each from the first to the second of its range. */
class Pad {
  constructor(canvas) {
    this.canvas = canvas;
    this.points = document.createElement("canvas"); // the marks, which do not move with z
    for (const each of [canvas, this.points]) Object.assign(each, { width: 880, height: 880 });
  }

  /** Draws axes and marks. codes: the codes in rows; of: the two latents; names: of the axes. */
  setPoints({ codes, columns, of, ranges, labels, names }) {
    Object.assign(this, { codes, columns, of, ranges });
    const context = this.points.getContext("2d");
    const { width, height } = this.points;
    context.fillStyle = "#fff";
    context.fillRect(0, 0, width, height);
    this.drawAxes(context, names);
    context.font = "600 26px system-ui, sans-serif";
    context.textAlign = "center";
    context.textBaseline = "middle";
    for (let i = 0; i < codes.length / columns; i++) {
      context.fillStyle = labels ? colourOf(labels[i]) : "#1b63a5";
      context.fillText(labels ? markOf(labels[i]) : "\u2022", ...this.placeOfPoint(i));
    }
  }

  drawAxes(context, names) {
    const { width, height } = this.points;
    const [zeroX, zeroY] = this.placeOf([0, 0]);
    context.fillStyle = "#c3cad2";
    context.fillRect(zeroX - 1, 0, 2, height);
    context.fillRect(0, zeroY - 1, width, 2);
    context.fillStyle = "#333";
    context.font = "28px system-ui, sans-serif";
    context.textBaseline = "alphabetic";
    context.textAlign = "right";
    context.fillText(`${names[0]} \u2192`, width - 8, height - 12);
    context.textAlign = "left";
    context.fillText(`\u2191 ${names[1]}`, 8, 30);
  }

  /** Draws the marks, a ring around the example that is shown, and a cross at z. */
  draw(z, example) {
    const context = this.canvas.getContext("2d");
    context.drawImage(this.points, 0, 0);
    context.lineWidth = 4;
    context.strokeStyle = "#000";
    if (example !== null) {
      context.beginPath();
      context.arc(...this.placeOfPoint(example), 17, 0, 2 * Math.PI);
      context.stroke();
    }
    const [x, y] = this.placeOf(this.of.map((latent) => z[latent]));
    for (const [colour, thickness] of [["#fff", 9], ["#000", 4]]) {
      context.fillStyle = colour;
      context.fillRect(x - 16, y - thickness / 2, 32, thickness);
      context.fillRect(x - thickness / 2, y - 16, thickness, 32);
    }
  }

  /** Returns the place of two values on the canvas. */
  placeOf(values) {
    const [x, y] = values.map((value, i) => (value - this.ranges[i][0]) / (this.ranges[i][1] - this.ranges[i][0]));
    return [x * this.canvas.width, (1 - y) * this.canvas.height];
  }

  placeOfPoint(i) {
    return this.placeOf(this.of.map((latent) => this.codes[i * this.columns + latent]));
  }

  /** Returns the two values at a place of the canvas. */
  valuesAt([x, y]) {
    const shares = [x / this.canvas.width, 1 - y / this.canvas.height];
    return shares.map((share, i) => this.ranges[i][0] + share * (this.ranges[i][1] - this.ranges[i][0]));
  }

  /** Returns the index of the point nearest to a place, null where none is within the distance. */
  nearest([x, y], distance = Infinity) {
    let [found, least] = [null, distance];
    for (let i = 0; i < this.codes.length / this.columns; i++) {
      const [px, py] = this.placeOfPoint(i);
      const away = Math.hypot(px - x, py - y);
      if (away < least) [found, least] = [i, away];
    }
    return found;
  }

  /** Returns the place on the canvas of a pointer's event. */
  placeOfEvent(event) {
    const box = this.canvas.getBoundingClientRect();
    return [
      ((event.clientX - box.left) / box.width) * this.canvas.width,
      ((event.clientY - box.top) / box.height) * this.canvas.height,
    ];
  }
}
