// How long each scan has really been on screen: visible tab, card in view, its pictures painted.
// Nobody looks at twelve heads at once: the time is shared by the scans on screen, first by those that lack some.

const TICK_MS = 100;
const LONGEST_TICK = 400;

export class Exposure {
  /** `covered()` says what lies over the grid: undefined nothing, null something else, a card that card alone. */
  constructor(minimumMs, onTick, covered) {
    this.minimum = minimumMs;
    this.onTick = onTick;
    this.covered = covered;
    this.cards = new Map();
    this.observer = new IntersectionObserver((entries) => this.#see(entries), { threshold: 0.6 });
    this.last = performance.now();
    this.timer = setInterval(() => this.#tick(), TICK_MS);
  }

  watch(cards) {
    this.observer.disconnect();
    this.cards = new Map(cards.map((card) => [card, { ms: card.exposedMs || 0, inView: false, ready: false }]));
    for (const card of cards) {
      this.observer.observe(card);
      this.#whenPainted(card);
    }
  }

  /** A picture that was exchanged meanwhile is waited for; only one that cannot be had breaks the card. */
  #whenPainted(card, tries = 5) {
    const state = this.cards.get(card);
    const images = [...card.querySelectorAll("img")];
    Promise.all(images.map((image) => image.decode())).then(
      () => (state.ready = true),
      () => {
        if (tries === 0 || images.some((image) => image.complete && !image.naturalWidth)) card.classList.add("broken");
        else if (this.cards.get(card) === state) this.#whenPainted(card, tries - 1);
      },
    );
  }

  #see(entries) {
    for (const entry of entries) {
      const state = this.cards.get(entry.target);
      if (state) state.inView = entry.isIntersecting;
    }
  }

  #tick() {
    const now = performance.now();
    const passed = Math.min(now - this.last, LONGEST_TICK);
    this.last = now;
    if (document.hidden) return;
    this.#share(passed);
    this.onTick();
  }

  #share(passed) {
    const over = this.covered();
    const seen = [...this.cards.keys()].filter((card) => this.#onScreen(card) && (over === undefined || card === over));
    const lacking = this.lacking(seen);
    const shared = lacking.length ? lacking : seen;
    for (const card of shared) card.exposedMs = this.cards.get(card).ms += passed / shared.length;
  }

  #onScreen(card) {
    const { inView, ready } = this.cards.get(card);
    return inView && ready;
  }

  of(card) {
    return Math.round(this.cards.get(card)?.ms || 0);
  }

  share(card) {
    return this.minimum ? Math.min(1, this.of(card) / this.minimum) : 1;
  }

  /** Those of the cards that would be passed but were not yet long enough on screen; a failure may be marked at once. */
  lacking(cards) {
    return cards.filter((card) => !card.mark && this.of(card) < this.minimum);
  }

  /** Milliseconds until every one of these cards was long enough on screen, when all of them stay in view. */
  missing(cards) {
    return this.lacking(cards).reduce((sum, card) => sum + this.minimum - this.of(card), 0);
  }

  /** How many of the cards lack time and are not in view at all. */
  unseen(cards) {
    return this.lacking(cards).filter((card) => !this.cards.get(card)?.inView).length;
  }
}
