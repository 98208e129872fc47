/** The web address of a picture in what was pasted or dropped from another page. */

import { parseFragment } from "./dom";

/** Of an image that is a link, the image; else the first address; empty where there is none. */
export function addressIn(data: DataTransfer | null): string {
  if (!data) return "";
  const image = parseFragment(data.getData("text/html")).querySelector("img[src]")?.getAttribute("src") ?? "";
  const listed = data.getData("text/uri-list").split(/\r?\n/).find((line) => line && !line.startsWith("#")) ?? "";
  return [image, listed, data.getData("text/plain")].map((text) => text.trim()).find(isWebAddress) ?? "";
}

function isWebAddress(text: string): boolean {
  return /^https?:\/\/[^\s/]+\S*$/i.test(text);
}
