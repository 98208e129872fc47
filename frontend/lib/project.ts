/** The project that the gallery shows and that new pictures go into. */

import { readSetting, writeSetting } from "./store";

export interface ChosenProject {
  id: string;
  name: string;
}

function chooser(): HTMLSelectElement | null {
  return document.querySelector<HTMLSelectElement>("#gallery-project");
}

/** What is chosen on this page; an empty id is no project. */
export function chosenProject(): ChosenProject {
  const select = chooser();
  const option = select?.options[select.selectedIndex];
  return option?.value ? { id: option.value, name: option.textContent?.trim() ?? "" } : { id: "", name: "" };
}

/** Choose what was chosen here before, if it is still there; whether that changed anything. */
export function recallProject(workspace: string): boolean {
  const select = chooser();
  const kept = readSetting(`project.${workspace}`);
  if (!select || typeof kept !== "string" || !kept || select.value === kept) return false;
  if (![...select.options].some((option) => option.value === kept)) return false;
  select.value = kept;
  return true;
}

/** The id alone is kept: a project's name is confidential. */
export function rememberProject(workspace: string, id: string): void {
  writeSetting(`project.${workspace}`, id);
}
