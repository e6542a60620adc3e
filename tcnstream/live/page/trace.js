// A trace: the last minutes of a stream, as columns that are counted from the source's first frame. A column is one
// number, or the lowest and highest of a short while. NaN: nobody heard it.

const HISTORY_S = 300;

export class Trace {
  constructor(columnHz, width) {
    this.columnHz = columnHz;
    this.width = width;
    this.most = Math.round(HISTORY_S * columnHz);
    this.ring = new Float32Array(this.most * width).fill(NaN);
    this.first = this.end = 0;
  }

  put(first, columns) {
    const count = columns.length / this.width;
    if (this.first === this.end || first - this.end >= this.most) {
      this.ring.fill(NaN);
      this.first = this.end = first;
    }
    for (; this.end < first; this.end += 1) this.set(this.end, NaN, NaN);
    for (let i = 0; i < count; i += 1) {
      this.set(first + i, columns[i * this.width], columns[i * this.width + this.width - 1]);
    }
    this.end = Math.max(this.end, first + count);
    this.first = Math.max(this.first, this.end - this.most);
  }

  set(column, lowest, highest) {
    const at = (column % this.most) * this.width;
    this.ring[at] = lowest;
    this.ring[at + this.width - 1] = highest;
  }

  lowest(column) { return this.ring[(column % this.most) * this.width]; }

  highest(column) { return this.ring[(column % this.most) * this.width + this.width - 1]; }

  get beginS() { return this.first / this.columnHz; }

  get endS() { return this.end / this.columnHz; }

  // The columns of a stretch of time that are there: [from, to).
  columns(fromS, toS) {
    const clamp = (column) => Math.min(this.end, Math.max(this.first, column));
    return [clamp(Math.ceil(fromS * this.columnHz)), clamp(Math.ceil(toS * this.columnHz))];
  }

  // Lowest and highest of a stretch of time, null where nothing was heard.
  range(fromS, toS) {
    const [from, to] = this.columns(fromS, toS);
    let lowest = Infinity, highest = -Infinity;
    for (let column = from; column < to; column += 1) {
      const low = this.lowest(column), high = this.highest(column);
      if (low < lowest) lowest = low;
      if (high > highest) highest = high;
    }
    return lowest <= highest ? [lowest, highest] : null;
  }
}
