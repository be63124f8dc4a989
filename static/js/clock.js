// Active time: hidden tabs and more than 30 s without a sign of life do not count.

const IDLE_MS = 30000;
const SIGNS = ["pointermove", "pointerdown", "keydown", "wheel", "touchstart"];

export class ActiveClock {
  constructor(now = () => performance.now()) {
    this.now = now;
    this.total = 0;
    this.seen = now();
    this.mark = this.seen;
    for (const sign of SIGNS) document.addEventListener(sign, () => this.sign(), { passive: true, capture: true });
    document.addEventListener("visibilitychange", () => this.turned());
  }

  /** Add what was active since the last look; time beyond IDLE_MS after the last sign is dropped. */
  settle(visible) {
    const now = this.now();
    if (visible) this.total += Math.max(0, Math.min(now, this.seen + IDLE_MS) - this.mark);
    this.mark = now;
  }

  sign() {
    this.settle(!document.hidden);
    this.seen = this.mark;
  }

  turned() {
    this.settle(document.hidden);
    this.seen = this.mark;
  }

  get ms() {
    this.settle(!document.hidden);
    return this.total;
  }

  get active() {
    return !document.hidden && this.now() - this.seen < IDLE_MS;
  }
}
