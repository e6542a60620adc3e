// The events up to the end of what is looked at, newest first.

import { element, rows, say, set } from "./dom.js";
import { moment, nameOf, number } from "./words.js";

const MOST = 100;

export function showEvents(table, empty, stream, view, type, goTo) {
  const endS = view.isLive ? Infinity : view.endS(stream.trace);
  const shown = [];
  for (let at = stream.events.length - 1; at >= 0 && shown.length < MOST; at -= 1) {
    const event = stream.events[at];
    if (event.start_s <= endS && (!type || event.type === type) && event.label !== stream.facts.background) shown.push(event);
  }
  empty.hidden = shown.length > 0;
  rows(table.tBodies[0], shown, (event) => event.seq, (event) => make(stream, event, goTo), () => {});
}

function make(stream, event, goTo) {
  const time = element("button", { type: "button", class: "place" }, moment(stream, event.start_s, 2));
  time.addEventListener("click", () => goTo(event));
  const what = event.type === "segment" ? nameOf(event) : event.type === "beat" ? "beat" : `${event.type} ${event.label === event.type ? "" : event.label}`;
  const row = element("tr", { "data-type": event.type }, element("td", {}, time), element("td", {}, what.trim()),
    element("td", { class: "number" }, length(event)), element("td", {}, more(event)));
  const label = stream.labels.indexOf(event.label);
  if (event.type === "segment" && label >= 0) set(row, "data-label", label % 6);
  return row;
}

function length(event) {
  const ms = (event.end_s - event.start_s) * 1000;
  return ms < 0.5 ? "" : ms < 10000 ? `${number(ms)} ms` : `${number(ms / 1000, 1)} s`;
}

function more(event) {
  switch (event.type) {
    case "segment": return `p ${number(event.probability, 2)}${event.noise > .5 ? ", noise" : ""}${event.filled_s ? `, ${number(event.filled_s * 1000)} ms filled` : ""}`;
    case "beat": return [event.rate_bpm && `${number(event.rate_bpm)} /min`, event.qt_ms && `QT ${number(event.qt_ms)}`,
      event.pause && "pause", event.ventricular > .5 && "ventricular", event.quality].filter(Boolean).join(", ");
    case "gap": return `${event.reason}, ${event.frames} frames, ${event.done}`;
    default: return [event.why, event.quality, event.down_s && `${number(event.down_s, 1)} s down`,
      event.step_s && `${number(event.step_s, 3)} s`, event.measured_hz && `${event.measured_hz} Hz, says ${event.says_hz}`].filter(Boolean).join(", ");
  }
}
