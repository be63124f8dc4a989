// Talking to the server: JSON in, JSON out; a failure says whether it is worth another try.

export class Refused extends Error {
  constructor(status, body) {
    super(body?.message || `The server answered ${status}.`);
    this.status = status;
    this.code = body?.code || "";
  }
}

export const NO_CONNECTION = "No connection to the server.";
const LOGGED_OUT = "You are no longer logged in here: log in again in another tab.";
const TOKEN = "meta[name=csrf]";

export class Unreachable extends Error {}

export function csrf() {
  return document.querySelector(TOKEN).content;
}

/** `unattended`: the page asks by itself, nobody need be there; it does not keep the log-in alive. */
export async function post(url, body, { timeout = 20000, unattended = false } = {}) {
  const marked = unattended ? { "X-Unattended": "yes" } : {};
  let { response, answer } = await sent(url, body, timeout, marked);
  if (response.status === 403 && !answer) {
    await renewToken(timeout, marked);
    ({ response, answer } = await sent(url, body, timeout, marked));
  }
  if (!response.ok) throw new Refused(response.status, answer);
  return answer;
}

async function sent(url, body, timeout, marked) {
  const headers = { "Content-Type": "application/json", "X-CSRFToken": csrf(), ...marked };
  const response = await fetched(url, timeout, { method: "POST", headers, body: JSON.stringify(body), redirect: "error" });
  return { response, answer: await response.json().catch(() => null) };
}

/** Every log-in changes the token. This page as the server gives it now brings the new one, if it is the same person's. */
async function renewToken(timeout, headers) {
  const response = await fetched(location.href, timeout, { cache: "no-store", headers });
  if (!response.ok) throw new Refused(response.status);
  const page = new DOMParser().parseFromString(await response.text(), "text/html");
  const [kept, found] = [document, page].map((any) => any.querySelector(TOKEN));
  if (found?.dataset.person !== kept.dataset.person) throw new Refused(403, { message: LOGGED_OUT });
  kept.content = found.content;
}

async function fetched(url, timeout, options) {
  let response;
  try {
    response = await fetch(url, { signal: AbortSignal.timeout(timeout), ...options });
  } catch {
    throw new Unreachable(NO_CONNECTION);
  }
  if (response.status >= 500) throw new Unreachable(`The server answered ${response.status}.`);
  return response;
}
