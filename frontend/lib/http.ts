/** Requests to our own server: CSRF token, the fragment header, and one sentence for every failure. */

export interface FieldProblem {
  field: string;
  message: string;
}

/** What a request came to. `unsure` means that no answer came: the server may have done it or not. */
export type Answer =
  | { kind: "ok"; status: number; text: string; json: unknown }
  | { kind: "problems"; problems: FieldProblem[] }
  | { kind: "failed"; status: number; message: string; unsure: boolean };

export interface Ask {
  method?: "GET" | "POST" | "DELETE";
  body?: URLSearchParams | FormData;
  accept?: string;
}

export function csrfToken(): string {
  return document.querySelector<HTMLMetaElement>('meta[name="csrf-token"]')?.content ?? "";
}

/** Ask the server; never throws. */
export async function ask(url: string, { method = "GET", body, accept = "text/html" }: Ask = {}): Promise<Answer> {
  let response: Response;
  let text: string;
  try {
    const headers: Record<string, string> = { Accept: accept, "HX-Request": "true" };
    if (method !== "GET") headers["X-CSRFToken"] = csrfToken();
    response = await fetch(url, { method, headers, credentials: "same-origin", ...(body ? { body } : {}) });
    text = await response.text();
  } catch {
    return { kind: "failed", status: 0, unsure: method !== "GET", message: offlineSentence() };
  }
  if (isSignedOut(response)) {
    return {
      kind: "failed",
      status: 401,
      unsure: false,
      message: "You were signed out. Sign in again in another tab; what you wrote stays here.",
    };
  }
  const type = response.headers.get("content-type") ?? "";
  const json = type.includes("json") ? parseJson(text) : null;
  if (response.ok) return { kind: "ok", status: response.status, text, json };
  const problems = readProblems(text, json);
  if (problems.length) return { kind: "problems", problems };
  return { kind: "failed", status: response.status, unsure: response.status >= 500, message: failureSentence(response, text, json) };
}

function offlineSentence(): string {
  return navigator.onLine === false
    ? "You are offline. Nothing is lost: press the button again when you are back."
    : "The studio did not answer. Nothing is lost: press the button again.";
}

/** A session that ended shows as a redirect to the sign-in page. */
function isSignedOut(response: Response): boolean {
  if (response.status === 401) return true;
  return response.redirected && new URL(response.url, location.href).pathname.startsWith("/accounts/login");
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return null;
  }
}

interface ProblemBody {
  detail?: unknown;
  errors?: { field?: unknown; message?: unknown }[];
}

function readProblems(text: string, json: unknown): FieldProblem[] {
  const errors = (json as ProblemBody | null)?.errors;
  if (Array.isArray(errors)) {
    return errors.map((error) => ({ field: String(error.field ?? ""), message: String(error.message ?? "") }));
  }
  if (!text.includes("data-form-errors")) return [];
  const page = new DOMParser().parseFromString(text, "text/html");
  return [...page.querySelectorAll<HTMLElement>("[data-form-errors] [data-field]")].map((item) => ({
    field: item.dataset.field ?? "",
    message: item.textContent?.trim() ?? "",
  }));
}

function failureSentence(response: Response, text: string, json: unknown): string {
  const detail = (json as ProblemBody | null)?.detail;
  if (typeof detail === "string" && detail) return detail;
  if (text.includes("data-error-message")) {
    const page = new DOMParser().parseFromString(text, "text/html");
    const said = page.querySelector("[data-error-message]")?.textContent?.trim();
    if (said) return said;
  }
  if (response.status === 429) {
    const wait = Number(response.headers.get("retry-after"));
    return wait > 0
      ? `That is a lot at once. Try again in ${wait} seconds.`
      : "That is a lot at once. Wait a moment, then press the button again.";
  }
  if (response.status === 403) return "You may look at this workspace, but not do that here.";
  if (response.status === 404) return "That is no longer there.";
  if (response.status === 409) return "That has changed in the meantime.";
  if (response.status === 413) return "That file is too large.";
  if (response.status >= 500) return "The studio had a fault. Nothing is lost: press the button again.";
  return "That did not work. Press the button again.";
}
