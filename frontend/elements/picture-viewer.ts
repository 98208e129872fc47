/** One finished picture: looked at closely, with everything that made it. */

import { announce, emit, listen, type ParameterPart, part } from "../lib/dom";
import { ask } from "../lib/http";
import { bindKeys } from "../lib/keys";
import { fetchParameters, restoreOutput, trashOutput } from "../lib/outputs";
import { readSetting, writePrivate, writeSetting } from "../lib/store";
import { board } from "../lib/tile-board";
import { isUploaded } from "../lib/uploads";

export class PictureViewer extends HTMLElement {
  private isActual = false;
  private stop: (() => void)[] = [];
  private observer: ResizeObserver | null = null;
  private placed: string | null = null;
  private readonly clickedListener = (event: Event): void => this.clicked(event);
  private readonly changedListener = (event: Event): void => {
    if (event.target instanceof HTMLSelectElement) void this.place(event.target);
  };

  connectedCallback(): void {
    // Enlarged, the focused picture is scrolled by the arrow keys.
    const when = (): boolean => !(this.isActual && document.activeElement === part(this, "mat"));
    const on = (keys: string, label: string, run: () => void) => ({ keys, label, group: "Picture" as const, run, when });
    this.stop = [
      bindKeys(
        { ...on("escape", "Back to the stage", () => this.close()), when: () => true },
        on("arrowleft", "Previous picture", () => this.step("previous")),
        on("arrowright", "Next picture", () => this.step("next")),
        on("z", "Fit, or actual pixels", () => this.zoom()),
        on("i", "Details", () => this.info()),
        on("b", "Black, grey or white surround", () => this.cycleSurround()),
        on("a", "Use all parameters", () => void this.use("all")),
        on("p", "Use the prompt", () => void this.use("prompt")),
        on("s", "Use the seed", () => void this.use("seed")),
        on("d", "Use the size", () => void this.use("size")),
        on("r", "Remix: all but the seed", () => void this.use("remix")),
        on("delete", "Delete to the trash, or restore", () => void this.trashOrRestore()),
      ),
      listen("studio:output-gone", ({ output }) => {
        if (output === this.dataset.output && this.dataset.trashed === undefined) this.reload();
      }),
      listen("studio:output-restored", ({ output }) => {
        if (output === this.dataset.output && this.dataset.trashed !== undefined) this.reload();
      }),
    ];
    this.addEventListener("click", this.clickedListener);
    this.addEventListener("change", this.changedListener);
    this.applySurround(String(readSetting("surround") ?? "room"));
    this.applyInfo(readSetting("viewer-info") !== false);
    this.applyZoom();
    const mat = part(this, "mat");
    if (mat && typeof ResizeObserver !== "undefined") {
      this.observer = new ResizeObserver(() => this.describeZoom());
      this.observer.observe(mat);
    }
  }

  disconnectedCallback(): void {
    for (const stop of this.stop) stop();
    this.observer?.disconnect();
    this.removeEventListener("click", this.clickedListener);
    this.removeEventListener("change", this.changedListener);
  }

  private get inRoom(): boolean {
    return document.querySelector("studio-room") !== null;
  }

  private close(): void {
    if (this.inRoom) emit("studio:close-viewer", {});
    else this.goToRoom();
  }

  private goToRoom(): void {
    const room = this.closest<HTMLElement>("[data-room]")?.dataset.room;
    if (room) location.assign(room);
  }

  private step(which: "previous" | "next"): void {
    const link = this.querySelector<HTMLAnchorElement>(`a[data-action="${which}"]`);
    if (!link) announce(which === "next" ? "This is the last picture." : "This is the first picture.");
    else if (this.inRoom) emit("studio:open-picture", { url: link.href });
    else location.assign(link.href);
  }

  private clicked(event: Event): void {
    const target = (event.target as Element).closest<HTMLElement>("[data-action], [data-surround], [data-open-picture]");
    if (!target) return;
    if (target.dataset.surround) {
      const pressed = target.getAttribute("aria-pressed") === "true";
      this.setSurround(pressed ? "room" : target.dataset.surround);
      return;
    }
    if (target instanceof HTMLAnchorElement) {
      const mouse = event as MouseEvent;
      if (!this.inRoom || mouse.metaKey || mouse.ctrlKey || mouse.shiftKey) return;
      event.preventDefault();
      emit("studio:open-picture", { url: target.href });
      return;
    }
    switch (target.dataset.action) {
      case "close":
        this.close();
        break;
      case "zoom":
        this.zoom();
        break;
      case "info":
        this.info();
        break;
      case "use":
        void this.use((target.dataset.use ?? "all") as ParameterPart);
        break;
      case "start":
        void this.start(target);
        break;
      case "rerun":
        void this.rerun(target);
        break;
      case "upscale":
      case "redraw":
        void this.upscale(target);
        break;
      case "cutout":
        void this.cutOut(target);
        break;
      case "vary":
        void this.vary(target);
        break;
      case "trash":
      case "restore":
        void this.trashOrRestore();
        break;
    }
  }

  /** Put the picture into the chosen project; what the server refuses is taken back. */
  private async place(select: HTMLSelectElement): Promise<void> {
    const project = select.value;
    const before = this.placed ?? [...select.options].find((option) => option.defaultSelected)?.value ?? "";
    const name = select.selectedOptions[0]?.textContent?.trim() ?? "";
    this.say("");
    const answer = await ask(this.dataset.place ?? "", { method: "POST", body: new URLSearchParams({ project }) });
    if (answer.kind === "ok") {
      this.placed = project;
      announce(project ? `The picture is in ${name}.` : "The picture is in no project.");
      emit("studio:output-placed", { output: this.dataset.output ?? "", project });
      return;
    }
    select.value = before;
    this.say(answer.kind === "failed" ? answer.message : answer.problems.map((problem) => problem.message).join(" "));
  }

  private async use(which: ParameterPart): Promise<void> {
    const values = await fetchParameters(this.dataset.parameters ?? "");
    if (!values) return;
    if (this.inRoom) {
      emit("studio:use-parameters", { values, part: which });
      return;
    }
    writePrivate("tab", "pending", { values, part: which });
    this.goToRoom();
  }

  /** Make it the starting picture of the recipe. */
  private async start(button: HTMLElement): Promise<void> {
    if (button.getAttribute("aria-busy") === "true") return;
    button.setAttribute("aria-busy", "true");
    this.say("");
    const answer = await ask(this.dataset.start ?? "", { method: "POST", accept: "application/json" });
    button.removeAttribute("aria-busy");
    if (answer.kind === "failed") this.say(answer.message);
    else if (answer.kind === "problems") this.say(answer.problems.map((problem) => problem.message).join(" "));
    else if (!isUploaded(answer.json)) this.say("It could not be made a starting picture. Try again.");
    else if (this.inRoom) {
      emit("studio:start-picture", { picture: answer.json });
      emit("studio:view", { view: "recipe" });
      announce("The picture is the starting picture now.");
    } else {
      writePrivate("tab", "pending", { values: { image: answer.json.sha256 }, part: "all" });
      this.goToRoom();
    }
  }

  private async rerun(button: HTMLElement): Promise<void> {
    const job = await this.submit(button, this.dataset.rerun ?? "", {});
    if (job === null) return;
    announce("Running it again. The verdict shows when it is done.");
    emit("studio:submitted", { job, rerun: true });
  }

  private async upscale(button: HTMLElement): Promise<void> {
    const { scale = "", refine, control } = button.dataset;
    const model = part<HTMLSelectElement>(this, "upscaler")?.value;
    const said = { scale, ...(refine ? { refine } : model ? { model } : {}), ...(control ? { control } : {}) };
    const job = await this.submit(button, this.dataset.upscale ?? "", said);
    if (job === null) return;
    announce(refine ? `Drawing the picture again, ${scale} times larger.` : `Upscaling the picture by ${scale}.`);
    emit("studio:submitted", { job, rerun: false });
  }

  private async vary(button: HTMLElement): Promise<void> {
    const { strength = "" } = button.dataset;
    const job = await this.submit(button, this.dataset.vary ?? "", { strength });
    if (job === null) return;
    announce("Making variations.");
    emit("studio:submitted", { job, rerun: false });
  }

  private async cutOut(button: HTMLElement): Promise<void> {
    const { result = "picture" } = button.dataset;
    const job = await this.submit(button, this.dataset.cutout ?? "", { cutout_result: result });
    if (job === null) return;
    announce(result === "mask" ? "Finding the objects of the picture." : "Removing the background of the picture.");
    emit("studio:submitted", { job, rerun: false });
  }

  /** Ask for a job and place its tile; null if there is none here, of which the person is told. */
  private async submit(button: HTMLElement, url: string, values: Record<string, string>): Promise<string | null> {
    if (button.getAttribute("aria-busy") === "true") return null;
    button.setAttribute("aria-busy", "true");
    this.say("");
    const answer = await ask(url, { method: "POST", body: new URLSearchParams(values) });
    button.removeAttribute("aria-busy");
    if (answer.kind === "failed") this.say(answer.message);
    else if (answer.kind === "problems") this.say(answer.problems.map((problem) => problem.message).join(" "));
    else if (!this.inRoom) this.goToRoom();
    else return board.apply(answer.text)[0] ?? null;
    return null;
  }

  private async trashOrRestore(): Promise<void> {
    const output = this.dataset.output ?? "";
    const { trash = "", restore = "" } = this.dataset;
    if (this.dataset.trashed !== undefined) {
      await restoreOutput(output, restore);
      return;
    }
    const next = this.querySelector<HTMLAnchorElement>('a[data-action="next"]')?.href;
    this.dataset.trashed = ""; // set first: our own notice must not load the picture again
    if (await trashOutput(output, trash, restore)) {
      if (!this.isConnected) return; // closed, or another picture shown, while the server answered
      if (next && this.inRoom) emit("studio:open-picture", { url: next });
      else this.close();
    } else delete this.dataset.trashed;
  }

  private reload(): void {
    if (this.inRoom) emit("studio:open-picture", { url: location.pathname });
    else location.reload();
  }

  private zoom(): void {
    this.isActual = !this.isActual;
    this.applyZoom();
  }

  private applyZoom(): void {
    this.toggleAttribute("data-actual", this.isActual);
    this.querySelector('[data-action="zoom"]')?.setAttribute("aria-pressed", String(this.isActual));
    this.describeZoom();
  }

  private describeZoom(): void {
    const picture = this.querySelector<HTMLImageElement>(".viewer__picture");
    const shown = part(this, "zoom");
    const width = Number(this.dataset.width);
    const height = Number(this.dataset.height);
    if (!picture || !shown || !width || !height) return;
    const share = this.isActual ? 1 : Math.min(picture.clientWidth / width, picture.clientHeight / height);
    this.frame(picture, width * share, height * share);
    shown.textContent = share > 0 ? `${Math.round(share * 100)} %` : "";
  }

  /** What is see-through shows a checkered ground: just where the picture is, not beside it. */
  private frame(picture: HTMLElement, width: number, height: number): void {
    if (!("seeThrough" in picture.dataset)) return;
    const beside = (whole: number, own: number): string => `${Math.max(0, (whole - own) / 2)}px`;
    const [x, y] = [beside(picture.clientWidth, width), beside(picture.clientHeight, height)];
    picture.style.padding = this.isActual ? "" : `${y} ${x}`;
  }

  private info(): void {
    const shown = this.dataset.info === "0";
    writeSetting("viewer-info", shown);
    this.applyInfo(shown);
  }

  private applyInfo(shown: boolean): void {
    this.dataset.info = shown ? "1" : "0";
    this.querySelector('[data-action="info"]')?.setAttribute("aria-pressed", String(shown));
  }

  private cycleSurround(): void {
    const order = ["room", "black", "grey", "white"];
    this.setSurround(order[(order.indexOf(this.dataset.surround ?? "room") + 1) % order.length] ?? "room");
  }

  private setSurround(name: string): void {
    this.applySurround(name);
    writeSetting("surround", name);
  }

  private applySurround(name: string): void {
    this.dataset.surround = name;
    for (const choice of this.querySelectorAll<HTMLElement>("button[data-surround]")) {
      choice.setAttribute("aria-pressed", String(choice.dataset.surround === name));
    }
  }

  private say(text: string): void {
    const error = part(this, "error");
    if (error) error.textContent = text;
  }
}

customElements.define("picture-viewer", PictureViewer);
