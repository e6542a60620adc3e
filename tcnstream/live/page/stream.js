// What the browser knows of the stream that it watches: its trace and its events of the last five minutes.

import { COLUMNS, EVENTS, OPEN, SKIPPED } from "./message.js";
import { Trace } from "./trace.js";

const HISTORY_S = 305;

export class Stream {
  constructor(facts) {
    this.facts = facts;
    this.trace = new Trace(facts.column_hz, facts.width);
    this.labels = facts.labels.filter((label) => label !== facts.background);
    this.events = [];
    this.skipped = [];
    this.utcOffsetS = null;
    this.changes = 0;
    this.open = null;
  }

  take(message) {
    this.changes += 1;
    if (message.kind === COLUMNS) this.trace.put(message.first, message.columns);
    else if (message.kind === EVENTS) this.takeEvents(message.body);
    else if (message.kind === OPEN) this.open = message.body;
    else if (message.kind === SKIPPED) {
      const { first, next, column_hz } = message.body;
      this.skipped = [...this.skipped.slice(-200), { start_s: first / column_hz, end_s: next / column_hz }];
    }
  }

  takeEvents(events) {
    for (const event of events) {
      this.events.push(event);
      if (event.start_utc) this.utcOffsetS = Date.parse(event.start_utc) / 1000 - event.start_s;
    }
    const oldestS = this.trace.endS - HISTORY_S;
    let gone = 0;
    while (gone < this.events.length && this.events[gone].end_s < oldestS) gone += 1;
    if (gone) this.events.splice(0, gone);
  }

  of(type) { return this.events.filter((event) => event.type === type); }

  // Events of a type that touch a stretch of time.
  within(type, fromS, toS) {
    return this.events.filter((event) => event.type === type && event.end_s >= fromS && event.start_s <= toS);
  }

  // Segments of labels that are shown, and the one that is not final, which reaches to the newest sample.
  segments(fromS, toS) {
    const found = this.within("segment", fromS, toS);
    // One that goes on reaches to what the model has seen enough of.
    if (this.open) found.push({ ...this.open, end_s: this.open.end_s ?? this.trace.endS - this.facts.look_ahead_s, isOpen: true });
    return found.filter((each) => this.labels.includes(each.label));
  }

  get isHeart() { return this.facts.labels.includes("qrs"); }
}
