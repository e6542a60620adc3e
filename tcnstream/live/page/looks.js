// How labels look: a colour that people with any colour vision tell apart, and a pattern for those who see none.

const PATTERNS = ["plain", "rising", "dots", "falling", "lines", "cross"];
const TILE = 8;

export function styles() {
  const css = getComputedStyle(document.documentElement);
  const of = (name) => css.getPropertyValue(`--${name}`).trim();
  return {
    labels: [0, 1, 2, 3, 4, 5].map((number) => of(`label-${number}`)),
    plain: of("trace"), grid: of("grid"), text: of("ink"), quiet: of("quiet"), paper: of("paper"), gap: of("gap"),
    accent: of("accent"), font: `12px ${css.fontFamily}`,
  };
}

export const colourOf = (look, number) => look.labels[number % look.labels.length];
export const patternOf = (number) => PATTERNS[number % PATTERNS.length];

const made = new Map();

// A canvas pattern of ``colour`` with marks of ``mark`` in it, at the scale of the screen.
export function fillOf(context, colour, pattern, mark, scale) {
  const key = `${colour} ${pattern} ${mark} ${scale}`;
  if (!made.has(key)) made.set(key, tile(colour, pattern, mark, Math.round(TILE * scale)));
  return context.createPattern(made.get(key), "repeat");
}

// Diagonal lines without a ground, for what is missing.
export const hatchOf = (context, colour, scale) => fillOf(context, "transparent", "rising", colour, scale);

function tile(colour, pattern, mark, size) {
  const canvas = document.createElement("canvas");
  canvas.width = canvas.height = size;
  const context = canvas.getContext("2d");
  context.fillStyle = colour;
  if (colour !== "transparent") context.fillRect(0, 0, size, size);
  context.strokeStyle = context.fillStyle = mark;
  context.lineWidth = size / 6;
  context.beginPath();
  const line = (x0, y0, x1, y1) => { context.moveTo(x0 * size, y0 * size); context.lineTo(x1 * size, y1 * size); };
  if (pattern === "rising" || pattern === "cross") { line(-.5, .5, .5, -.5); line(-.5, 1.5, 1.5, -.5); line(.5, 1.5, 1.5, .5); }
  if (pattern === "falling" || pattern === "cross") { line(-.5, .5, .5, 1.5); line(-.5, -.5, 1.5, 1.5); line(.5, -.5, 1.5, .5); }
  if (pattern === "lines") line(.5, 0, .5, 1);
  context.stroke();
  if (pattern === "dots") { context.beginPath(); context.arc(size / 2, size / 2, size / 5, 0, 7); context.fill(); }
  return canvas;
}
