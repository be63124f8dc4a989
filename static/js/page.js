// What every page has: the theme switch, local times, shortcuts to the help, htmx set-up.
import { listen } from "./keys.js";

const ORDER = ["auto", "dark", "light"];

export function setTheme(name) {
  document.documentElement.dataset.theme = name;
  document.cookie = `theme=${name};path=/;max-age=31536000;samesite=lax`;
}

function nextTheme() {
  const now = document.documentElement.dataset.theme;
  setTheme(ORDER[(ORDER.indexOf(now) + 1) % ORDER.length]);
}

export function localTimes(root = document) {
  for (const time of root.querySelectorAll("time[datetime]:not([title])")) {
    const at = new Date(time.dateTime);
    time.title = at.toLocaleString(undefined, { dateStyle: "full", timeStyle: "long" });
    const year = at.getFullYear() === new Date().getFullYear() ? undefined : "numeric";
    time.textContent = at.toLocaleString(undefined, { year, month: "short", day: "numeric", hour: "2-digit", minute: "2-digit" });
  }
}

function confirmations(event) {
  const question = event.submitter?.dataset.confirm;
  if (question && !window.confirm(question)) event.preventDefault();
}

document.querySelector("[data-theme-toggle]")?.addEventListener("click", nextTheme);
document.addEventListener("submit", confirmations);
document.addEventListener("htmx:afterSettle", (event) => localTimes(event.target));
localTimes();

/** A form's named button speaks for its own press alone; htmx would repeat it with what is typed afterwards. */
function pressedAlone(event) {
  if (event.detail.triggeringEvent?.type !== "submit") delete event.detail.parameters.jump;
}

document.addEventListener("htmx:configRequest", pressedAlone);

if (!document.body.dataset.review) {
  const form = document.querySelector("[data-search-keys]");
  // not form.dataset: a field of that name stands before it
  const search = () => form.querySelector("input").select();
  const help = () => (window.location.href = "/help/");
  listen({ help, search }, { help: ["?"], search: form?.getAttribute("data-search-keys").split(" ") ?? [] });
}
