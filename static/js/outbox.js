// Verdicts on their way: kept in this browser until the server has answered for each of them.
import { NO_CONNECTION, Refused, Unreachable, post } from "./http.js";

const BATCH = 48;
const FIRST_WAIT = 1000;
const LONGEST_WAIT = 15000;

export class Outbox extends EventTarget {
  constructor(url, owner, storage = window.localStorage) {
    super();
    this.url = url;
    this.key = `verdicts:${owner}`;
    this.storage = storage;
    this.wait = FIRST_WAIT;
    this.sending = null;
    this.problem = "";
    window.addEventListener("online", () => this.flush(true));
  }

  get waiting() {
    try {
      return JSON.parse(this.storage.getItem(this.key)) || [];
    } catch {
      return [];
    }
  }

  set waiting(verdicts) {
    this.storage.setItem(this.key, JSON.stringify(verdicts));
    this.tell("change");
  }

  add(verdicts) {
    this.waiting = [...this.waiting, ...verdicts];
    this.flush();
  }

  /** Take back verdicts that were never sent; false when any of them may have left already. */
  withdraw(nonces) {
    const mine = new Set(nonces);
    if (this.sending || this.waiting.filter((verdict) => mine.has(verdict.nonce)).length !== mine.size) return false;
    this.waiting = this.waiting.filter((verdict) => !mine.has(verdict.nonce));
    return true;
  }

  /** `unattended`: nobody asked for it just now. */
  flush(unattended = false) {
    this.sending ??= this.#send(unattended).finally(() => (this.sending = null));
    return this.sending;
  }

  async #send(unattended) {
    clearTimeout(this.timer);
    while (this.waiting.length) {
      try {
        const answer = await post(this.url, { verdicts: this.waiting.slice(0, BATCH) }, { unattended });
        this.#settle(answer.results);
      } catch (error) {
        return this.#later(error);
      }
    }
    this.#problemIs("");
  }

  #settle(results) {
    this.wait = FIRST_WAIT;
    const settled = new Map(results.map((result) => [result.nonce, result]));
    const done = this.waiting.filter((verdict) => settled.has(verdict.nonce));
    if (!done.length) throw new Unreachable("The server did not answer for these verdicts.");
    this.waiting = this.waiting.filter((verdict) => !settled.has(verdict.nonce));
    for (const verdict of done) this.tell("settled", { verdict, result: settled.get(verdict.nonce) });
  }

  #later(error) {
    const words = error instanceof Refused ? error.message : NO_CONNECTION;
    this.#problemIs(words);
    this.timer = setTimeout(() => this.flush(true), this.wait);
    this.wait = Math.min(this.wait * 2, LONGEST_WAIT);
  }

  #problemIs(words) {
    this.problem = words;
    this.tell("change");
  }

  tell(type, detail) {
    this.dispatchEvent(new CustomEvent(type, { detail }));
  }
}

/** One nonce per verdict, one shared beginning per key press, so that a page can be taken back as a whole. */
export function nonces(count) {
  const batch = crypto.randomUUID().replaceAll("-", "").slice(0, 20);
  return Array.from({ length: count }, (_, index) => `${batch}-${index}`);
}
