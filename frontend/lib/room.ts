/** The addresses of the room on this page. */

export interface RoomAddresses {
  workspace: string;
  user: string;
  submit: string;
  queue: string;
  gallery: string;
  trash: string;
  upload: string;
}

export function roomElement(): HTMLElement | null {
  return document.querySelector<HTMLElement>("studio-room");
}

export function roomAddresses(): RoomAddresses {
  const data = roomElement()?.dataset ?? {};
  const of = (name: keyof RoomAddresses): string => data[name] ?? "";
  return {
    workspace: of("workspace"),
    user: of("user"),
    submit: of("submit"),
    queue: of("queue"),
    gallery: of("gallery"),
    trash: of("trash"),
    upload: of("upload"),
  };
}

/** `…/jobs/{job}/{action}`, from the address that jobs are submitted to. */
export function jobAddress(job: string, action: "tile" | "cancel" | "parameters"): string {
  return `${roomAddresses().submit.replace(/\/$/, "")}/${encodeURIComponent(job)}/${action}`;
}
