/** The list of keys (`?`): searchable, and the place to switch keys of one character off. */

import { allBindings, areSingleKeysOn, bindKeys, type KeyBinding, keyCaps, setSingleKeys } from "../lib/keys";

const GROUPS: readonly KeyBinding["group"][] = ["Making", "Room", "Gallery", "Picture"];
/** Keys of a picture are bound only while one is open; the list shows them always. */
const PICTURE_KEYS: readonly [string, string][] = [
  ["escape", "Back to the stage"],
  ["arrowleft", "Previous picture"],
  ["arrowright", "Next picture"],
  ["z", "Fit, or actual pixels"],
  ["i", "Details"],
  ["b", "Black, grey or white surround"],
  ["a", "Use all parameters"],
  ["p", "Use the prompt"],
  ["s", "Use the seed"],
  ["d", "Use the size"],
  ["r", "Remix: all but the seed"],
  ["delete", "Delete to the trash, or restore"],
];
const GALLERY_KEYS: readonly [string, string][] = [
  ["arrowright", "Next tile (arrow keys in all directions)"],
  ["enter", "Open the picture"],
  ["delete", "Delete to the trash, or restore"],
];

export class KeyList extends HTMLElement {
  private dialog: HTMLDialogElement | null = null;
  private stop: () => void = () => undefined;
  private readonly clicked = (event: Event): void => {
    if ((event.target as Element).closest("[data-open-keys]")) this.open();
  };

  connectedCallback(): void {
    this.stop = bindKeys({ keys: "?", label: "This list", group: "Room", run: () => this.open() });
    document.addEventListener("click", this.clicked);
  }

  disconnectedCallback(): void {
    this.stop();
    document.removeEventListener("click", this.clicked);
  }

  open(): void {
    this.dialog ??= this.build();
    this.list("");
    const search = this.dialog.querySelector<HTMLInputElement>("#key-search");
    if (search) search.value = "";
    if (!this.dialog.open) this.dialog.showModal();
    search?.focus();
  }

  private build(): HTMLDialogElement {
    const dialog = document.createElement("dialog");
    dialog.className = "keys";
    dialog.setAttribute("aria-labelledby", "keys-title");
    dialog.innerHTML = `
      <div class="keys__head"><h2 class="keys__title" id="keys-title">Keys</h2>
        <label class="visually-hidden" for="key-search">Search the keys</label>
        <input class="input keys__search" id="key-search" type="search" placeholder="Search" autocomplete="off">
        <form method="dialog"><button class="tool" type="submit"><svg class="icon" aria-hidden="true"><use href="#i-close"/></svg><span class="visually-hidden">Close</span></button></form></div>
      <div class="keys__list" data-part="list" tabindex="0" role="group" aria-label="All keys"></div>
      <div class="check keys__single"><input type="checkbox" id="single-keys"><label for="single-keys">Keys of one character (switch off for speech input)</label></div>`;
    dialog.querySelector("#key-search")?.addEventListener("input", (event) => this.list((event.target as HTMLInputElement).value));
    const single = dialog.querySelector<HTMLInputElement>("#single-keys");
    if (single) {
      single.checked = areSingleKeysOn();
      single.addEventListener("change", () => setSingleKeys(single.checked));
    }
    dialog.addEventListener("click", (event) => {
      if (event.target === dialog) dialog.close(); // the backdrop
    });
    this.append(dialog);
    return dialog;
  }

  private list(search: string): void {
    const holder = this.dialog?.querySelector('[data-part="list"]');
    if (!holder) return;
    const wanted = search.trim().toLowerCase();
    const rows = GROUPS.flatMap((group) => {
      const fits = entries(group).filter(([, label]) => label.toLowerCase().includes(wanted));
      return fits.length ? [section(group, fits)] : [];
    });
    if (rows.length) holder.replaceChildren(...rows);
    else holder.textContent = "No key does that yet.";
  }
}

function entries(group: KeyBinding["group"]): readonly [string, string][] {
  if (group === "Picture") return PICTURE_KEYS;
  if (group === "Gallery") return GALLERY_KEYS;
  return allBindings()
    .filter((binding) => binding.group === group)
    .map((binding) => [binding.keys, binding.label]);
}

function section(title: string, rows: readonly (readonly [string, string])[]): HTMLElement {
  const box = document.createElement("section");
  const heading = document.createElement("h3");
  heading.className = "keys__group";
  heading.textContent = title;
  const list = document.createElement("dl");
  list.className = "keys__rows";
  for (const [keys, label] of rows) {
    const row = document.createElement("div");
    const name = document.createElement("dt");
    name.textContent = label;
    const caps = document.createElement("dd");
    for (const cap of keyCaps(keys)) {
      const key = document.createElement("kbd");
      key.className = "key";
      key.textContent = cap;
      caps.append(key);
    }
    row.append(name, caps);
    list.append(row);
  }
  box.append(heading, list);
  return box;
}

customElements.define("key-list", KeyList);
