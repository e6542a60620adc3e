// The trace: the part of the history that is looked at, with its axes.

import uPlot from "./vendor/uPlot.esm.js";
import { paint } from "./paint.js";
import { moment, number } from "./words.js";

const BAND_PX = 18;

export class Scope {
  constructor(box, readout, { look, dragged }) {
    this.box = box;
    this.readout = readout;
    this.look = look;
    this.stream = null;
    this.range = [-1, 1];
    this.draws = 0;
    this.plot = new uPlot(this.options(), [[0, 1], [null, null]], box);
    new ResizeObserver(() => this.plot.setSize(this.size())).observe(box);
    this.drags(dragged);
  }

  size() { return { width: Math.max(240, this.box.clientWidth), height: Math.max(160, this.box.clientHeight) }; }

  options() {
    const axis = (more) => ({
      stroke: () => this.look().text, font: "12px system-ui", grid: { stroke: () => this.look().grid, width: 1 },
      ticks: { show: false }, ...more,
    });
    return {
      ...this.size(),
      legend: { show: false },
      cursor: { drag: { x: false, y: false }, points: { show: false } },
      scales: { x: { time: false, auto: false }, y: { auto: false } },
      series: [{}, { paths: () => null, points: { show: false } }],
      axes: [
        axis({ size: 30, space: 80, values: (plot, ticks) => ticks.map((at) => this.stream && at >= 0 ? moment(this.stream, at, ticks[1] - ticks[0] < 1 ? 1 : 0) : "") }),
        axis({ size: 52, space: 34 }),
      ],
      hooks: { draw: [(plot) => this.paint(plot)], setCursor: [(plot) => this.read(plot)] },
    };
  }

  show(stream, view) {
    this.stream = stream;
    const to = view.endS(stream.trace), from = to - view.lengthS;
    this.follow(stream.trace.range(from, to));
    this.plot.batch(() => {
      this.plot.setData([[from, to], [null, null]], false);
      this.plot.setScale("x", { min: from, max: to });
      this.plot.setScale("y", { min: this.range[0], max: this.range[1] });
    });
  }

  // The scale grows at once and shrinks slowly, so that the picture does not jump.
  follow(found) {
    if (!found) {
      if (this.seen !== this.stream) this.range = [-1, 1];
      return;
    }
    const margin = (found[1] - found[0] || Math.abs(found[0]) || 1) * .08;
    const below = (found[1] - found[0] || 1) * .2;
    const wanted = [found[0] - below, found[1] + margin];
    const [low, high] = this.range, rate = this.seen === this.stream ? .05 : 1;
    this.range = [
      wanted[0] < low ? wanted[0] : low + (wanted[0] - low) * rate,
      wanted[1] > high ? wanted[1] : high + (wanted[1] - high) * rate,
    ];
    this.seen = this.stream;
  }

  paint(plot) {
    if (!this.stream) return;
    const { left, top, width, height } = plot.bbox, scale = devicePixelRatio;
    const place = {
      left, top, width, height, scale, band: BAND_PX * scale,
      x: (seconds) => plot.valToPos(seconds, "x", true), y: (value) => plot.valToPos(value, "y", true),
    };
    paint(plot.ctx, this.stream, plot.scales.x.min, plot.scales.x.max, place, this.look());
    this.units(plot.ctx, place);
    if (this.stream.trace.end === this.stream.trace.first) this.nothing(plot.ctx, place);
    this.draws += 1;
    // For whoever looks at the canvas from outside, such as a test: what is where, in its pixels.
    Object.assign(this.box.dataset, { draws: this.draws, fromS: plot.scales.x.min, toS: plot.scales.x.max, left, top, width, height, band: place.band });
  }

  units(context, { top, scale }) {
    context.fillStyle = this.look().quiet;
    context.font = this.look().font.replace("12px", `${12 * scale}px`);
    context.textAlign = "left";
    context.textBaseline = "bottom";
    context.fillText(this.stream.facts.units, 4 * scale, top - 4 * scale);
  }

  nothing(context, { left, top, width, height, scale }) {
    context.fillStyle = this.look().quiet;
    context.font = this.look().font.replace("12px", `${15 * scale}px`);
    context.textAlign = "center";
    context.textBaseline = "middle";
    context.fillText("Nothing has come yet.", left + width / 2, top + height / 2);
  }

  read(plot) {
    const at = plot.cursor.left;
    if (!this.stream || at === undefined || at < 0) {
      this.readout.textContent = "";
      return;
    }
    const seconds = plot.posToVal(at, "x"), trace = this.stream.trace, column = Math.floor(seconds * trace.columnHz);
    const inside = column >= trace.first && column < trace.end;
    const values = !inside ? [] : trace.width === 1 ? [trace.lowest(column)] : [trace.lowest(column), trace.highest(column)];
    const said = values.some(Number.isNaN) ? "no signal" : values.map((value) => number(value, 3)).join(" … ");
    const label = this.stream.within("segment", seconds, seconds).at(-1);
    this.readout.textContent = [moment(this.stream, seconds, 2), inside ? `${said} ${this.stream.facts.units}`.trim() : "",
      label && label.label !== this.stream.facts.background ? `${label.label.toUpperCase()} p ${number(label.probability, 2)}` : ""].filter(Boolean).join("   ");
  }

  drags(dragged) {
    const over = this.plot.over;
    over.addEventListener("pointerdown", (event) => {
      if (event.button !== 0) return;
      let at = event.clientX;
      const perPixel = (this.plot.scales.x.max - this.plot.scales.x.min) / over.clientWidth;
      const move = (next) => {
        dragged((at - next.clientX) * perPixel);
        at = next.clientX;
      };
      const end = () => over.removeEventListener("pointermove", move);
      over.setPointerCapture(event.pointerId);
      over.addEventListener("pointermove", move);
      over.addEventListener("pointerup", end, { once: true });
      over.addEventListener("pointercancel", end, { once: true });
    });
  }
}
