/** The form as it stands, kept for this tab; and the recipes of sent jobs, so that a failed one can be tried again. */

import type { Parameters } from "./dom";
import { readPrivate, writePrivate } from "./store";

const RECIPES_MAX = 40;
const NOT_KEPT = new Set(["csrfmiddlewaretoken", "idempotency_key", "project", "tier"]);

function isParameters(value: unknown): value is Parameters {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

/** The form's values by name, without what belongs to one request. */
export function formValues(form: HTMLFormElement): Parameters {
  const values: Parameters = {};
  for (const [name, value] of new FormData(form)) {
    if (typeof value === "string" && !NOT_KEPT.has(name)) values[name] = value;
  }
  return values;
}

export function saveDraft(workspace: string, values: Parameters): void {
  writePrivate("tab", `draft.${workspace}`, values);
}

export function loadDraft(workspace: string): Parameters | null {
  const kept = readPrivate("tab", `draft.${workspace}`);
  return isParameters(kept) ? kept : null;
}

export function rememberRecipe(workspace: string, job: string, values: Parameters): void {
  const key = `recipes.${workspace}`;
  const kept = readPrivate("tab", key);
  const entries = isParameters(kept) ? Object.entries(kept) : [];
  writePrivate("tab", key, Object.fromEntries([...entries, [job, values]].slice(-RECIPES_MAX)));
}

export function recallRecipe(workspace: string, job: string): Parameters | null {
  const kept = readPrivate("tab", `recipes.${workspace}`);
  const found = isParameters(kept) ? (kept as Record<string, unknown>)[job] : null;
  return isParameters(found) ? found : null;
}
