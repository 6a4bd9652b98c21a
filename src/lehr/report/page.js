// The charts of the report. Each workload has two charts that share one state: the step under the pointer, the line
// in focus, and the lines that are switched off. Its data are columns: lines[i].curves[name] = [steps, values].
"use strict";

const dark = matchMedia("(prefers-color-scheme: dark)");

// ---- values -------------------------------------------------------------------------------------------------------

// The value of a curve at a step: on the straight line between its points, none before the first or after the last.
function valueAt([steps, values], step) {
  const last = steps.length - 1;
  if (last < 0 || step < steps[0] || step > steps[last]) return null;
  let low = 0, high = last;
  while (high - low > 1) {
    const middle = (low + high) >> 1;
    if (steps[middle] <= step) low = middle; else high = middle;
  }
  if (step >= steps[high]) return values[high];
  if (step <= steps[low] || high === low) return values[low];
  const share = (step - steps[low]) / (steps[high] - steps[low]);
  return values[low] + share * (values[high] - values[low]);
}

function written(value) {
  if (value === null || value === undefined) return "–";
  if (value === 0) return "0";
  const size = Math.abs(value);
  return size >= 1e-4 && size < 1e6 ? String(Number(value.toPrecision(4))) : value.toExponential(2).replace(/\.?0+e/, "e");
}

// ---- one workload -------------------------------------------------------------------------------------------------

class Workload {
  constructor(element, data) {
    this.element = element;
    this.lines = data.lines;
    this.steps = data.steps;
    this.hidden = new Set();
    this.step = data.steps - 1;
    this.focus = "";
    this.charts = [...element.querySelectorAll(".chart")].map(
      (place, side) => new Chart(this, place, data.views[side]));
    this.listen();
  }

  listen() {
    for (const button of this.element.querySelectorAll(".line")) {
      button.addEventListener("click", () => this.toggle(button.dataset.policy));
    }
    for (const button of this.element.querySelectorAll("[data-show]")) {
      button.addEventListener("click", () => this.showOnly(button.dataset.show));
    }
    for (const place of this.element.querySelectorAll("[data-policy]")) {
      place.addEventListener("pointerenter", () => this.moveTo(this.step, place.dataset.policy));
      place.addEventListener("pointerleave", () => this.moveTo(this.step, ""));
      place.addEventListener("focus", () => this.moveTo(this.step, place.dataset.policy));
      place.addEventListener("blur", () => this.moveTo(this.step, ""));
    }
  }

  shown() {
    return this.lines.filter((line) => !this.hidden.has(line.policy));
  }

  toggle(policy) {
    if (!this.hidden.delete(policy)) this.hidden.add(policy);
    this.refill();
  }

  showOnly(which) {
    this.hidden = new Set(which === "all" ? [] : this.lines.map((line) => line.policy));
    this.refill();
  }

  refill() {
    for (const chart of this.charts) chart.fill();
    this.moveTo(this.step, this.focus);
  }

  // The one way in which step and focus change.
  moveTo(step, focus) {
    this.step = Math.max(0, Math.min(this.steps - 1, Math.round(step)));
    this.focus = this.hidden.has(focus) ? "" : focus;
    for (const chart of this.charts) chart.point();
    this.read();
  }

  // The legend says the values at the step.
  read() {
    this.element.querySelector(".step").textContent = this.step.toLocaleString("en").replace(/,/g, "\u202f");
    this.element.querySelector(".measure").textContent = this.charts[1].view.label;
    for (const button of this.element.querySelectorAll(".line")) {
      const line = this.lines.find((one) => one.policy === button.dataset.policy);
      button.setAttribute("aria-pressed", String(!this.hidden.has(line.policy)));
      button.classList.toggle("focus", line.policy === this.focus);
      const values = button.querySelectorAll(".value");
      this.charts.forEach((chart, side) => { values[side].textContent = written(chart.valueOf(line)); });
    }
  }
}

// ---- one chart ----------------------------------------------------------------------------------------------------

class Chart {
  constructor(workload, element, views) {
    this.workload = workload;
    this.place = element.querySelector(".plot");
    this.views = views;
    this.view = views[0];
    this.vega = null;
    for (const input of element.querySelectorAll("input")) {
      input.addEventListener("change", () => { this.view = views[Number(input.value)]; this.draw(); });
    }
    this.place.addEventListener("pointermove", (event) => this.follow(event));
    this.place.addEventListener("pointerdown", (event) => this.follow(event));
    this.place.addEventListener("pointerleave", () => this.workload.moveTo(this.workload.step, ""));
    this.place.addEventListener("keydown", (event) => this.walk(event));
    this.draw();
  }

  async draw() {
    const options = {mode: "vega-lite", renderer: "svg", actions: false, config: theme(), ast: false};
    const drawn = await vegaEmbed(this.place, this.view.spec, options);
    if (this.vega) this.vega.finalize();
    this.vega = drawn.view;
    this.fill();
    this.workload.moveTo(this.workload.step, this.workload.focus);
  }

  valueOf(line) {
    const curve = line.curves[this.view.curve];
    return curve ? valueAt(curve, this.workload.step) : null;
  }

  // Zero has no place on a log axis: it is drawn at its lower end.
  height(value) {
    return this.view.log ? Math.max(value, this.view.low) : value;
  }

  ink(line) {
    return dark.matches ? line.dark : line.light;
  }

  fill() {
    if (!this.vega) return;
    const lines = [], marks = [];
    for (const line of this.workload.shown()) {
      const curve = line.curves[this.view.curve];
      if (!curve) continue;
      const common = {p: line.policy, c: this.ink(line), d: line.dash};
      curve[0].forEach((x, i) => lines.push({...common, x, y: this.height(curve[1][i])}));
      for (const event of line.events) {
        const y = valueAt(curve, event.step);
        if (y !== null) marks.push({...common, x: event.step, y: this.height(y), t: event.text});
      }
    }
    this.vega.data("lines", lines).data("marks", marks);
  }

  point() {
    if (!this.vega) return;
    const {step, focus} = this.workload;
    const dots = this.workload.shown()
      .filter((line) => focus === "" || line.policy === focus)
      .map((line) => ({p: line.policy, c: this.ink(line), x: step, y: this.valueOf(line)}))
      .filter((dot) => dot.y !== null)
      .map((dot) => ({...dot, y: this.height(dot.y)}));
    this.vega.signal("focus", focus).data("cursor", [{x: step}]).data("dots", dots).runAsync();
  }

  // The step under the pointer, and the line nearest to it if one is near.
  follow(event) {
    if (!this.vega) return;
    const box = this.place.querySelector("svg").getBoundingClientRect();
    const [left, top] = this.vega.origin();
    const x = event.clientX - box.left - left, y = event.clientY - box.top - top;
    this.workload.step = Math.max(0, Math.min(this.workload.steps - 1, this.vega.scale("x").invert(x)));
    this.workload.moveTo(this.workload.step, this.nearest(y, 18));
  }

  nearest(y, reach) {
    let found = "", distance = reach;
    for (const line of this.workload.shown()) {
      const value = this.valueOf(line);
      const away = value === null ? Infinity : Math.abs(this.vega.scale("y")(this.height(value)) - y);
      if (away < distance) [found, distance] = [line.policy, away];
    }
    return found;
  }

  walk(event) {
    const stride = Math.max(1, Math.round(this.workload.steps / 100)) * (event.shiftKey ? 10 : 1);
    const moves = {ArrowLeft: -stride, ArrowRight: stride, Home: -Infinity, End: Infinity};
    if (!(event.key in moves)) return;
    event.preventDefault();
    this.workload.moveTo(Math.min(Math.max(this.workload.step + moves[event.key], 0), this.workload.steps), "");
  }
}

// ---- the page -----------------------------------------------------------------------------------------------------

function theme() {
  const style = getComputedStyle(document.documentElement);
  const colour = (name) => style.getPropertyValue(name).trim();
  return {
    background: "transparent",
    font: style.getPropertyValue("--text").trim(),
    view: {stroke: null},
    rule: {color: colour("--quiet")},
    axis: {
      labelColor: colour("--quiet"), titleColor: colour("--quiet"), titleFontWeight: "normal", labelFontSize: 11.5,
      titleFontSize: 12, domainColor: colour("--rule"), tickColor: colour("--rule"), gridColor: colour("--rule"),
      labelFlush: true, labelOverlap: true,
    },
  };
}

const workloads = JSON.parse(document.getElementById("charts").textContent)
  .map((data) => new Workload(document.getElementById(data.id), data));

dark.addEventListener("change", () => {
  for (const workload of workloads) for (const chart of workload.charts) chart.draw();
});
