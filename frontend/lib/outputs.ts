/** What can be done with a finished picture: trash and restore, and taking over its recipe. */

import { announce, emit, type ParameterPart, type Parameters } from "./dom";
import { ask } from "./http";

export async function trashOutput(output: string, trashUrl: string, restoreUrl: string): Promise<boolean> {
  const answer = await ask(trashUrl, { method: "POST" });
  if (answer.kind !== "ok") {
    emit("studio:toast", { text: sentence(answer), bad: true });
    return false;
  }
  emit("studio:output-gone", { output });
  emit("studio:toast", {
    text: "Moved to the trash.",
    action: { label: "Undo", run: () => void restoreOutput(output, restoreUrl) },
  });
  return true;
}

export async function restoreOutput(output: string, restoreUrl: string): Promise<boolean> {
  const answer = await ask(restoreUrl, { method: "POST" });
  if (answer.kind !== "ok") {
    emit("studio:toast", { text: sentence(answer), bad: true });
    return false;
  }
  emit("studio:output-restored", { output });
  announce("The picture is back.");
  return true;
}

/** The recipe behind an output, as the form knows it; null when the server said no (and the person was told). */
export async function fetchParameters(url: string): Promise<Parameters | null> {
  const answer = await ask(url, { accept: "application/json" });
  if (answer.kind !== "ok" || typeof answer.json !== "object" || answer.json === null) {
    const text = answer.kind === "ok" ? "Its recipe could not be read." : sentence(answer);
    emit("studio:toast", { text, bad: true });
    return null;
  }
  const body = answer.json as Parameters;
  const inner: unknown = body["recipe"];
  return forDrawing(typeof inner === "object" && inner !== null ? (inner as Parameters) : body);
}

/** Of an upscale or a cut-out only what it was made from can be drawn with: its size is mostly too large, and there is nothing else. */
function forDrawing(recipe: Parameters): Parameters {
  return recipe["scale"] || recipe["cutout"] || recipe["map_kind"] ? { prompt: recipe["prompt"], image: recipe["image"] } : recipe;
}

/** Offer the recipe of an output, or one part of it, to the form. */
export async function useOutput(parametersUrl: string, which: ParameterPart): Promise<void> {
  const values = await fetchParameters(parametersUrl);
  if (values) emit("studio:use-parameters", { values, part: which });
}

function sentence(answer: Awaited<ReturnType<typeof ask>>): string {
  if (answer.kind === "failed") return answer.message;
  return answer.kind === "problems" ? answer.problems.map((problem) => problem.message).join(" ") : "";
}
