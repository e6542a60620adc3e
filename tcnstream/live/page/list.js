// All streams, one row each: who is alive, and who is not.

import { element, rows, say, set } from "./dom.js";
import { age, MISSING, number, rate, stateOf } from "./words.js";

const CELLS = ["rate", "drift", "last sample", "gaps", "heart"];

// ``known`` is false while nobody tells how the streams are.
export function showList(table, streams, watched, known) {
  rows(table.tBodies[0], streams, (stream) => stream.stream, make, (row, stream) => {
    const state = known ? stateOf(stream) : "unknown";
    set(row, "data-state", state);
    const link = row.querySelector("a");
    if (stream.stream === watched) set(link, "aria-current", "true"); else link.removeAttribute("aria-current");
    say(row.querySelector(".word"), state);
    const why = row.querySelector(".says");
    say(why, says(stream, state));
    set(why, "title", why.textContent);
    const texts = [
      rate(stream.rate_hz),
      stream.drift_ppm === null || stream.age_s === null ? MISSING : `${stream.drift_ppm > 0 ? "+" : ""}${number(stream.drift_ppm, Math.abs(stream.drift_ppm) < 100 ? 1 : 0)} ppm`,
      age(stream.age_s),
      stream.gaps ? `${stream.gaps} (${age(stream.missing_frames / stream.rate_hz)})` : "0",
      stream.heart_bpm === null ? MISSING : `${number(stream.heart_bpm)} /min`,
    ];
    texts.forEach((text, place) => say(row.cells[place + 2], text));
  });
}

function says(stream, state) {
  if (state === "behind") return stream.behind_s > 1 ? `${age(stream.behind_s)} behind` : `nothing for ${age(stream.age_s)}`;
  if (["live", "ended", "unknown"].includes(state)) return "";
  return stream.says;
}

function make(stream) {
  const name = element("th", { scope: "row" }, element("a", { href: `#${encodeURIComponent(stream.stream)}` }, stream.stream));
  const state = element("td", { class: "state" },
    element("span", { class: "mark", "aria-hidden": "true" }), element("span", { class: "word" }), " ", element("span", { class: "says" }));
  return element("tr", {}, name, state, ...CELLS.map((title) => element("td", { class: "number", "data-title": title })));
}
