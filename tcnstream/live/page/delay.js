// Latency: from the arrival of a sample until the sinks have what came of it.

import { element, say, set } from "./dom.js";
import { milliseconds, number } from "./words.js";

const SHORTEST_MS = 1000 * 2 ** -17, PER_OCTAVE = 4;

export function showDelay({ figures, bars, hint }, delay, lookAheadS) {
  const texts = delay.count ? [["p50", delay.p50_ms], ["p99", delay.p99_ms], ["worst", delay.worst_ms]] : [];
  if (figures.children.length !== texts.length) {
    figures.replaceChildren(...texts.map(([name]) => element("div", {}, element("dt", {}, name), element("dd"))));
  }
  texts.forEach(([, ms], place) => say(figures.children[place].lastChild, milliseconds(ms)));
  const most = Math.max(1, ...delay.counts);
  while (bars.children.length > delay.counts.length) bars.lastChild.remove();
  while (bars.children.length < delay.counts.length) bars.append(element("span"));
  delay.counts.forEach((count, place) => {
    const bar = bars.children[place], upper = SHORTEST_MS * 2 ** ((delay.first + place) / PER_OCTAVE);
    bar.style.height = count ? `${Math.max(2, 100 * count / most)}%` : "0";
    set(bar, "title", `up to ${milliseconds(upper)}: ${count}`);
  });
  const from = SHORTEST_MS * 2 ** ((delay.first - 1) / PER_OCTAVE), to = from * 2 ** (delay.counts.length / PER_OCTAVE);
  set(bars, "aria-label", delay.count ? `Histogram of ${delay.count} steps, from ${milliseconds(from)} to ${milliseconds(to)}` : "No steps yet");
  set(bars, "data-from", delay.count ? milliseconds(from) : "");
  set(bars, "data-to", delay.count ? milliseconds(to) : "");
  say(hint, !delay.count ? "Nothing has come yet." : `Of ${delay.count} steps since the start: from the arrival of a sample until the sinks have what it made final.`
    + (lookAheadS ? ` Before that the model waits for ${number(lookAheadS * 1000)} ms of signal.` : ""));
}
