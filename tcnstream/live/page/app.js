// The page: what comes over the connection goes into the stream, and is drawn when the browser has time.

import { Connection } from "./connection.js";
import { showDelay } from "./delay.js";
import { byId, element, say, set } from "./dom.js";
import { showEvents } from "./events.js";
import { Heart } from "./heart.js";
import { showList } from "./list.js";
import { colourOf, fillOf, patternOf, styles } from "./looks.js";
import { BEGIN, FACTS } from "./message.js";
import { Overview } from "./overview.js";
import { Scope } from "./scope.js";
import { showBoard, showSinks } from "./sinks.js";
import { Stream } from "./stream.js";
import { View } from "./view.js";
import { age, number, ofDay, rate, stateOf } from "./words.js";

const DRAWS_MS = 1000 / 25, TEXTS_MS = 500;

let facts = null, stream = null, watched = null, lostAt = null, look = styles();
const view = new View();
const lookNow = () => look;

const scope = new Scope(byId("trace"), byId("readout"), { look: lookNow, dragged: (seconds) => stream && view.moveBy(stream.trace, seconds) });
const overview = new Overview(byId("overview"), { look: lookNow, moved: (atS) => stream && view.moveTo(stream.trace, atS + view.lengthS / 2) });
const heart = new Heart({ rate: byId("heart-chart"), rateNow: byId("heart-now"), intervals: byId("intervals-chart"), table: byId("intervals-table"), look: lookNow });
const connection = new Connection({ message: take, state: showLink });

function take(message) {
  if (message.kind === FACTS) {
    facts = message.body;
    showFacts();
  } else if (message.kind === BEGIN) {
    const again = stream?.facts.stream === message.body.stream;
    stream = new Stream(message.body);
    if (!again) view.live();
    showLegend();
  } else {
    stream?.take(message);
  }
}

function showLink(state) {
  if (state === "open") lostAt = null;
  else lostAt ??= new Date();
  const link = byId("link"), lost = byId("lost");
  set(link, "data-state", state);
  say(link, { open: "connected", slow: "too slow", lost: "not connected" }[state]);
  lost.hidden = state === "open";
  document.body.classList.toggle("stale", state !== "open");
  if (facts && state !== "open") showFacts();
  if (state === "lost") say(lost, `No connection to the daemon since ${ofDay(lostAt)}. What is below is from before; trying again.`);
  if (state === "slow") say(lost, "This browser or its network was too slow for the stream; connecting again.");
}

// Once a second -------------------------------------------------------------------------------------------------------

function showFacts() {
  const streams = facts.streams;
  byId("empty").hidden = streams.length > 0;
  say(byId("empty"), "The daemon has no streams.");
  choose();
  const known = lostAt === null, ill = streams.filter((each) => !["live", "ended"].includes(stateOf(each)));
  showList(byId("list"), streams, watched, known);
  document.title = !known ? "▲ no daemon – tcnstream" : ill.length ? `▲ ${ill.map((each) => each.stream).join(", ")} – tcnstream` : "tcnstream";
  showSinks(byId("sinks"), byId("sinks-empty"), facts.sinks);
  const wrong = Object.entries(facts.wrong);
  byId("wrong").hidden = wrong.length === 0;
  say(byId("wrong"), wrong.map(([place, why]) => `${place}: ${why}`).join(" — "));
  say(byId("clock"), ofDay(new Date(facts.time * 1000)));
  const mine = streams.find((each) => each.stream === watched);
  byId("stream").hidden = !mine;
  if (!mine) return;
  const state = stateOf(mine);
  say(byId("stream-title"), watched);
  say(byId("stream-facts"), [mine.model, rate(mine.rate_hz), mine.source].join(" · "));
  byId("stream-says").hidden = !known || state === "live" || state === "ended";
  say(byId("stream-says"), [state, mine.says && mine.says !== "delivers" ? `: ${mine.says}` : "", mine.age_s === null ? "" : ` (last sample ${age(mine.age_s)} ago)`].join(""));
  showDelay({ figures: byId("delay-figures"), bars: byId("delay-bars"), hint: byId("delay-hint") }, mine.delay, stream?.facts.look_ahead_s);
  showBoard(byId("board"), byId("board-facts"), mine.board);
  tell(streams);
}

// The stream that the address names, else the first.
function choose() {
  const names = facts.streams.map((each) => each.stream), named = decodeURIComponent(location.hash.slice(1));
  const wanted = names.includes(named) ? named : names[0] ?? null;
  if (wanted !== null && wanted !== watched) {
    watched = wanted;
    stream = null;
    connection.watch(wanted);
  }
}

// Changes of state are read aloud, and nothing else is.
const told = new Map();
function tell(streams) {
  const changed = streams.filter((each) => told.has(each.stream) && told.get(each.stream) !== stateOf(each));
  for (const each of streams) told.set(each.stream, stateOf(each));
  if (changed.length) say(byId("said"), changed.map((each) => `${each.stream} is ${stateOf(each)}`).join(", "));
}

function showLegend() {
  byId("heart").hidden = byId("intervals").hidden = !stream.isHeart;
  byId("legend").replaceChildren(...stream.labels.map((label, place) => {
    const canvas = element("canvas", { width: 28, height: 16, class: "swatch" });
    const context = canvas.getContext("2d");
    context.fillStyle = fillOf(context, colourOf(look, place), patternOf(place), look.paper, 1);
    context.fillRect(0, 0, 28, 16);
    return element("li", { "data-label": label, "data-colour": colourOf(look, place), "data-pattern": patternOf(place) }, canvas, label.toUpperCase());
  }), element("li", { class: "hatched" }, element("span", { class: "swatch hatch" }), "missing"));
}

// Many times a second -------------------------------------------------------------------------------------------------

let drawnMs = 0, textsMs = 0, drawn = "", described = "";
function draw(nowMs) {
  requestAnimationFrame(draw);
  if (!stream || byId("stream").hidden || nowMs - drawnMs < DRAWS_MS - 4) return;
  const what = `${stream.changes} ${view.lengthS} ${view.pausedEndS} ${look.paper}`;
  if (what !== drawn) scope.show(stream, view);
  if (what !== described && nowMs - textsMs > TEXTS_MS) {
    textsMs = nowMs;
    described = what;
    overview.show(stream, view);
    if (stream.isHeart) heart.show(stream, facts.streams.find((each) => each.stream === watched)?.heart_bpm);
    showEvents(byId("events"), byId("events-empty"), stream, view, byId("events-of").value, goTo);
    describe();
  }
  drawnMs = nowMs;
  drawn = what;
  const pause = byId("pause");
  set(pause, "aria-pressed", !view.isLive);
  say(pause, view.isLive ? "Pause" : "Live");
}

function describe() {
  const toS = view.endS(stream.trace), fromS = view.startS(stream.trace);
  const counts = stream.labels.map((label) => [stream.within("segment", fromS, toS).filter((each) => each.label === label).length, label]);
  const gaps = stream.within("gap", fromS, toS).length;
  byId("trace").setAttribute("aria-label", `Trace of ${stream.facts.stream}, ${view.lengthS} seconds, ${view.isLive ? "live" : `${age(stream.trace.endS - toS)} back`}: `
    + `${counts.map(([count, label]) => `${number(count)} ${label}`).join(", ")}, ${gaps} gaps`);
}

// Hands ---------------------------------------------------------------------------------------------------------------

function goTo(event) {
  view.moveTo(stream.trace, Math.min(stream.trace.endS - 1e-3, event.end_s + view.lengthS / 2));
  byId("trace").focus({ preventScroll: false });
}

const toggle = () => stream && (view.isLive ? view.pause(stream.trace) : view.live());
const move = (part) => stream && view.moveBy(stream.trace, part * view.lengthS);
function zoom(by) {
  const lengths = byId("length");
  lengths.selectedIndex = Math.min(lengths.options.length - 1, Math.max(0, lengths.selectedIndex + by));
  view.lengthS = Number(lengths.value);
}

byId("pause").addEventListener("click", toggle);
byId("back").addEventListener("click", () => move(-.5));
byId("forward").addEventListener("click", () => move(.5));
byId("length").addEventListener("change", () => zoom(0));
byId("events-of").addEventListener("change", () => { described = ""; });
addEventListener("hashchange", () => facts && showFacts());
addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.altKey || event.metaKey || event.target.closest("select, input")) return;
  const keys = {
    p: toggle, ArrowLeft: () => move(-.25), ArrowRight: () => move(.25), "+": () => zoom(-1), "=": () => zoom(-1), "-": () => zoom(1),
    End: () => view.live(), Home: () => stream && view.moveTo(stream.trace, 0),
  };
  if (!keys[event.key]) return;
  event.preventDefault();
  keys[event.key]();
});

for (const query of ["(prefers-color-scheme: dark)", "(prefers-contrast: more)"]) {
  matchMedia(query).addEventListener("change", () => {
    look = styles();
    drawn = described = "";
    if (stream) showLegend();
  });
}
if (innerWidth < 700) zoom(-1);
setInterval(() => { if (lostAt) say(byId("lost"), `No connection to the daemon for ${age((Date.now() - lostAt) / 1000)} (since ${ofDay(lostAt)}). What is below is from before; trying again.`); }, 1000);
requestAnimationFrame(draw);
