// Messages of the server; the layout is described in tcnstream/live/web/message.py.

export const FACTS = 1, BEGIN = 2, COLUMNS = 3, EVENTS = 4, SKIPPED = 5, OPEN = 6;

const HEAD_BYTES = 16;
const text = new TextDecoder();

export function decode(buffer) {
  const head = new DataView(buffer, 0, HEAD_BYTES);
  const message = { kind: head.getUint8(0), watch: head.getUint32(4, true) };
  if (message.kind === COLUMNS) {
    message.width = head.getUint8(1);
    message.first = head.getFloat64(8, true);
    message.columns = new Float32Array(buffer, HEAD_BYTES);
  } else {
    message.body = JSON.parse(text.decode(new Uint8Array(buffer, HEAD_BYTES)));
  }
  return message;
}
