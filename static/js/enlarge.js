// One scan enlarged: step through all its views with 1..8, arrows, buttons or touch.

export class Enlarger {
  constructor(dialog) {
    this.dialog = dialog;
    this.image = dialog.querySelector("img");
    this.tabs = dialog.querySelector(".views");
    this.title = dialog.querySelector(".title");
    this.item = null;
    this.at = 0;
    dialog.addEventListener("click", (event) => event.target === dialog && this.close());
    dialog.querySelector(".close").addEventListener("click", () => this.close());
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
    this.image.src = view.url;
    this.image.alt = `${item.name}: ${view.label}`;
    this.title.textContent = `${item.name} · ${view.label}`;
    [...this.tabs.children].forEach((tab, index) => tab.setAttribute("aria-pressed", String(index === this.at)));
    if (!this.open) this.dialog.showModal();
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
    this.ahead = item.views.map((view) => Object.assign(new Image(), { src: view.url })); // kept, so that stepping does not wait
  }

  step(by) {
    const count = this.item.views.length;
    this.show(this.item, (this.at + by + count) % count);
  }

  close() {
    this.dialog.close();
  }
}
