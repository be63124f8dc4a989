// A page of cards: waiting, it is painted but neither seen nor reachable; uncovered, its scans count as on screen.
import { fit } from "./grid_fit.js";

export class Page {
  constructor(cards) {
    this.cards = cards;
    this.columns = 1;
    this.sheet = document.createElement("ul");
    this.sheet.className = "grid";
    this.sheet.ariaLabel = "Scans to verify";
    this.sheet.append(...cards);
  }

  wait() {
    this.sheet.classList.add("waiting");
    this.sheet.inert = true;
    for (const card of this.cards) card.classList.remove("card");
  }

  uncover() {
    this.sheet.classList.remove("waiting");
    this.sheet.inert = false;
    for (const card of this.cards) card.classList.add("card");
  }

  /** Take out the cards for which `gone(card)` holds. */
  without(gone) {
    this.cards.filter(gone).forEach((card) => card.remove());
    this.cards = this.cards.filter((card) => !gone(card));
  }

  fit(box, cell) {
    const { columns, size } = fit(this.cards.length || 12, box.width - 16, box.height - 12, cell);
    this.columns = columns;
    this.sheet.style.setProperty("--columns", columns);
    this.sheet.style.setProperty("--size", `${Math.max(size, 140)}px`);
  }
}

/** Call `then` once what is on screen now has been painted; soon, too, where the tab is hidden. */
export function afterPaint(then) {
  let done = false;
  const once = () => {
    if (!done) then();
    done = true;
  };
  requestAnimationFrame(() => requestAnimationFrame(() => setTimeout(once)));
  setTimeout(once, 500);
}
