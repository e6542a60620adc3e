// The last five minutes in one strip; the part that is looked at is a window that can be dragged, or moved with keys.

import { paint } from "./paint.js";
import { age } from "./words.js";

const HISTORY_S = 300;

export class Overview {
  constructor(box, { look, moved }) {
    this.box = box;
    this.canvas = box.querySelector("canvas");
    this.look = look;
    this.endS = HISTORY_S;
    const at = (event) => {
      const edge = this.canvas.getBoundingClientRect();
      return this.endS - HISTORY_S + HISTORY_S * (event.clientX - edge.left) / edge.width;
    };
    box.addEventListener("pointerdown", (event) => {
      box.setPointerCapture(event.pointerId);
      moved(at(event));
      const move = (next) => moved(at(next));
      const end = () => box.removeEventListener("pointermove", move);
      box.addEventListener("pointermove", move);
      box.addEventListener("pointerup", end, { once: true });
      box.addEventListener("pointercancel", end, { once: true });
    });
  }

  minutes(context, place, look) {
    context.fillStyle = look.quiet;
    context.font = look.font.replace("12px", `${10 * place.scale}px`);
    context.textBaseline = "top";
    context.textAlign = "left";
    for (let minute = 1; minute < 5; minute += 1) {
      const x = place.x(this.endS - 60 * minute);
      context.fillRect(x, 0, place.scale, 4 * place.scale);
      context.fillText(`−${minute} min`, x + 3 * place.scale, 2 * place.scale);
    }
  }

  show(stream, view) {
    const scale = devicePixelRatio, canvas = this.canvas, look = this.look();
    const width = Math.round(this.box.clientWidth * scale), height = Math.round(this.box.clientHeight * scale);
    if (canvas.width !== width || canvas.height !== height) Object.assign(canvas, { width, height });
    const context = canvas.getContext("2d");
    context.clearRect(0, 0, width, height);
    const toS = this.endS = stream.trace.endS, fromS = toS - HISTORY_S;
    const [low, high] = stream.trace.range(fromS, toS) ?? [-1, 1];
    const band = 7 * scale, room = height - band - 6 * scale;
    const place = {
      left: 0, top: 0, width, height, scale, band,
      x: (seconds) => width * (seconds - fromS) / HISTORY_S,
      y: (value) => 3 * scale + room * (1 - (value - low) / (high - low || 1)),
    };
    paint(context, stream, fromS, toS, place, look, { named: false });
    const right = place.x(view.endS(stream.trace)), left = Math.min(place.x(view.startS(stream.trace)), right - 4 * scale);
    context.fillStyle = look.paper;
    context.globalAlpha = .6;
    context.fillRect(0, 0, left, height);
    context.fillRect(right, 0, width - right, height);
    context.globalAlpha = 1;
    context.strokeStyle = look.accent;
    context.lineWidth = 2 * scale;
    this.minutes(context, place, look);
    context.strokeRect(left + scale, scale, Math.max(2 * scale, right - left - 2 * scale), height - 2 * scale);
    const backS = toS - view.endS(stream.trace);
    this.box.setAttribute("aria-valuenow", Math.round(-backS));
    this.box.setAttribute("aria-valuetext", view.isLive ? `live, ${view.lengthS} seconds` : `${age(backS)} back, ${view.lengthS} seconds`);
  }
}
