/** Puts the server's sentences at their fields, for eyes and for screen readers. */

import type { FieldProblem } from "../lib/http";

/** Show each problem at its field; answers the sentences that belong to no field here. */
export function placeProblems(root: HTMLElement, problems: readonly FieldProblem[]): string[] {
  const homeless: string[] = [];
  const seen = new Map<string, string[]>();
  for (const { field, message } of problems) seen.set(field, [...(seen.get(field) ?? []), message]);
  for (const [field, messages] of seen) {
    const error = root.querySelector<HTMLElement>(`#error_${CSS.escape(field)}`);
    if (!error) {
      homeless.push(...messages);
      continue;
    }
    error.textContent = messages.join(" ");
    error.hidden = false;
    error.closest("details")?.setAttribute("open", "");
    for (const control of controlsOf(root, field)) {
      control.setAttribute("aria-invalid", "true");
      control.setAttribute("aria-describedby", error.id);
    }
  }
  return homeless;
}

export function clearProblems(root: HTMLElement): void {
  for (const error of root.querySelectorAll<HTMLElement>(".field__error")) {
    error.textContent = "";
    error.hidden = true;
  }
  for (const control of root.querySelectorAll("[aria-invalid]")) control.removeAttribute("aria-invalid");
  const summary = root.querySelector('[data-part="problems"]');
  if (summary) summary.textContent = "";
}

/** The controls that a person would change; a starting picture's hidden value is changed through its file input. */
function controlsOf(root: HTMLElement, field: string): HTMLElement[] {
  const named = [...root.querySelectorAll<HTMLElement>(`[name="${CSS.escape(field)}"]:not([type="hidden"])`)];
  if (named.length) return named;
  return [...root.querySelectorAll<HTMLElement>(`[data-field="${CSS.escape(field)}"] input:not([type="hidden"])`)];
}
