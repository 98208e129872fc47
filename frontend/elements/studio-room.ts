/** The room: which panels are open, which part a phone shows, and the keys that belong to neither. */

import { emit, isTyping, listen, type RoomView } from "../lib/dom";
import { bindKeys } from "../lib/keys";
import { readSetting, writeSetting } from "../lib/store";
import { board } from "../lib/tile-board";
import { isViewerOpen } from "../lib/viewer-host";
import { cancelJob, JobTile } from "./job-tile";

type Panel = "recipe" | "shelf";

export class StudioRoom extends HTMLElement {
  private stop: (() => void)[] = [];

  connectedCallback(): void {
    for (const panel of ["recipe", "shelf"] as const) this.setPanel(panel, readSetting(`panel.${panel}`) !== false);
    this.addEventListener("click", (event) => {
      const target = event.target as Element;
      const toggle = target.closest<HTMLElement>("[data-panel-toggle]")?.dataset.panelToggle;
      if (toggle === "recipe" || toggle === "shelf") this.turnPanel(toggle);
      const view = target.closest<HTMLElement>("[data-view-button]")?.dataset.viewButton;
      if (view) this.setView(view as RoomView);
    });
    this.stop = [
      listen("studio:view", ({ view }) => this.setView(view)),
      bindKeys(
        { keys: "shift+x", label: "Cancel the job that runs", group: "Making", run: () => this.cancelRunning() },
        { keys: "t", label: "Show or hide the recipe", group: "Room", run: () => this.turnPanel("recipe") },
        { keys: "g", label: "Show or hide the gallery", group: "Room", run: () => this.turnPanel("shelf") },
        { keys: "f", label: "Only the stage", group: "Room", run: () => this.onlyStage() },
        { keys: "escape", label: "Leave the text field", group: "Room", typing: true, when: () => isTyping(document.activeElement), run: () => this.leaveField() },
      ),
    ];
  }

  disconnectedCallback(): void {
    for (const stop of this.stop) stop();
  }

  private isOpen(panel: Panel): boolean {
    return !this.hasAttribute(`data-no-${panel}`);
  }

  private turnPanel(panel: Panel): void {
    this.setPanel(panel, !this.isOpen(panel));
  }

  private onlyStage(): void {
    const open = !this.isOpen("recipe") && !this.isOpen("shelf");
    this.setPanel("recipe", open);
    this.setPanel("shelf", open);
  }

  private setPanel(panel: Panel, open: boolean): void {
    this.toggleAttribute(`data-no-${panel}`, !open);
    this.querySelector(`[data-panel-toggle="${panel}"]`)?.setAttribute("aria-pressed", String(open));
    writeSetting(`panel.${panel}`, open);
  }

  /** On a phone one part is seen at a time; on a wide screen all of them are. */
  private setView(view: RoomView): void {
    if (view !== "stage" && this.dataset.view === "stage" && isViewerOpen() && this.isPhone) emit("studio:close-viewer", {});
    this.dataset.view = view;
    if (view === "recipe" && !this.isPhone && !this.isOpen("recipe")) this.setPanel("recipe", true);
    for (const button of this.querySelectorAll<HTMLElement>("[data-view-button]")) {
      if (button.dataset.viewButton === view) button.setAttribute("aria-current", "true");
      else button.removeAttribute("aria-current");
    }
  }

  private get isPhone(): boolean {
    return window.matchMedia("(max-width: 820px)").matches;
  }

  private leaveField(): void {
    (document.activeElement as HTMLElement | null)?.blur();
  }

  /** The job on the stage if it can be canceled, else the one that runs. */
  private cancelRunning(): void {
    const tiles = [...this.querySelectorAll("job-tile")].filter(
      (tile): tile is JobTile => tile instanceof JobTile && tile.canCancel,
    );
    const tile =
      tiles.find((each) => each.job === board.stage?.current) ??
      tiles.find((each) => each.status === "running") ??
      tiles[0];
    if (tile) void cancelJob(tile.job);
  }
}

customElements.define("studio-room", StudioRoom);
