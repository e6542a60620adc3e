// The sinks: how many events wait for each, and what it could not write. And the board, if one runs beside.

import { element, rows, say, set } from "./dom.js";

export function showSinks(table, empty, sinks) {
  table.hidden = sinks.length === 0;
  empty.hidden = sinks.length > 0;
  rows(table.tBodies[0], sinks, (sink) => sink.name, make, (row, sink) => {
    const meter = row.querySelector("meter");
    set(meter, "max", sink.most);
    set(meter, "high", Math.round(sink.most / 2));
    set(meter, "value", sink.waiting);
    say(row.cells[2], `${sink.waiting} of ${sink.most}`);
    say(row.cells[3], String(sink.taken));
    say(row.cells[4], String(sink.lost));
    say(row.cells[5], sink.trouble || "writes");
    set(row, "data-trouble", Boolean(sink.trouble || sink.lost));
  });
}

function make(sink) {
  return element("tr", {}, element("th", { scope: "row" }, `${sink.name} (${sink.kind})`),
    element("td", {}, element("meter", { min: 0, "aria-label": `queue of ${sink.name}` })),
    ...["waiting", "written", "lost"].map((title) => element("td", { class: "number", "data-title": title })), element("td"));
}

const MARKS = { equal: "● ", differs: "▲ ", away: "↻ ", opening: "… " };

// The verdict on the board that runs behind a stream: what it computed is compared with what the host did.
export function showBoard(panel, facts, verdict) {
  panel.hidden = !verdict;
  if (!verdict) return;
  set(panel, "data-verdict", verdict.state);
  const lines = [
    [verdict.board, `${MARKS[verdict.state] ?? ""}${verdict.state}${verdict.says ? `: ${verdict.says}` : ""}`],
    ["frames compared", verdict.frames], ["of them wrong", verdict.wrong_frames], ["largest difference", verdict.largest],
    ["chunks skipped", verdict.skipped_chunks],
  ];
  if (facts.children.length !== lines.length) {
    facts.replaceChildren(...lines.map(() => element("div", {}, element("dt"), element("dd"))));
  }
  lines.forEach(([name, value], place) => {
    say(facts.children[place].firstChild, name);
    say(facts.children[place].lastChild, String(value));
  });
}
