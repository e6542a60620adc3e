// Which part of the history is looked at: its newest end, which moves, or a place where somebody paused.

export class View {
  constructor() {
    this.lengthS = 10;
    this.pausedEndS = null;
  }

  get isLive() { return this.pausedEndS === null; }

  endS(trace) { return this.pausedEndS ?? trace.endS; }

  startS(trace) { return this.endS(trace) - this.lengthS; }

  live() { this.pausedEndS = null; }

  pause(trace) { this.pausedEndS ??= trace.endS; }

  // Looks at the stretch that ends there; at the newest end it is live again.
  moveTo(trace, endS) {
    const earliest = trace.beginS + Math.min(this.lengthS, trace.endS - trace.beginS);
    this.pausedEndS = endS >= trace.endS ? null : Math.max(earliest, endS);
  }

  moveBy(trace, seconds) { this.moveTo(trace, this.endS(trace) + seconds); }
}
