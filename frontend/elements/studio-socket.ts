/** The page's one WebSocket: connects, comes back with growing pauses, and hands messages to the board. */

import { emit, type LinkState, listen } from "../lib/dom";
import { decodeFrame } from "../lib/frames";
import { isStatus, readJob } from "../lib/job-state";
import { board as pageBoard, type TileBoard } from "../lib/tile-board";

const FIRST_PAUSE_MS = 500;
const LONGEST_PAUSE_MS = 15_000;
const PING_MS = 25_000;
/** The server's words for "no": trying again at once would not help, coming back to the page may. */
const REFUSALS: Readonly<Record<number, LinkState>> = { 4401: "signed-out", 4404: "no-access" };

/** How long to wait before try `attempt` (0…): doubling, and somewhere in the upper half, so that tabs do not march together. */
export function pauseBefore(attempt: number, random: () => number = Math.random): number {
  const full = Math.min(LONGEST_PAUSE_MS, FIRST_PAUSE_MS * 2 ** attempt);
  return full / 2 + (full / 2) * random();
}

export class StudioSocket extends HTMLElement {
  board: TileBoard = pageBoard;
  private socket: WebSocket | null = null;
  private attempt = 0;
  private timer: ReturnType<typeof setTimeout> | undefined;
  private ping: ReturnType<typeof setInterval> | undefined;
  private state: LinkState | null = null;
  private readonly wake = (): void => this.reconnectNow();
  private readonly offline = (): void => this.tell("offline");
  private stop: (() => void)[] = [];

  connectedCallback(): void {
    window.addEventListener("online", this.wake);
    window.addEventListener("offline", this.offline);
    document.addEventListener("visibilitychange", this.wake);
    this.stop = [listen("studio:submitted", this.wake)];
    this.connect();
  }

  disconnectedCallback(): void {
    window.removeEventListener("online", this.wake);
    window.removeEventListener("offline", this.offline);
    document.removeEventListener("visibilitychange", this.wake);
    for (const stop of this.stop) stop();
    clearTimeout(this.timer);
    clearInterval(this.ping);
    const socket = this.socket;
    this.socket = null;
    socket?.close();
  }

  private connect(): void {
    clearTimeout(this.timer);
    const url = new URL(this.dataset.path ?? "", location.href);
    url.protocol = url.protocol === "https:" ? "wss:" : url.protocol === "http:" ? "ws:" : url.protocol;
    this.tell(this.attempt === 0 ? "connecting" : "reconnecting");
    const socket = new WebSocket(url);
    socket.binaryType = "arraybuffer";
    this.socket = socket;
    socket.addEventListener("open", () => {
      if (socket !== this.socket) return;
      this.attempt = 0;
      this.tell("live");
      clearInterval(this.ping);
      this.ping = setInterval(() => {
        if (socket.readyState === 1) socket.send('{"type":"ping"}');
      }, PING_MS);
    });
    socket.addEventListener("message", (event: MessageEvent<string | ArrayBuffer>) => {
      if (socket === this.socket) this.receive(event.data);
    });
    socket.addEventListener("close", (event: CloseEvent) => {
      if (socket === this.socket) this.lost(REFUSALS[event.code]);
    });
  }

  private lost(refusal: LinkState | undefined): void {
    this.socket = null;
    clearInterval(this.ping);
    if (refusal) {
      this.attempt = 1;
      this.tell(refusal);
      return;
    }
    this.tell(navigator.onLine === false ? "offline" : "reconnecting");
    this.timer = setTimeout(() => this.connect(), pauseBefore(this.attempt));
    this.attempt += 1;
  }

  private reconnectNow(): void {
    if (this.socket || document.visibilityState === "hidden") return;
    this.connect();
  }

  private tell(state: LinkState): void {
    if (state === this.state) return;
    this.state = state;
    emit("studio:link", { state });
  }

  private receive(data: string | ArrayBuffer): void {
    if (typeof data !== "string") {
      const frame = decodeFrame(data);
      if (frame) this.board.preview(frame);
      return;
    }
    let message: unknown;
    try {
      message = JSON.parse(data);
    } catch {
      return;
    }
    if (typeof message === "object" && message !== null) this.dispatch(message as Record<string, unknown>);
  }

  private dispatch(message: Record<string, unknown>): void {
    const id = typeof message["id"] === "string" ? message["id"] : "";
    const output = typeof message["output_id"] === "string" ? message["output_id"] : "";
    switch (message["type"]) {
      case "snapshot": {
        const jobs = Array.isArray(message["jobs"]) ? message["jobs"] : [];
        this.board.snapshot(jobs.flatMap((raw) => readJob(raw, "queued") ?? []));
        emit("studio:jobs-changed", { job: "" });
        break;
      }
      case "progress": {
        const job = readJob(message);
        if (job) this.board.progress(job);
        break;
      }
      case "changed":
        if (id) this.board.changed(id, isStatus(message["status"]) ? message["status"] : null);
        break;
      case "gone":
        if (output) emit("studio:output-gone", { output });
        break;
      case "restored":
        if (output) emit("studio:output-restored", { output });
        break;
      case "agents":
        emit("studio:agents", {
          warm: Number(message["warm"]) || 0,
          connected: Number(message["connected"]) || 0,
          digests: Array.isArray(message["digests"]) ? message["digests"].map(String) : [],
        });
        break;
    }
  }
}

customElements.define("studio-socket", StudioSocket);
