// Talking to the server: JSON in, JSON out; a failure says whether it is worth another try.

export class Refused extends Error {
  constructor(status, body) {
    super(body?.message || `The server answered ${status}.`);
    this.status = status;
    this.code = body?.code || "";
  }
}

export const NO_CONNECTION = "No connection to the server.";
const ANOTHER_LOGIN = "You have logged in again since: reload this page. What is kept in this browser is sent then.";

export class Unreachable extends Error {}

export function csrf() {
  return document.querySelector("meta[name=csrf]").content;
}

export async function post(url, body, timeout = 20000) {
  let response;
  try {
    response = await fetch(url, {
      method: "POST",
      headers: { "Content-Type": "application/json", "X-CSRFToken": csrf() },
      body: JSON.stringify(body),
      signal: AbortSignal.timeout(timeout),
      redirect: "error",
    });
  } catch {
    throw new Unreachable(NO_CONNECTION);
  }
  if (response.status >= 500) throw new Unreachable(`The server answered ${response.status}.`);
  const answer = await response.json().catch(() => null);
  if (response.status === 403 && !answer) throw new Refused(403, { message: ANOTHER_LOGIN });
  if (!response.ok) throw new Refused(response.status, answer);
  return answer;
}
