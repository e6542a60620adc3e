// Draws a stretch of a trace into a rectangle of a canvas: the line, coloured where a label covers it, a band with the
// label's pattern below it, hatching where signal is missing. Everything is in pixels of the canvas.

import { colourOf, fillOf, hatchOf, patternOf } from "./looks.js";
import { markOf, nameOf } from "./words.js";

// ``place`` has left, top, width, height, x(seconds), y(value), scale, and ``band`` the height of the labels' band.
export function paint(context, stream, fromS, toS, place, look, { named = true } = {}) {
  context.save();
  context.beginPath();
  context.rect(place.left, place.top, place.width, place.height);
  context.clip();
  const segments = stream.segments(fromS, toS);
  const number = (segment) => stream.labels.indexOf(segment.label);
  const box = (each) => [place.x(Math.max(each.start_s, fromS - 1)), place.x(Math.min(each.end_s, toS + 1))];
  for (const segment of segments) {
    const [left, right] = box(segment);
    context.globalAlpha = segment.isOpen ? .05 : .1;
    context.fillStyle = colourOf(look, number(segment));
    context.fillRect(left, place.top, right - left, place.height);
    context.globalAlpha = 1;
  }
  for (const gap of stream.within("gap", fromS, toS)) missing(context, place, box(gap), look, named && `gap ${gap.reason}`);
  for (const skip of stream.skipped) {
    if (skip.end_s >= fromS && skip.start_s <= toS) missing(context, place, box(skip), look, named && "not sent: too slow", true);
  }
  line(context, stream.trace, fromS, toS, place, look.plain, 1.25);
  for (const segment of segments) {
    line(context, stream.trace, Math.max(segment.start_s, fromS), Math.min(segment.end_s, toS), place, colourOf(look, number(segment)), 2.25);
  }
  if (place.band) for (const segment of segments) band(context, place, box(segment), segment, number(segment), look, named);
  context.restore();
}

function band(context, place, [left, right], segment, number, look, named) {
  const top = place.top + place.height - place.band, colour = colourOf(look, number);
  context.fillStyle = fillOf(context, colour, patternOf(number), look.paper, place.scale);
  // What is not final stands on half the height.
  const above = segment.isOpen ? place.band / 2 : 0;
  context.fillRect(left, top + above, right - left, place.band - above);
  if (!named || segment.isOpen) return;
  context.font = look.font.replace("12px", `600 ${11 * place.scale}px`);
  const from = Math.max(left, place.left), to = Math.min(right, place.left + place.width), middle = (from + to) / 2;
  // A mark says what the pattern cannot, so that it alone stands where the name has no room.
  const text = [nameOf(segment), markOf(segment)].find((each) => to - from >= context.measureText(each).width + 6 * place.scale);
  if (!text) return;
  const width = context.measureText(text).width;
  context.fillStyle = look.paper;
  context.fillRect(middle - width / 2 - 3 * place.scale, top + 2 * place.scale, width + 6 * place.scale, place.band - 4 * place.scale);
  context.fillStyle = look.text;
  context.textAlign = "center";
  context.textBaseline = "middle";
  context.fillText(text, middle, top + place.band / 2 + place.scale / 2);
}

function missing(context, place, [left, right], look, text, isSkip = false) {
  const width = Math.max(right - left, 2 * place.scale);
  context.fillStyle = isSkip ? fillOf(context, "transparent", "dots", look.gap, place.scale) : hatchOf(context, look.gap, place.scale);
  context.fillRect(left, place.top, width, place.height);
  context.strokeStyle = look.gap;
  context.lineWidth = place.scale;
  context.strokeRect(left, place.top - 1, width, place.height + 2);
  if (!text) return;
  context.font = look.font.replace("12px", `${11 * place.scale}px`);
  const from = Math.max(left, place.left), to = Math.min(left + width, place.left + place.width), middle = (from + to) / 2;
  if (context.measureText(text).width + 8 * place.scale > to - from) return;
  const half = context.measureText(text).width / 2 + 4 * place.scale;
  context.fillStyle = look.paper;
  context.fillRect(middle - half, place.top + 4 * place.scale, 2 * half, 18 * place.scale);
  context.fillStyle = look.text;
  context.textAlign = "center";
  context.textBaseline = "middle";
  context.fillText(text, middle, place.top + 13 * place.scale);
}

// Where there are more columns than pixels, each pixel shows the lowest and highest of its columns.
function line(context, trace, fromS, toS, place, colour, thickness) {
  const [from, to] = trace.columns(fromS, toS);
  if (to <= from) return;
  context.strokeStyle = colour;
  context.lineWidth = thickness * place.scale;
  context.lineJoin = "round";
  context.beginPath();
  const perPixel = (to - from) / Math.max(1, place.x(toS) - place.x(fromS));
  if (trace.width === 1 && perPixel <= 2) {
    let drawn = false;
    for (let column = from; column < to; column += 1) {
      const value = trace.lowest(column);
      if (Number.isNaN(value)) { drawn = false; continue; }
      const x = place.x(column / trace.columnHz), y = place.y(value);
      if (drawn) context.lineTo(x, y); else context.moveTo(x, y);
      drawn = true;
    }
  } else {
    const step = Math.max(1, Math.floor(perPixel)), begin = from - from % step;
    let drawn = false;
    for (let column = begin; column < to; column += step) {
      let low = Infinity, high = -Infinity;
      for (let each = Math.max(from, column); each < Math.min(to, column + step); each += 1) {
        low = Math.min(low, isNaN(trace.lowest(each)) ? Infinity : trace.lowest(each));
        high = Math.max(high, isNaN(trace.highest(each)) ? -Infinity : trace.highest(each));
      }
      if (low > high) { drawn = false; continue; }
      const x = place.x((Math.max(from, column) + Math.min(to, column + step)) / 2 / trace.columnHz), bottom = place.y(low), top = place.y(high);
      if (drawn) context.lineTo(x, bottom); else context.moveTo(x, Math.max(bottom, top + place.scale));
      context.lineTo(x, top);
      drawn = true;
    }
  }
  context.stroke();
}
