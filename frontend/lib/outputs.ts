/** Trash and restore, with a way back for five seconds. */

import { announce, emit } from "./dom";
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

function sentence(answer: Awaited<ReturnType<typeof ask>>): string {
  if (answer.kind === "failed") return answer.message;
  return answer.kind === "problems" ? answer.problems.map((problem) => problem.message).join(" ") : "";
}
