// A latent plane to drag in: what the point stands for is decoded here, in the
// page, without Python. Used in two places: as a widget of live notebooks, by the
// exports in the last lines, and without them in a page of its own (explore.py).

const SIZE = 260; // of the plane, in CSS pixels
const STEP = 0.025; // of an arrow key, in halves of the plane; with shift ten times
const PAPER = "#ffffff", INK = "#1f2430", PALE = "#d5d9e0";

// The error function to 1.5e-7: Abramowitz and Stegun, 7.1.26.
function erf(x) {
  const t = 1 / (1 + 0.3275911 * Math.abs(x));
  const series = t * (0.254829592 + t * (-0.284496736 + t * (1.421413741 +
    t * (-1.453152027 + t * 1.061405429))));
  return Math.sign(x) * (1 - series * Math.exp(-x * x));
}

const ACTIVATIONS = {
  identity: (x) => x,
  relu: (x) => Math.max(0, x),
  sigmoid: (x) => 1 / (1 + Math.exp(-x)),
  tanh: Math.tanh,
  gelu: (x) => (x * (1 + erf(x / Math.SQRT2))) / 2,
};

// Base64 of little-endian numbers, float32 or int16, as Python wrote it.
function numbers(text, Kind = Float32Array) {
  return new Kind(Uint8Array.from(atob(text), (c) => c.charCodeAt(0)).buffer);
}

function read({ weight, unit, bias, activation }) {
  return { weight: numbers(weight, Int16Array), unit: numbers(unit),
    bias: numbers(bias), activation };
}

// layers: [{weight: (out, in) row by row, unit: (out,), of a row's weights,
// bias: (out,), activation}] -> x_hat
function decode(layers, z) {
  let x = Array.from(z);
  for (const { weight, unit, bias, activation } of layers) {
    const f = ACTIVATIONS[activation], width = x.length;
    x = Array.from(bias, (b, i) => {
      let sum = 0;
      for (let j = 0; j < width; ++j) sum += weight[i * width + j] * x[j];
      return f(b + unit[i] * sum);
    });
  }
  return x;
}

// One shape a class, so that colour is never alone; r is half the width.
const MARKERS = [
  (c, r) => c.arc(0, 0, r, 0, 2 * Math.PI),
  (c, r) => c.rect(-r, -r, 2 * r, 2 * r),
  (c, r) => polygon(c, r, 3, -90),
  (c, r) => polygon(c, r, 3, 90),
  (c, r) => polygon(c, r, 4, 0),
  (c, r) => cross(c, r, 45),
  (c, r) => star(c, r),
  (c, r) => cross(c, r, 0),
  (c, r) => polygon(c, r, 3, 180),
  (c, r) => polygon(c, r, 3, 0),
];

function polygon(c, r, corners, turn) {
  for (let k = 0; k < corners; ++k) {
    const angle = ((turn + (360 * k) / corners) * Math.PI) / 180;
    c[k ? "lineTo" : "moveTo"](1.2 * r * Math.cos(angle), 1.2 * r * Math.sin(angle));
  }
  c.closePath();
}

function cross(c, r, turn) {
  c.rotate((turn * Math.PI) / 180);
  c.rect(-r, -r / 3, 2 * r, (2 * r) / 3);
  c.rect(-r / 3, -r, (2 * r) / 3, 2 * r);
}

function star(c, r) {
  for (let k = 0; k < 10; ++k) {
    const angle = ((36 * k - 90) * Math.PI) / 180, out = (k % 2 ? 0.5 : 1.25) * r;
    c[k ? "lineTo" : "moveTo"](out * Math.cos(angle), out * Math.sin(angle));
  }
  c.closePath();
}

function middle(values) {
  return [...values].sort((p, q) => p - q)[Math.floor(values.length / 2)];
}

function element(tag, parent, style = "", attributes = {}) {
  const made = document.createElement(tag);
  made.style.cssText = style;
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  parent.append(made);
  return made;
}

// It shrinks where there is less room, and keeps its shape.
function canvas(parent, width, height, attributes) {
  const style = `flex:0 1 ${width}px;min-width:0;aspect-ratio:${width}/${height}`;
  const made = element("canvas", parent, style, attributes);
  const dense = window.devicePixelRatio || 1;
  made.width = width * dense;
  made.height = height * dense;
  made.getContext("2d").scale(dense, dense);
  return made;
}

// One model: its plane, its picture, and the code as text. Returns a setter of z.
function panel(parent, data, name, z, changed) {
  const { layers, points, labels, half } = data.models[name];
  const decoder = layers.map(read);
  const places = numbers(points), [height, width] = data.shape;
  const box = element("figure", parent, "margin:0");
  element("figcaption", box, "font-weight:600;margin-bottom:4px").textContent = name;
  const row = element("div", box, "display:flex;gap:4%;align-items:center");
  const plane = canvas(row, SIZE, SIZE, {
    tabindex: "0",
    role: "application",
    "aria-label": `Latent plane of ${name}. Drag the point, or move it with the ` +
      "arrow keys; shift makes large steps.",
  });
  plane.style.cssText += ";touch-action:none;cursor:crosshair;border-radius:4px";
  const scale = Math.floor(168 / Math.max(height, width));
  const picture = canvas(row, scale * width, scale * height, {
    role: "img", "aria-label": `The picture that ${name} decodes`,
  });
  const text = element("output", box, "font-variant-numeric:tabular-nums", {
    "aria-live": "polite",
  });
  const across = (x) => (SIZE * (x + half)) / (2 * half);
  const c = plane.getContext("2d");

  const background = document.createElement("canvas");
  background.width = plane.width;
  background.height = plane.height;
  const b = background.getContext("2d");
  b.scale(plane.width / SIZE, plane.height / SIZE);
  b.fillStyle = PAPER;
  b.fillRect(0, 0, SIZE, SIZE);
  b.strokeStyle = PALE;
  b.strokeRect(0.5, 0.5, SIZE - 1, SIZE - 1);
  b.beginPath();
  b.moveTo(SIZE / 2, 0), b.lineTo(SIZE / 2, SIZE);
  b.moveTo(0, SIZE / 2), b.lineTo(SIZE, SIZE / 2);
  b.stroke();
  labels.forEach((label, i) => {
    b.save();
    b.translate(across(places[2 * i]), SIZE - across(places[2 * i + 1]));
    b.beginPath();
    MARKERS[label % 10](b, 3);
    b.fillStyle = data.colors[label % 10];
    b.strokeStyle = INK;
    b.lineWidth = 0.3;
    b.fill(), b.stroke();
    b.restore();
  });

  b.font = "bold 15px sans-serif";
  b.textAlign = "center";
  b.textBaseline = "middle";
  for (const label of new Set(labels)) {
    const [x, y] = [0, 1].map((k) => middle(
      labels.flatMap((l, i) => (l === label ? [places[2 * i + k]] : [])),
    ));
    b.lineWidth = 4;
    b.strokeStyle = PAPER;
    b.strokeText(label, across(x), SIZE - across(y));
    b.fillStyle = INK;
    b.fillText(label, across(x), SIZE - across(y));
  }

  function draw() {
    c.save();
    c.setTransform(1, 0, 0, 1, 0, 0);
    c.drawImage(background, 0, 0);
    c.restore();
    const [x, y] = [across(z[0]), SIZE - across(z[1])];
    for (const [color, line] of [[PAPER, 5], [INK, 2]]) {
      c.strokeStyle = color;
      c.lineWidth = line;
      c.beginPath();
      c.arc(x, y, 8, 0, 2 * Math.PI);
      c.moveTo(x - 13, y), c.lineTo(x - 4, y), c.moveTo(x + 4, y), c.lineTo(x + 13, y);
      c.moveTo(x, y - 13), c.lineTo(x, y - 4), c.moveTo(x, y + 4), c.lineTo(x, y + 13);
      c.stroke();
    }
    const p = picture.getContext("2d");
    decode(decoder, z).forEach((value, i) => {
      const grey = Math.round(255 * Math.min(1, Math.max(0, value)));
      p.fillStyle = `rgb(${grey},${grey},${grey})`;
      p.fillRect((i % width) * scale, Math.floor(i / width) * scale, scale, scale);
    });
    text.textContent = `z = (${z.map((v) => v.toFixed(2)).join(", ")})`;
  }

  function move(to) {
    z = to.map((v) => Math.min(half, Math.max(-half, v)));
    draw();
    changed(z);
  }

  function follow(event) {
    const { left, top, width: w } = plane.getBoundingClientRect();
    const at = [event.clientX - left, event.clientY - top].map((v) => (2 * v) / w - 1);
    move([half * at[0], -half * at[1]]);
  }

  plane.addEventListener("pointerdown", (event) => {
    plane.setPointerCapture(event.pointerId);
    plane.focus();
    follow(event);
  });
  plane.addEventListener("pointermove", (event) => {
    if (event.buttons) follow(event);
  });
  const ways = {
    ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, 1], ArrowDown: [0, -1],
  };
  plane.addEventListener("keydown", (event) => {
    const way = ways[event.key];
    if (!way) return;
    event.preventDefault();
    event.stopPropagation(); // else the notebook walks to another cell
    const step = STEP * half * (event.shiftKey ? 10 : 1);
    move(z.map((v, i) => v + step * way[i]));
  });
  draw();
  return (to) => { z = to; draw(); };
}

// data: {shape, colors, models: {name: {layers, points, labels, half}}}
// start: {name: z}. changed(name, z) is called whenever a point has moved.
// Returns setters by name.
function mount(parent, data, start, changed) {
  const names = Object.keys(data.models);
  const grid = `display:grid;grid-template-columns:repeat(${names.length},minmax(0,1fr));`;
  const wide = `gap:3%;max-width:${450 * names.length}px;padding:8px`;
  const box = element("div", parent, grid + wide);
  return Object.fromEntries(
    names.map((name) => [
      name, panel(box, data, name, start[name], (z) => changed(name, z)),
    ]),
  );
}

function render({ model, el }) {
  const set = mount(el, model.get("data"), model.get("z"), (name, z) => {
    model.set("z", { ...model.get("z"), [name]: z });
    model.save_changes();
  });
  model.on("change:z", () => {
    for (const [name, z] of Object.entries(model.get("z"))) set[name](z);
  });
}

// Exports
export { decode, read };
export default { render };
