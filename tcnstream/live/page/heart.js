// Heart rate and intervals over the last five minutes, for streams that find QRS complexes.

import uPlot from "./vendor/uPlot.esm.js";
import { element, rows, say } from "./dom.js";
import { moment, number } from "./words.js";

const HISTORY_S = 300;
const INTERVALS = [
  { key: "rr_ms", name: "RR", dash: [], label: null },
  { key: "pr_ms", name: "PR", dash: [], label: 0 },
  { key: "qrs_ms", name: "QRS", dash: [6, 3], label: 1 },
  { key: "qt_ms", name: "QT", dash: [2, 2], label: 2 },
  { key: "qtc_fridericia_ms", name: "QTcF", title: "QT corrected for the heart rate as Fridericia has it", dash: [8, 3, 2, 3], label: 3 },
  { key: "qtc_bazett_ms", name: "QTcB", title: "QT corrected for the heart rate as Bazett has it", dash: [], label: null },
];
const DRAWN = INTERVALS.filter((each) => each.label !== null);

export class Heart {
  constructor({ rate, rateNow, intervals, table, look }) {
    this.look = look;
    this.rateNow = rateNow;
    this.table = table;
    this.rateBox = rate;
    this.intervalsBox = intervals;
    this.rate = this.chart(rate, [{ name: "heart rate", dash: [], label: 1 }], "/min");
    this.intervals = this.chart(intervals, DRAWN, "ms");
  }

  chart(box, series, units) {
    const size = () => ({ width: Math.max(200, box.clientWidth), height: Math.max(120, box.clientHeight) });
    const axis = (more) => ({ stroke: () => this.look().text, font: "12px system-ui", grid: { stroke: () => this.look().grid, width: 1 }, ticks: { show: false }, ...more });
    const plot = new uPlot({
      ...size(), legend: { show: false }, cursor: { show: false },
      scales: { x: { time: false, auto: false }, y: { range: (each, low, high) => padded(low, high) } },
      series: [{}, ...series.map(({ label, dash }) => ({ stroke: () => this.look().labels[label], width: 2, dash, points: { show: false }, spanGaps: false }))],
      axes: [axis({ size: 28, space: 70, values: (each, ticks) => ticks.map((at) => this.stream && at >= 0 ? moment(this.stream, at) : "") }),
        axis({ size: 40, space: 28, label: units, labelSize: 16, labelFont: "12px system-ui", labelGap: 0 })],
    }, [[], ...series.map(() => [])], box);
    new ResizeObserver(() => plot.setSize(size())).observe(box);
    return plot;
  }

  // ``rateNow`` is the one that the list shows.
  show(stream, rateNow) {
    this.stream = stream;
    const beats = stream.of("beat"), toS = stream.trace.endS;
    const times = beats.map((beat) => beat.start_s);
    const of = (key) => beats.map((beat) => beat[key] ?? null);
    const put = (plot, keys) => plot.batch(() => {
      plot.setData([times, ...keys.map(of)]);
      plot.setScale("x", { min: toS - HISTORY_S, max: toS });
    });
    put(this.rate, ["rate_bpm"]);
    put(this.intervals, DRAWN.map((each) => each.key));
    const rates = summary(of("rate_bpm"));
    say(this.rateNow, rateNow ? `${number(rateNow)} /min` : rates ? "no beats now" : "no beats yet");
    this.rateBox.setAttribute("aria-label", rates
      ? `Heart rate over five minutes: last ${number(rates.last)}, lowest ${number(rates.lowest)}, median ${number(rates.median)}, highest ${number(rates.highest)} per minute`
      : "Heart rate: no beats yet");
    this.intervalsBox.setAttribute("aria-label", "Intervals over five minutes; the table below has them in numbers");
    rows(this.table.tBodies[0], INTERVALS, (each) => each.key, make, (row, each) => {
      const found = summary(of(each.key));
      ["last", "lowest", "median", "highest"].forEach((what, place) => say(row.cells[place + 1], number(found?.[what])));
    });
  }
}

function make(each) {
  const swatch = element("span", { class: "swatch line", "data-dash": each.dash.length, ...(each.label === null ? {} : { "data-label": each.label }) });
  return element("tr", {}, element("th", { scope: "row", class: "interval" }, swatch, each.title ? element("abbr", { title: each.title }, each.name) : each.name), ...[1, 2, 3, 4].map(() => element("td", { class: "number" })));
}

function padded(low, high) {
  if (low === null || high === null) return [0, 100];
  const room = Math.max(5, (high - low) * .15);
  return [Math.max(0, low - room), high + room];
}

function summary(values) {
  const there = values.filter((value) => value !== null);
  if (!there.length) return null;
  const sorted = [...there].sort((a, b) => a - b);
  return { last: there.at(-1), lowest: sorted[0], median: sorted[sorted.length >> 1], highest: sorted.at(-1) };
}
