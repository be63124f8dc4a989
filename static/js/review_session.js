// What verification and visual QC share: config, outbox with its banner, leases, pace, undo, breaks, help.
import { ActiveClock } from "./clock.js";
import { Refused, post } from "./http.js";
import { Outbox, nonces } from "./outbox.js";

const RENEW_SHARE = 0.4;
const BREAK_AFTER_MS = 45 * 60 * 1000;
const BREAK_AGAIN_MS = 20 * 60 * 1000;

export function readConfig() {
  return JSON.parse(document.getElementById("config").textContent);
}

export class ReviewSession {
  constructor(config) {
    this.config = config;
    this.clock = new ActiveClock();
    this.outbox = new Outbox(config.urls.verdicts, config.owner);
    this.banner = document.getElementById("banner");
    this.status = document.getElementById("status");
    this.held = new Set();
    this.left = null;
    this.made = config.made_today;
    this.madeHere = 0;
    this.breakAt = BREAK_AFTER_MS;
    this.outbox.addEventListener("change", () => this.#showConnection());
    this.outbox.addEventListener("settled", (event) => this.#settled(event.detail));
    window.addEventListener("beforeunload", (event) => this.outbox.waiting.length && this.outbox.problem && event.preventDefault());
    window.addEventListener("pagehide", () => this.#release());
    setInterval(() => this.renew(), config.lease_seconds * 1000 * RENEW_SHARE);
    this.#showConnection();
    this.outbox.flush();
  }

  /** Items of the queue that this browser does not have yet, leased to this person. */
  async fetchItems(count) {
    const judged = this.outbox.waiting.map((verdict) => verdict.handle).filter(Boolean); // the server may not know yet
    const exclude = [...this.held, ...judged];
    const answer = await post(this.config.urls.items, { count, exclude });
    for (const item of answer.items) this.held.add(item.handle);
    this.left = answer.left;
    return answer.items;
  }

  /** Queue one verdict per decision {item, mark, activeMs, exposureMs, reasons, note}. */
  decide(decisions) {
    const names = nonces(decisions.length);
    const verdicts = decisions.map((decision, index) => this.#verdict(decision, names[index]));
    for (const decision of decisions) this.held.delete(decision.item.handle);
    this.made += decisions.length;
    this.madeHere += decisions.length;
    if (!this.config.rounded && this.left !== null) this.left = Math.max(0, this.left - decisions.length);
    this.outbox.add(verdicts);
    this.#suggestBreak();
    return names;
  }

  #verdict({ item, mark, activeMs, exposureMs, reasons = [], note = "" }, nonce) {
    const times = { active_ms: Math.round(activeMs), exposure_ms: Math.round(exposureMs) };
    return { nonce, handle: item.handle, name: item.name, mode: this.config.mode, class: mark, reasons, note, ...times };
  }

  /** Take back the last key press; returns [{item, mark}] or null, and says why not. */
  async undo() {
    await this.outbox.flush();
    if (this.outbox.waiting.length) return this.say("Not possible now: the verdicts have not reached the server yet.");
    try {
      const answer = await post(this.config.urls.undo, {});
      for (const { item } of answer.undone) this.held.add(item.handle);
      this.made -= answer.undone.length;
      this.left = answer.left;
      this.say(answer.message);
      return answer.undone;
    } catch (error) {
      return this.say(error.message);
    }
  }

  async renew() {
    if (!this.held.size || !this.clock.active || !this.#leased) return;
    try {
      const { held } = await post(this.config.urls.renew, { handles: [...this.held] });
      const kept = new Set(held);
      const lost = [...this.held].filter((handle) => !kept.has(handle));
      if (lost.length) this.onLost?.(new Set(lost));
    } catch (error) {
      if (error instanceof Refused) this.say(error.message);
    }
  }

  /** Known cases of practice are lent to nobody. */
  get #leased() {
    return this.config.mode !== "practice";
  }

  #release() {
    if (!this.#leased) return;
    const waiting = new Set(this.outbox.waiting.map((verdict) => verdict.handle));
    const handles = [...this.held].filter((handle) => !waiting.has(handle));
    if (!handles.length) return;
    const body = new FormData();
    body.append("csrfmiddlewaretoken", document.querySelector("meta[name=csrf]").content);
    body.append("handles", handles.join(","));
    navigator.sendBeacon(this.config.urls.release, body);
  }

  #settled({ verdict, result }) {
    if (!result.ok) this.say(`Not taken (${verdict.name}): ${result.message}`, true);
    this.onSettled?.(verdict, result);
  }

  #showConnection() {
    const waiting = this.outbox.waiting.length;
    const troubled = waiting > 0 && this.outbox.problem !== "";
    this.banner.hidden = !troubled;
    const words = `${this.outbox.problem} ${waiting} verdict${waiting === 1 ? "" : "s"} kept in this browser, sent again by itself. You can go on.`;
    if (troubled && this.banner.textContent !== words) this.banner.textContent = words;
  }

  #suggestBreak() {
    if (this.clock.ms < this.breakAt) return;
    this.breakAt = this.clock.ms + BREAK_AGAIN_MS;
    this.say(`You have looked for ${Math.round(this.clock.ms / 60000)} minutes. A short break keeps the eye sharp.`);
  }

  get pace() {
    const minutes = this.clock.ms / 60000;
    return this.madeHere && minutes > 0.05 ? Math.round(this.madeHere / minutes) : null;
  }

  say(words, wrong = false) {
    this.status.textContent = words;
    this.status.classList.toggle("wrong", wrong);
    return null;
  }

  showNumbers(topline) {
    const left = this.left === null ? "…" : this.left.toLocaleString();
    topline.querySelector(".left").textContent = this.config.rounded && this.left ? `up to ${left}` : left;
    topline.querySelector(".made").textContent = this.made.toLocaleString();
    topline.querySelector(".pace").textContent = this.pace === null ? "–" : `${this.pace}`;
  }
}
