// The WebSocket to the daemon. It comes back by itself, and asks again for the stream that was watched.

import { decode } from "./message.js";

const FIRST_PAUSE_MS = 250, LONGEST_PAUSE_MS = 4000, SILENT_MS = 6000;

export class Connection {
  constructor({ message, state }) {
    this.message = message;
    this.state = state;
    this.watched = null;
    this.number = 0;
    this.pause = FIRST_PAUSE_MS;
    this.heard = 0;
    // The server says something every second; a line that is silent is dead, whatever TCP thinks.
    setInterval(() => this.socket?.readyState === WebSocket.OPEN && Date.now() - this.heard > SILENT_MS && this.socket.close(), 1000);
    addEventListener("online", () => this.retry());
    document.addEventListener("visibilitychange", () => document.hidden || this.retry());
    this.open();
  }

  watch(name) {
    this.watched = name;
    this.number += 1;
    this.ask();
  }

  ask() {
    if (this.watched !== null && this.socket.readyState === WebSocket.OPEN) {
      this.socket.send(JSON.stringify({ watch: this.watched, number: this.number }));
    }
  }

  retry() {
    if (this.timer) {
      clearTimeout(this.timer);
      this.open();
    }
  }

  open() {
    this.timer = null;
    const scheme = location.protocol === "https:" ? "wss:" : "ws:";
    const socket = this.socket = new WebSocket(`${scheme}//${location.host}/live`);
    socket.binaryType = "arraybuffer";
    socket.onopen = () => {
      this.heard = Date.now();
      this.ask();
    };
    socket.onmessage = (event) => {
      this.heard = Date.now();
      this.pause = FIRST_PAUSE_MS;
      this.state("open");
      const message = decode(event.data);
      if (message.watch === 0 || message.watch === this.number) this.message(message);
    };
    socket.onclose = (event) => {
      this.state(event.code === 4008 ? "slow" : "lost");
      this.timer = setTimeout(() => this.open(), this.pause);
      this.pause = Math.min(LONGEST_PAUSE_MS, this.pause * 2);
    };
  }
}
