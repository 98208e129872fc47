/** Keys that follow links: a link says with `data-key` which key it answers to. */

import { isTyping } from "./dom";

export function startLinkKeys(follow: (link: HTMLAnchorElement) => void = (link) => link.click()): () => void {
  const pressed = (event: KeyboardEvent): void => {
    if (event.altKey || event.ctrlKey || event.metaKey || event.shiftKey || isTyping(event.target)) return;
    const link = document.querySelector<HTMLAnchorElement>(`a[data-key="${CSS.escape(event.key)}"]`);
    if (!link) return;
    event.preventDefault();
    follow(link);
  };
  document.addEventListener("keydown", pressed);
  return () => document.removeEventListener("keydown", pressed);
}
