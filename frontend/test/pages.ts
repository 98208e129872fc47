/** What tests build pages from: markup as the templates make it, and a played server. */

import { vi } from "vitest";

export interface Asked {
  url: string;
  method: string;
  body: string;
  headers: Record<string, string>;
}

export interface Reply {
  status?: number;
  body?: string;
  type?: string;
  headers?: Record<string, string>;
}

/** Answer every fetch with what `reply` says; the answer lists what was asked. */
export function playServer(reply: (asked: Asked) => Reply | Promise<Reply> | "offline"): Asked[] {
  const log: Asked[] = [];
  vi.stubGlobal("fetch", async (input: RequestInfo | URL, init: RequestInit = {}) => {
    const asked: Asked = {
      url: String(input),
      method: init.method ?? "GET",
      body: init.body instanceof URLSearchParams ? init.body.toString() : init.body ? "[form data]" : "",
      headers: (init.headers ?? {}) as Record<string, string>,
    };
    log.push(asked);
    const answer = await reply(asked);
    if (answer === "offline") throw new TypeError("network");
    const { status = 200, body = "", type = "text/html", headers = {} } = answer;
    return new Response(body, { status, headers: { "content-type": type, ...headers } });
  });
  return log;
}

export interface TileLook {
  job?: string;
  index?: number;
  status?: string;
  output?: string;
  error?: string;
}

export function tileHtml({ job = "job_1", index = 0, status = "queued", output, error = "" }: TileLook = {}): string {
  const made = status === "succeeded";
  const name = output ?? (made ? `out_${job}_${index}` : "");
  const inner = made
    ? `<a class="tile__frame" href="/w/w/outputs/${name}"><img class="tile__picture" src="/thumb/${name}" alt=""></a>
       <div class="tile__tools"><button type="button" data-action="trash"></button><button type="button" data-action="restore"></button></div>`
    : `<button class="tile__frame" type="button" data-action="show"></button>
       <span data-part="label"></span><div data-part="progress" role="progressbar"></div>
       ${status === "failed" ? `<span class="tile__detail">${error}</span><button data-action="again"></button>` : ""}
       ${status === "queued" || status === "running" ? '<button type="button" data-action="cancel"></button>' : ""}`;
  return `<job-tile data-job="${job}" data-index="${index}" data-status="${status}" data-width="64" data-height="32"
    ${name ? `data-output="${name}" data-url="/w/w/outputs/${name}" data-picture="/full/${name}"` : ""}>${inner}</job-tile>`;
}

/** A room around `inner`, with a gallery that holds `tiles`. */
export function roomHtml(tiles: string, inner = ""): string {
  return `<meta name="csrf-token" content="token"><p id="live"></p>
    <studio-room data-workspace="w" data-user="alice" data-submit="/w/w/jobs" data-queue="/w/w/queue">
      ${inner}<div id="gallery" data-trash="0">${tiles}</div><div id="viewer" hidden></div>
    </studio-room>`;
}

/** Let promises and short timers run. */
export async function settle(milliseconds = 0): Promise<void> {
  await new Promise((resolve) => setTimeout(resolve, milliseconds));
}

/** Note the details of a document event. */
export function record<T>(name: string): T[] {
  const heard: T[] = [];
  document.addEventListener(name, (event) => heard.push((event as CustomEvent<T>).detail));
  return heard;
}

export function press(key: string, target: EventTarget = document.body, options: KeyboardEventInit = {}): KeyboardEvent {
  const event = new KeyboardEvent("keydown", { key, bubbles: true, cancelable: true, ...options });
  target.dispatchEvent(event);
  return event;
}

/** Put HTML into the page as a browser does: elements are connected when their children are there. */
export function mount(html: string): void {
  const template = document.createElement("template");
  template.innerHTML = html;
  document.body.replaceChildren(document.importNode(template.content, true));
}
