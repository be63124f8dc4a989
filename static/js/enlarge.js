// One scan enlarged: step through all its views with 1..9, arrows, buttons or touch.
// A short press of the key opens it until the next one, a long press as long as the key is held.
import { beside, hasEarlier } from "./attempts.js";
import { keyName } from "./keys.js";

const LONG_MS = 400;

/** The pictures, fetched; one that shows an original is fetched only when it is shown. */
function fetched(views) {
  return views.filter((view) => !view.original).map((view) => Object.assign(new Image(), { src: view.url }));
}

export class Enlarger {
  /** `keys` are those that enlarge, `besideKeys` those that set every attempt side by side. */
  constructor(dialog, keys = [], besideKeys = []) {
    this.dialog = dialog;
    this.image = dialog.querySelector("img");
    this.tabs = dialog.querySelector(".views");
    this.title = dialog.querySelector(".title");
    this.row = dialog.querySelector(".beside");
    this.besideKey = dialog.querySelector(".beside-key");
    this.besideKey.querySelector("kbd").textContent = besideKeys[0]?.toUpperCase() ?? "";
    this.besideKey.addEventListener("click", () => this.compare());
    this.all = false; // whether every attempt is shown; kept from scan to scan
    this.ghosts = false; // whether what was removed is shown, for those who may see it
    this.onView = () => {};
    this.item = null;
    this.at = 0;
    dialog.addEventListener("click", (event) => event.target === dialog && this.close());
    dialog.querySelector(".close").addEventListener("click", () => this.close());
    this.#heldBy(keys);
  }

  #heldBy(keys) {
    let pressed = null; // when the press that opened it began
    const ours = (event) => keys.includes(keyName(event));
    const down = (event) => ours(event) && !event.repeat && (pressed = this.open ? null : event.timeStamp);
    const up = (event) => {
      if (!ours(event)) return;
      if (this.open && pressed !== null && event.timeStamp - pressed > LONG_MS) this.close();
      pressed = null;
    };
    document.addEventListener("keydown", down, true);
    document.addEventListener("keyup", up, true);
  }

  get open() {
    return this.dialog.open;
  }

  show(item, at = 0) {
    if (item !== this.item) this.#list(item);
    this.item = item;
    this.at = Math.max(0, Math.min(at, item.views.length - 1));
    const view = item.views[this.at];
    if (!view) return;
    this.image.src = (this.ghosts && item.removed[view.name]) || view.url;
    this.image.alt = `${item.name}: ${view.label}`;
    this.title.textContent = `${item.name} · ${view.label}`;
    [...this.tabs.children].forEach((tab, index) => tab.setAttribute("aria-pressed", String(index === this.at)));
    this.#besides(view);
    if (!this.open) this.#open();
    this.onView(view.name);
  }

  /** The dialog itself has the focus: on a button of it, Space would press that instead of closing. */
  #open() {
    this.dialog.tabIndex = -1;
    this.dialog.showModal();
    this.dialog.focus();
  }

  /** Every attempt side by side, or this one alone again. */
  compare(all = !this.all) {
    this.all = all;
    if (this.open) this.show(this.item, this.at);
  }

  #besides(view) {
    const many = hasEarlier(this.item);
    this.besideKey.hidden = !many;
    this.besideKey.setAttribute("aria-pressed", String(this.all));
    this.row.hidden = !(many && this.all);
    this.image.hidden = !this.row.hidden;
    if (this.row.hidden) return;
    this.#fetchEarlier();
    const figures = beside(this.item, view.name);
    this.row.style.setProperty("--columns", Math.min(figures.length, 4));
    this.row.replaceChildren(...figures);
  }

  #fetchEarlier() {
    if (this.fetched === this.item) return;
    this.fetched = this.item;
    const views = this.item.earlier.flatMap((attempt) => attempt.views);
    this.before = fetched(views); // kept, like `ahead`
  }

  #list(item) {
    const buttons = item.views.map((view, index) => {
      const button = document.createElement("button");
      button.type = "button";
      button.textContent = index < 9 ? `${index + 1} ${view.label}` : view.label;
      button.addEventListener("click", () => this.show(item, index));
      return button;
    });
    this.tabs.replaceChildren(...buttons);
    this.ahead = fetched(item.views); // kept, so that stepping does not wait
  }

  step(by) {
    const count = this.item.views.length;
    this.show(this.item, (this.at + by + count) % count);
  }

  close() {
    this.dialog.close();
  }
}
