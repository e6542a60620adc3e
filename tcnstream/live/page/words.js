// Numbers and times as people read them.

export const MISSING = "–";

export function number(value, digits = 0) {
  return value === null || value === undefined || !Number.isFinite(value) ? MISSING : value.toFixed(digits);
}

export function rate(hz) { return hz >= 10000 ? `${+(hz / 1000).toFixed(2)} kHz` : `${+hz.toFixed(2)} Hz`; }

export function age(seconds) {
  if (seconds === null || seconds === undefined) return MISSING;
  if (seconds < 1) return `${Math.round(seconds * 1000)} ms`;
  if (seconds < 100) return `${seconds.toFixed(1)} s`;
  if (seconds < 7200) return `${Math.round(seconds / 60)} min`;
  return `${Math.round(seconds / 3600)} h`;
}

export function milliseconds(ms) { return ms < 10 ? `${ms.toFixed(2)} ms` : ms < 1000 ? `${ms.toFixed(0)} ms` : `${(ms / 1000).toFixed(1)} s`; }

// A place in a stream: the time of day where it is known, else minutes and seconds of the stream.
export function moment(stream, seconds, digits = 0) {
  if (stream.utcOffsetS !== null) return ofDay(new Date((seconds + stream.utcOffsetS) * 1000), digits);
  const sign = seconds < -1e-9 ? "−" : "", whole = Math.abs(seconds);
  const minutes = Math.floor(whole / 60), rest = (whole % 60).toFixed(digits).padStart(digits ? 3 + digits : 2, "0");
  return `${sign}${minutes}:${rest}`;
}

export function ofDay(date, digits = 0) {
  const two = (value) => String(value).padStart(2, "0");
  const fraction = digits ? `.${String(date.getMilliseconds()).padStart(3, "0").slice(0, digits)}` : "";
  return `${two(date.getHours())}:${two(date.getMinutes())}:${two(date.getSeconds())}${fraction}`;
}

// A QRS of ventricular origin has a V behind its name, as cardiologists mark it, and what the model takes for noise a ?.
export function markOf(segment) { return segment.noise > .5 ? "?" : segment.ventricular > .5 ? "V" : ""; }
export function nameOf(segment) { return segment.label.toUpperCase() + markOf(segment).replace("V", " V"); }

// live, behind, down, retrying or ended, of what the daemon says.
export function stateOf(stream) {
  if (stream.state === "failed") return "down";
  if (stream.state === "down") return stream.says === "opening" ? "down" : "retrying";
  if (stream.state === "ended") return "ended";
  return stream.behind_s > 1 || stream.age_s > 3 ? "behind" : "live";
}
