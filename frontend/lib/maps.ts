/** Maps that a network makes: a job, waited for, then a picture of the workspace. */

import { type Answer, ask } from "./http";

const PAUSE_MS = 1000;
const JSON_TYPE = "application/json";

interface Begun {
  state_url: string;
}

interface State {
  is_over: boolean;
  start_url: string;
  message: string;
}

export function isBegun(value: unknown): value is Begun {
  return typeof value === "object" && value !== null && typeof (value as Begun).state_url === "string";
}

/** Its map once it is made, as pictures that are added are answered; nothing more is asked when it is not wanted any more. */
export async function whenMade(stateUrl: string, isWanted: () => boolean, pause = PAUSE_MS): Promise<Answer> {
  while (isWanted()) {
    const answer = await ask(stateUrl, { accept: JSON_TYPE });
    const state = answer.kind === "ok" ? (answer.json as State | null) : null;
    // A moment offline ends nothing: the job goes on without us.
    if (answer.kind !== "ok" && !(answer.kind === "failed" && answer.status === 0)) return answer;
    if (state?.start_url) return ask(state.start_url, { method: "POST", accept: JSON_TYPE });
    if (state?.is_over) return failed(state.message || "The map was not made. Press the button again.");
    await new Promise((resolve) => setTimeout(resolve, pause));
  }
  return failed("");
}

function failed(message: string): Answer {
  return { kind: "failed", status: 0, unsure: false, message };
}
