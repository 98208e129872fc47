/** Sending a large file piece by piece: cut off anywhere, it goes on where it was. */

import { csrfToken } from "./http";

export interface Arriving {
  id: string;
  state: "receiving" | "fetching" | "checking" | "done" | "failed";
  size_bytes: number;
  received_bytes: number;
  piece_bytes: number;
  problem: { code: string; field: string; message: string } | null;
  state_url: string;
  content_url: string;
  retry_url: string;
  model_url: string;
}

export function isArriving(value: unknown): value is Arriving {
  return typeof value === "object" && value !== null && typeof (value as Arriving).content_url === "string";
}

/** A piece was refused for good; the sentence says why. */
export class RefusedError extends Error {}

export interface Sending {
  file: Blob;
  onProgress: (arriving: Arriving) => void;
  onWait: (seconds: number) => void;
  signal: AbortSignal;
  wait?: (seconds: number, signal: AbortSignal) => Promise<void>;
}

const SLOWEST_SECONDS = 30;
const EDGE_BYTES = 1 << 20;

/**
 * The browser's name for a file, so that the same file goes on where it was: of its ends, its size and its date. Where
 * the page may not hash (no HTTPS), of size, date and name.
 */
export async function fingerprintOf(file: File): Promise<string> {
  const facts = `${file.size} ${file.lastModified} ${file.name}`;
  if (!globalThis.crypto?.subtle) return facts.slice(0, 64);
  const ends = new Blob([facts, file.slice(0, EDGE_BYTES), file.slice(-EDGE_BYTES)]);
  const digest = await crypto.subtle.digest("SHA-256", await ends.arrayBuffer());
  return [...new Uint8Array(digest)].map((byte) => byte.toString(16).padStart(2, "0")).join("");
}

/** Send what is missing; the upload as it is when all has arrived. Throws `RefusedError`, or when aborted. */
export async function sendPieces(begun: Arriving, sending: Sending): Promise<Arriving> {
  const { file, signal, onProgress, onWait, wait = pause } = sending;
  let now = begun;
  let failures = 0;
  while (now.state === "receiving" && now.received_bytes < now.size_bytes) {
    signal.throwIfAborted();
    const offset = now.received_bytes;
    const piece = file.slice(offset, offset + now.piece_bytes);
    const answer = await put(`${now.content_url}?offset=${offset}`, piece, signal);
    const next = answer === "again" ? await stateOf(now, signal) : answer;
    if (next === null) {
      failures += 1;
      const seconds = Math.min(SLOWEST_SECONDS, 2 ** failures);
      onWait(seconds);
      await wait(seconds, signal);
      continue;
    }
    failures = 0;
    now = next;
    onProgress(now);
  }
  return now;
}

/** How far it is; null when nobody answers. */
export async function stateOf(arriving: Arriving, signal: AbortSignal): Promise<Arriving | null> {
  const answer = await said(arriving.state_url, { signal });
  return answer === "again" ? null : answer;
}

async function put(url: string, body: Blob, signal: AbortSignal): Promise<Arriving | "again" | null> {
  const headers = { "Content-Type": "application/octet-stream", "X-CSRFToken": csrfToken() };
  return said(url, { method: "PUT", body, headers, signal });
}

/** `again`: somebody else has sent this piece, so ask how far it is. Null: no answer, try later. */
async function said(url: string, init: RequestInit): Promise<Arriving | "again" | null> {
  let response: Response;
  let json: unknown;
  try {
    const headers = { Accept: "application/json", ...init.headers };
    response = await fetch(url, { credentials: "same-origin", ...init, headers });
    json = await response.json();
  } catch (error) {
    init.signal?.throwIfAborted();
    if (error instanceof SyntaxError || error instanceof TypeError) return null;
    throw error;
  }
  if (response.ok && isArriving(json)) return json;
  if (response.status === 409) return "again";
  const isLasting = response.status < 500 && response.status !== 408 && response.status !== 429;
  // A full disk may be freed, but not within minutes: who waits should know.
  if (isLasting || response.status === 507) throw new RefusedError(sentence(json));
  return null;
}

function sentence(json: unknown): string {
  const detail = (json as { detail?: unknown } | null)?.detail;
  return typeof detail === "string" ? detail : "The studio does not take this file any more.";
}

/** Wait, but for no longer than somebody wants. */
export async function pause(seconds: number, signal: AbortSignal): Promise<void> {
  await new Promise<void>((resolve, reject) => {
    const timer = setTimeout(resolve, seconds * 1_000);
    signal.addEventListener("abort", () => {
      clearTimeout(timer);
      reject(signal.reason instanceof Error ? signal.reason : new Error("aborted"));
    });
  });
}
