/**
 * The form that adds a file to the library: sends it in pieces, shows how far it is, waits while it is checked, and
 * leads to the model. What was typed stays whatever happens; a refused file is checked again without sending it again.
 */

import { part } from "../lib/dom";
import { ask } from "../lib/http";
import { type Arriving, RefusedError, fingerprintOf, isArriving, pause, sendPieces, stateOf } from "../lib/sending";

const POLL_SECONDS = 1;
const MIB = 1024 ** 2;
const JSON_FILE = /\.json$/i;
/** What is sent as text beside the weights, by its file's name. */
const BESIDE: Record<string, string> = { "config.json": "config", "preprocessor_config.json": "preprocessor" };

export class ModelUpload extends HTMLElement {
  private stopping: AbortController | null = null;
  /** What arrived and was refused, and of which file: the button then asks for another check. */
  private refused: { arriving: Arriving; file: File | null } | null = null;
  private readonly onSubmit = (event: Event): void => {
    event.preventDefault();
    void this.add();
  };
  private readonly onPause = (): void => this.stopping?.abort(new Error("paused"));
  private readonly onLeave = (event: BeforeUnloadEvent): void => {
    if (this.stopping) event.preventDefault();
  };
  private readonly onChoose = (): void => this.nameIt();

  connectedCallback(): void {
    this.form?.addEventListener("submit", this.onSubmit);
    this.field("file")?.addEventListener("change", this.onChoose);
    part(this, "pause")?.addEventListener("click", this.onPause);
    addEventListener("beforeunload", this.onLeave);
  }

  disconnectedCallback(): void {
    removeEventListener("beforeunload", this.onLeave);
    this.stopping?.abort(new Error("left"));
  }

  private get form(): HTMLFormElement | null {
    return this.querySelector("form");
  }

  private field(name: string): HTMLInputElement | null {
    return this.querySelector<HTMLInputElement>(`[data-field="${name}"]`);
  }

  private get file(): File | null {
    const files = [...(this.field("file")?.files ?? [])];
    return files.find((file) => !JSON_FILE.test(file.name)) ?? files[0] ?? null;
  }

  /** A name to start from, if none was given. */
  private nameIt(): void {
    const name = this.field("name");
    if (name && !name.value.trim() && this.file) name.value = this.file.name.replace(/\.[^.]+$/, "").replace(/_/g, " ");
  }

  async add(): Promise<void> {
    if (this.stopping) return; // a second click
    const file = this.file;
    if (!file && !this.field("url")?.value.trim()) return this.fail("file", "Choose a file, or give a web address.");
    const stopping = new AbortController();
    this.stopping = stopping;
    this.fail("", "");
    this.show(true);
    try {
      const begun = await this.begin(file);
      if (begun) await this.follow(begun, file, stopping.signal);
    } catch (error) {
      if (error instanceof RefusedError) this.fail("", error.message);
      else if (stopping.signal.aborted) this.say("Paused. Add goes on where it was.");
      else throw error;
    } finally {
      this.stopping = null;
      this.show(false);
    }
  }

  private async begin(file: File | null): Promise<Arriving | null> {
    const form = this.form;
    if (!form) return null;
    const body = new URLSearchParams();
    for (const [name, value] of new FormData(form)) if (typeof value === "string") body.set(name, value);
    for (const json of this.field("file")?.files ?? []) {
      const name = BESIDE[json.name];
      if (name) body.set(name, await json.text());
    }
    let url = this.dataset.url ?? "";
    if (this.refused && isSame(this.refused.file, file)) {
      url = this.refused.arriving.retry_url;
    } else if (file) {
      body.delete("url");
      body.set("file_name", file.name);
      body.set("size_bytes", String(file.size));
      body.set("fingerprint", await fingerprintOf(file));
    }
    const answer = await ask(url, { method: "POST", body, accept: "application/json" });
    if (answer.kind === "ok" && isArriving(answer.json)) return answer.json;
    if (answer.kind === "problems") for (const each of answer.problems) this.fail(each.field, each.message);
    if (answer.kind === "failed") this.fail("", answer.message);
    if (answer.kind === "failed" && answer.status === 409) this.refused = null;
    return null;
  }

  private async follow(begun: Arriving, file: File | null, signal: AbortSignal): Promise<void> {
    const started = { at: performance.now(), bytes: begun.received_bytes };
    const onProgress = (now: Arriving): void => this.progress(now, started);
    onProgress(begun);
    let now = begun;
    if (file && now.state === "receiving") {
      const onWait = (seconds: number): void => this.say(`No answer. Going on in ${seconds} s; nothing is lost.`);
      now = await sendPieces(begun, { file, signal, onProgress, onWait });
    }
    while (now.state !== "done" && now.state !== "failed") {
      this.progress(now, started);
      await pause(POLL_SECONDS, signal);
      now = (await stateOf(now, signal)) ?? now;
    }
    if (now.state === "done") {
      this.stopping = null;
      location.assign(now.model_url);
      return;
    }
    const isWhole = now.size_bytes > 0 && now.received_bytes === now.size_bytes;
    this.refused = isWhole ? { arriving: now, file } : null;
    this.fail(now.problem?.field ?? "", now.problem?.message ?? "It was refused.");
  }

  private progress(now: Arriving, started: { at: number; bytes: number }): void {
    const bar = this.querySelector("progress");
    if (bar && now.size_bytes) bar.value = (100 * now.received_bytes) / now.size_bytes;
    if (now.state === "checking") {
      bar?.removeAttribute("value");
      this.say("All here. It is being checked and taken into the library; this page may be closed.");
      return;
    }
    const seconds = (performance.now() - started.at) / 1_000;
    const speed = seconds > 1 ? (now.received_bytes - started.bytes) / seconds : 0;
    const left = speed > 0 && now.size_bytes ? `, ${minutes((now.size_bytes - now.received_bytes) / speed)} left` : "";
    const of = now.size_bytes ? ` of ${mib(now.size_bytes)}` : "";
    this.say(`${mib(now.received_bytes)}${of}${speed > 0 ? `, ${mib(speed)} a second${left}` : ""}`);
  }

  private say(text: string): void {
    const says = part(this, "says");
    if (says) says.textContent = text;
  }

  private show(isBusy: boolean): void {
    const isSending = isBusy && this.file !== null;
    part(this, "progress")?.toggleAttribute("hidden", !isBusy && !part(this, "says")?.textContent);
    part(this, "pause")?.toggleAttribute("hidden", !isSending);
    part(this, "go")?.toggleAttribute("disabled", isBusy);
  }

  /** The sentence where it belongs; all fields are sound again when there is none. */
  private fail(field: string, message: string): void {
    const error = part(this, "error");
    if (!message) for (const each of this.querySelectorAll("[aria-invalid]")) each.removeAttribute("aria-invalid");
    if (message) this.say("");
    if (error) {
      error.textContent = message && error.textContent && !error.hidden ? `${error.textContent} ${message}` : message;
      error.hidden = !message;
    }
    const wrong = message ? this.field(field) : null;
    wrong?.setAttribute("aria-invalid", "true");
    wrong?.focus();
  }
}

function mib(bytes: number): string {
  return bytes >= 1024 * MIB ? `${(bytes / MIB / 1024).toFixed(2)} GiB` : `${(bytes / MIB).toFixed(1)} MiB`;
}

function minutes(seconds: number): string {
  return seconds < 90 ? `${Math.max(1, Math.round(seconds))} s` : `${Math.round(seconds / 60)} min`;
}

/** Also when it was chosen again, together with others. */
function isSame(one: File | null, other: File | null): boolean {
  if (!one || !other) return one === other;
  return one.name === other.name && one.size === other.size && one.lastModified === other.lastModified;
}

customElements.define("model-upload", ModelUpload);
