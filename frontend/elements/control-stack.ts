/** What the picture takes after (`references`), or what guides it (`controls`): up to three ControlNets, each with a picture, its map, its weight and its share of the steps. */

import { isReference, parseControls, toWire, type Use, USUAL } from "../lib/controls";
import { announce, listen, part } from "../lib/dom";
import { type Answer, ask } from "../lib/http";
import { isBegun, whenMade } from "../lib/maps";
import { isUploaded, type Uploaded } from "../lib/uploads";

const NUMBERS = ["weight", "start", "end", "low", "high"] as const;
const SHARES: ReadonlySet<string> = new Set(["start", "end"]);

export class ControlStack extends HTMLElement {
  private readonly redraw = (event: Event): void => {
    const control = event.target as HTMLInputElement;
    if (control.name === "model" || control.name === "image") this.draw();
    else if (control === this.control && control.value !== this.text) this.read();
  };
  private uses: Use[] = [];
  /** Where pictures lie that were added here, by their hash. */
  private readonly seen = new Map<string, Uploaded>();
  /** A use's map, as long as it is that of its picture. */
  private readonly drawn = new WeakMap<Use, Uploaded>();
  /** Those for which something is sent or made. */
  private readonly busy = new WeakSet<Use>();
  private stop: () => void = () => {};

  connectedCallback(): void {
    const { form } = this;
    form?.addEventListener("input", this.redraw);
    form?.addEventListener("change", this.redraw);
    this.addEventListener("change", (event) => this.chosen(event.target as HTMLElement));
    this.addEventListener("input", (event) => this.typed(event.target as HTMLInputElement));
    this.addEventListener("click", (event) => this.pressed(event));
    this.addEventListener("dragover", (event) => {
      if (rowOf(event.target)) event.preventDefault();
    });
    this.addEventListener("drop", (event) => {
      const file = event.dataTransfer?.files[0];
      const row = rowOf(event.target);
      if (!row) return;
      event.preventDefault();
      if (file) void this.upload(row, file);
    });
    this.addEventListener("paste", (event) => {
      const file = [...(event.clipboardData?.files ?? [])].find((each) => each.type.startsWith("image/"));
      const row = rowOf(event.target);
      if (!file || !row) return;
      event.preventDefault();
      event.stopPropagation(); // else it became the starting picture
      void this.upload(row, file);
    });
    this.stop = listen("studio:start-picture", ({ picture }) => {
      this.seen.set(picture.sha256, picture);
    });
    form?.addEventListener("picture", this.started);
    this.read();
  }

  disconnectedCallback(): void {
    this.form?.removeEventListener("input", this.redraw);
    this.form?.removeEventListener("change", this.redraw);
    this.form?.removeEventListener("picture", this.started);
    this.stop();
  }

  private readonly started = (event: Event): void => {
    const { picture } = (event as CustomEvent<{ picture: Uploaded | null }>).detail;
    if (picture?.url) this.seen.set(picture.sha256, picture);
  };

  private get form(): HTMLFormElement | null {
    return this.closest("form");
  }

  private get control(): HTMLInputElement | null {
    return this.querySelector<HTMLInputElement>(`input[name="${this.dataset["field"] ?? "controls"}"]`);
  }

  private get chooser(): HTMLSelectElement | null {
    return part<HTMLSelectElement>(this, "add");
  }

  private get model(): string {
    const radios = this.form?.querySelectorAll<HTMLInputElement>('input[name="model"]') ?? [];
    return [...radios].find((radio) => radio.checked)?.value ?? "";
  }

  private get startingPicture(): string {
    return this.form?.querySelector<HTMLInputElement>('input[name="image"]')?.value ?? "";
  }

  /** What is sent: what does not fit the chosen model stays on the list, and waits for its own. */
  private get text(): string {
    const sent = this.uses.filter((use) => this.fits(this.option(use.model)));
    return sent.length ? JSON.stringify(sent.map(toWire)) : "";
  }

  private option(digest: string): HTMLOptionElement | null {
    return this.chooser?.querySelector<HTMLOptionElement>(`option[value="${CSS.escape(digest)}"]`) ?? null;
  }

  /** What is not in the library is sent all the same, so that the server says so. */
  private fits(option: HTMLElement | null): boolean {
    return option?.dataset["models"] === undefined || option.dataset["models"].split(" ").includes(this.model);
  }

  private read(): void {
    this.uses = parseControls(this.control?.value ?? "");
    this.draw();
  }

  private write(): void {
    if (this.control) this.control.value = this.text;
  }

  /** Tell the form that its values are others now. */
  private changed(): void {
    this.draw();
    this.control?.dispatchEvent(new Event("input", { bubbles: true }));
  }

  private chosen(target: HTMLElement): void {
    if (target === this.chooser) return this.add();
    const row = rowOf(target);
    const use = this.useOf(row);
    if (!row || !use) return;
    if (target instanceof HTMLInputElement && target.type === "file") {
      const file = target.files?.[0];
      target.value = ""; // the same file may be chosen again
      if (file) void this.upload(row, file);
    } else if (target instanceof HTMLSelectElement) {
      use.kind = target.value;
      use.mapper = "";
      this.drawn.delete(use);
      use.isMap = use.isMap || !this.isDrawn(use.kind);
      this.changed();
    } else if (target instanceof HTMLInputElement && target.type === "checkbox") {
      use.isMap = target.checked;
      this.changed();
    }
  }

  private typed(input: HTMLInputElement): void {
    const use = this.useOf(rowOf(input));
    const name = NUMBERS.find((each) => each === input.dataset["set"]);
    const value = Number(input.value);
    if (!use || !name || input.value.trim() === "" || !Number.isFinite(value)) return;
    use[name] = SHARES.has(name) ? value / 100 : value;
    if (name === "low" || name === "high") this.drawn.delete(use);
    this.write();
  }

  private pressed(event: Event): void {
    const button = (event.target as Element).closest<HTMLElement>("[data-do]");
    const row = rowOf(button);
    const use = this.useOf(row);
    if (!button || !row || !use) return;
    const deeds: Record<string, () => void> = {
      remove: () => this.takeOff(use),
      start: () => this.give(use, this.startingPicture),
      clear: () => this.give(use, ""),
      draw: () => void this.drawMap(row, use),
      keep: () => this.keep(use),
    };
    deeds[button.dataset["do"] ?? ""]?.();
  }

  private useOf(row: HTMLElement | null): Use | undefined {
    return row ? this.uses[Number(row.dataset["row"])] : undefined;
  }

  private add(): void {
    const model = this.chooser?.value ?? "";
    const option = model ? this.option(model) : null;
    if (!option || !this.chooser) return;
    this.chooser.value = "";
    const use = { kind: kindsOf(option)[0] ?? "canny", model, picture: "", isMap: false, ...USUAL };
    use.isMap = !isReference(use) && !this.isDrawn(use.kind);
    this.uses.push(use);
    this.changed();
    announce(`${option.textContent?.trim() ?? ""} is in the recipe.`);
    this.rows.at(-1)?.querySelector<HTMLElement>('input[type="file"]')?.focus();
  }

  private takeOff(use: Use): void {
    this.uses = this.uses.filter((each) => each !== use);
    this.changed();
    this.chooser?.focus();
    announce("It is removed from the recipe.");
  }

  private give(use: Use, picture: string): void {
    use.picture = picture;
    this.drawn.delete(use);
    this.changed();
    const row = this.rows[this.uses.indexOf(use)];
    row?.querySelector<HTMLElement>(picture ? '[data-do="draw"]:not([hidden]), [data-do="clear"]' : 'input[type="file"]')?.focus();
  }

  /** The map that is shown takes the picture's place: nothing draws it anew, and it can be changed elsewhere. */
  private keep(use: Use): void {
    const map = this.drawn.get(use);
    if (!map) return;
    this.seen.set(map.sha256, map);
    use.isMap = true;
    this.give(use, map.sha256);
    announce("The map is what is followed now.");
  }

  private async upload(row: HTMLElement, file: File): Promise<void> {
    const use = this.useOf(row);
    if (!use) return;
    const body = new FormData();
    body.set("file", file);
    const picture = await this.send(row, use, this.dataset["url"] ?? "", body, "Sending the picture…");
    if (!picture) return;
    this.seen.set(picture.sha256, picture);
    this.give(use, picture.sha256);
    announce("The picture is in the recipe.");
  }

  /** Have the map drawn that the agent would draw, and show it. */
  private async drawMap(row: HTMLElement, use: Use): Promise<void> {
    if (this.busy.has(use)) return; // pressed twice
    const values = this.form ? new FormData(this.form) : new FormData();
    const body = new URLSearchParams({ image: use.picture, kind: use.kind });
    for (const side of ["width", "height"]) body.set(side, String(values.get(side) ?? ""));
    if (use.kind === "canny") {
      body.set("low", String(use.low));
      body.set("high", String(use.high));
    }
    if (use.mapper) body.set("mapper", use.mapper);
    const drawn = await this.send(row, use, this.dataset["mapUrl"] ?? "", body, "Drawing the map…");
    const shown = this.rows[this.uses.indexOf(use)];
    const isStill = use.picture === body.get("image") && use.kind === body.get("kind"); // networks take a while
    if (!drawn || !shown || !isStill) return;
    this.drawn.set(use, drawn);
    this.showMap(shown, use);
    announce("The map is drawn.");
  }

  private async send(
    row: HTMLElement,
    use: Use,
    url: string,
    body: FormData | URLSearchParams,
    text: string,
  ): Promise<Uploaded | null> {
    say(row, "");
    this.busy.add(use);
    row.toggleAttribute("data-busy", true);
    announce(text);
    const wanted = () => this.isConnected && this.uses.includes(use);
    let answer = await ask(url, { method: "POST", body, accept: "application/json" });
    if (answer.kind === "ok" && isBegun(answer.json)) answer = await whenMade(answer.json.state_url, wanted);
    this.busy.delete(use);
    this.rows[this.uses.indexOf(use)]?.toggleAttribute("data-busy", false);
    if (!this.uses.includes(use)) return null; // removed meanwhile
    if (answer.kind === "ok" && isUploaded(answer.json)) return answer.json;
    say(this.rows[this.uses.indexOf(use)] ?? row, sentenceOf(answer));
    return null;
  }

  private get rows(): HTMLElement[] {
    return [...this.querySelectorAll<HTMLElement>("[data-row]")];
  }

  private isDrawn(kind: string): boolean {
    const pattern = part<HTMLTemplateElement>(this, "row")?.content;
    return Boolean(pattern?.querySelector<HTMLElement>(`option[value="${CSS.escape(kind)}"]`)?.dataset["drawn"]);
  }

  private draw(): void {
    part(this, "list")?.replaceChildren(...this.uses.map((use, index) => this.row(use, index)));
    const most = Number(this.dataset["maximum"]) || 3;
    const options = [...(this.chooser?.options ?? [])].filter((option) => option.value);
    for (const option of options) option.hidden = option.disabled = !this.fits(option);
    const isNone = options.every((option) => option.hidden);
    const note = part(this, "none");
    if (note) note.hidden = !isNone;
    if (this.chooser) {
      this.chooser.hidden = isNone;
      this.chooser.disabled = this.uses.length >= most;
    }
    this.write();
  }

  private row(use: Use, index: number): HTMLElement {
    const option = this.option(use.model);
    const row = document.createElement("li");
    row.className = "controls__row";
    row.dataset["row"] = String(index);
    row.toggleAttribute("data-busy", this.busy.has(use)); // also when it is drawn anew meanwhile
    const pattern = part<HTMLTemplateElement>(this, "row");
    if (pattern) row.append(pattern.content.cloneNode(true));
    const name = row.querySelector(".controls__name");
    if (name) name.textContent = option?.textContent?.trim() || "Not in the library";
    const unfit = part(row, "unfit");
    if (unfit) unfit.hidden = this.fits(option);
    for (const input of row.querySelectorAll<HTMLInputElement>("input[data-set]")) {
      const set = NUMBERS.find((each) => each === input.dataset["set"]);
      if (set) input.value = String(SHARES.has(set) ? Math.round(use[set] * 1000) / 10 : use[set]);
      if (input.type === "checkbox") {
        input.checked = use.isMap;
        input.disabled = !this.isDrawn(use.kind);
      }
    }
    const slider = row.querySelector<HTMLInputElement>('input[type="range"]');
    if (slider) slider.value = String(use.weight);
    this.offerKinds(row, use, option);
    this.showPicture(row, use);
    return row;
  }

  /** The kinds it reads; any, if the library does not know. */
  private offerKinds(row: HTMLElement, use: Use, option: HTMLElement | null): void {
    const select = row.querySelector<HTMLSelectElement>('select[data-set="kind"]');
    if (!select) return;
    const kinds = option ? kindsOf(option) : [];
    for (const each of [...select.options]) {
      if (kinds.length && each.value !== use.kind && !kinds.includes(each.value)) each.remove();
    }
    select.value = use.kind;
  }

  private showMap(row: HTMLElement, use: Use): void {
    const url = use.isMap ? undefined : this.drawn.get(use)?.url;
    const picture = part<HTMLImageElement>(row, "map");
    if (picture && url) {
      picture.addEventListener("error", () => show(row, "drawn", false));
      picture.src = url;
    }
    show(row, "drawn", url !== undefined);
  }

  private showPicture(row: HTMLElement, use: Use): void {
    const picture = this.seen.get(use.picture);
    const has = use.picture !== "";
    show(row, "drop", !has);
    show(row, "follows", !has && use.kind === "tile");
    show(row, "start", !has && this.startingPicture !== "");
    show(row, "pictures", has);
    show(row, "actions", has);
    show(row, "draw", has && !use.isMap);
    show(row, "ready", !this.isDrawn(use.kind));
    show(row, "thresholds", use.kind === "canny" && !use.isMap);
    this.showMap(row, use);
    const shown = part<HTMLImageElement>(row, "picture");
    if (shown) {
      shown.hidden = !picture?.url;
      shown.addEventListener("error", () => (shown.hidden = true)); // addresses are good for minutes
      if (picture?.url) shown.src = picture.url;
      if (!isReference(use)) shown.alt = use.isMap ? "Map to follow" : "Picture to follow";
    }
    const facts = part(row, "facts");
    if (facts) facts.textContent = picture?.width ? `${picture.width} × ${picture.height}` : `${use.picture.slice(0, 12)}…`;
  }
}

function rowOf(target: EventTarget | null): HTMLElement | null {
  return target instanceof Element ? target.closest<HTMLElement>("[data-row]") : null;
}

function kindsOf(option: HTMLElement): string[] {
  return (option.dataset["kinds"] ?? "").split(" ").filter(Boolean);
}

function show(row: HTMLElement, name: string, isShown: boolean): void {
  const found = part(row, name);
  if (found) found.hidden = !isShown;
}

function say(row: HTMLElement, text: string): void {
  const error = part(row, "error");
  if (!error) return;
  error.textContent = text;
  error.hidden = text === "";
  if (text) announce(text);
}

function sentenceOf(answer: Answer): string {
  if (answer.kind === "problems") return answer.problems.map((problem) => problem.message).join(" ");
  return answer.kind === "failed" ? answer.message : "That picture could not be read. Try another.";
}

customElements.define("control-stack", ControlStack);
