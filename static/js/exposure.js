// How long each scan has really been on screen: visible tab, card in view, its pictures painted.

const TICK_MS = 100;
const LONGEST_TICK = 400;

export class Exposure {
  constructor(minimumMs, onTick) {
    this.minimum = minimumMs;
    this.onTick = onTick;
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

  #whenPainted(card) {
    const state = this.cards.get(card);
    const decoded = [...card.querySelectorAll("img")].map((image) => image.decode());
    Promise.all(decoded).then(
      () => (state.ready = true),
      () => card.classList.add("broken"),
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
    for (const [card, state] of this.cards) {
      if (state.inView && state.ready) card.exposedMs = state.ms += passed;
    }
    this.onTick();
  }

  of(card) {
    return Math.round(this.cards.get(card)?.ms || 0);
  }

  share(card) {
    return this.minimum ? Math.min(1, this.of(card) / this.minimum) : 1;
  }

  /** Milliseconds until every one of these cards was long enough on screen. */
  missing(cards) {
    return Math.max(0, ...cards.map((card) => this.minimum - this.of(card)));
  }
}
