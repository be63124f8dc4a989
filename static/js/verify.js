// Verification: a page of confident passes; mark what is none, Enter accepts the rest.
import { card, cardViews, showMark, showRing } from "./cards.js";
import { ReviewSession, readConfig } from "./review_session.js";
import { Enlarger } from "./enlarge.js";
import { Exposure } from "./exposure.js";
import { fit, pageSize } from "./grid_fit.js";
import { listen } from "./keys.js";
import { fetchPictures, releasePictures } from "./picture_bundle.js";
import { Page, afterPaint } from "./card_page.js";
import { setUpHelp } from "./help.js";

const byId = (id) => document.getElementById(id);
const config = readConfig();
const MARKS = config.marks;
const CARD = { ratio: 1.109 * (4 / 3), extra: 26, gap: 8 };
const session = new ReviewSession(config);
const shell = byId("shell");
const topline = byId("topline");
const outcome = byId("outcome");
const template = byId("card");
const enlarger = new Enlarger(byId("enlarged"), config.keys.enlarge);
const exposure = new Exposure(config.min_exposure_ms, tick, covered);

let upcoming = []; // pages that lie painted but unseen over the one on screen
let page = new Page([]);
let cards = [];
let current = 0;
let shownAt = 0;
let counting = false;
let fetching = null;
let exhausted = false;
let failed = false; // whether the last fetch did
let ghosts = false;

/** What lies over the grid: see Exposure. */
function covered() {
  if (enlarger.open) return cards.find((element) => element.item === enlarger.item) ?? null;
  return document.querySelector("dialog[open]") ? null : undefined;
}

function layout(...pages) {
  const box = shell.getBoundingClientRect();
  for (const one of pages) one.fit(box, CARD);
}

/** Keep a page ready: laid out and painted, so that Enter only has to uncover it. */
function prepare(one) {
  one.wait();
  if (one.sheet.parentNode !== shell) shell.append(one.sheet);
  layout(one);
  return one;
}

async function fetchPage() {
  const items = await session.fetchItems(pageSize(shell.getBoundingClientRect(), CARD));
  await fetchPictures(config.urls.pictures, items, gridNames);
  if (items.length) upcoming.push(prepare(new Page(items.map((item) => card(template, item)))));
  exhausted = items.length === 0;
}

/** What a card shows: the front large, the others small. */
function gridNames(item) {
  const { front, below } = cardViews(item);
  return [front?.name, ...below.map((view) => `${view.name}-thumb`)].filter(Boolean);
}

function ahead() {
  if (fetching || exhausted || upcoming.length >= 1) return fetching;
  failed = false;
  fetching = fetchPage()
    .catch((error) => {
      failed = true;
      byId("error-words").textContent = error.message;
      session.say(error.message, true);
    })
    .finally(() => {
      fetching = null;
      session.showNumbers(topline);
    });
  return fetching;
}

async function nextPage() {
  if (!upcoming.length) {
    cards = [];
    page.sheet.remove();
    state("loading");
    await ahead();
    if (cards.length) return undefined; // a page was taken back meanwhile
  }
  if (!upcoming.length && failed) return state("error");
  show(upcoming.shift() || new Page([]));
  return afterPaint(ahead);
}

function show(next) {
  if (enlarger.open) enlarger.close();
  if (page !== next && !upcoming.includes(page)) page.sheet.remove();
  page = next;
  cards = page.cards;
  current = 0;
  counting = false;
  shownAt = session.clock.ms;
  if (page.sheet.parentNode !== shell) shell.append(page.sheet);
  page.uncover();
  layout(page);
  state(cards.length ? "work" : "empty");
  cards.forEach((element) => showMark(element, element.mark, MARKS));
  exposure.watch(cards);
  select(0);
  tick();
  session.showNumbers(topline);
}

function state(name) {
  shell.dataset.state = name;
}

function select(index, focus = true) {
  if (!cards.length) return;
  current = Math.max(0, Math.min(index, cards.length - 1));
  cards.forEach((element, at) => {
    element.tabIndex = at === current ? 0 : -1;
    element.toggleAttribute("data-current", at === current);
    if (ghosts) showFront(element, ghostOf(element));
  });
  if (focus) cards[current].focus({ preventScroll: false });
}

function mark(name) {
  const element = enlarger.open ? cards.find((one) => one.item === enlarger.item) : cards[current];
  if (!element) return;
  showMark(element, element.mark === name || name === "pass" ? null : name, MARKS);
  if (enlarger.open) enlarger.close();
  tick();
}

function decisions() {
  const activeMs = (session.clock.ms - shownAt) / cards.length;
  return cards.map((element) => ({
    item: element.item,
    mark: element.mark || "pass",
    activeMs,
    exposureMs: exposure.of(element),
  }));
}

function accept() {
  if (!cards.length) return;
  const broken = cards.filter((element) => element.classList.contains("broken") && !element.mark);
  if (broken.length) {
    select(cards.indexOf(broken[0]));
    session.say("A picture did not load: it cannot be accepted. Reload the page, or refer the scan.", true);
    return;
  }
  if (exposure.missing(cards) > 0) {
    counting = true;
    tick();
    return;
  }
  session.decide(decisions());
  const judged = cards;
  nextPage().then(() => judged.forEach((element) => releasePictures(element.item)));
}

function tick() {
  if (!cards.length) return;
  for (const element of cards) showRing(element, exposure.share(element));
  const missing = exposure.missing(cards);
  shell.toggleAttribute("data-ready", missing === 0);
  if (missing === 0) counting = false;
  announce(missing);
}

/** The last line: what Enter will do now, or how long it still refuses. */
function announce(missing = exposure.missing(cards)) {
  const words = counting ? tooEarly(missing) : enterWords();
  if (outcome.textContent !== words) outcome.textContent = words;
  outcome.classList.toggle("early", counting);
}

function tooEarly(missing) {
  const unseen = exposure.unseen(cards);
  const below = unseen ? `, ${unseen} not in view: scroll` : "";
  return `Not yet: ${(missing / 1000).toFixed(1)} s more on screen${below}`;
}

function enterWords() {
  const count = {};
  for (const element of cards) count[element.mark || "pass"] = (count[element.mark || "pass"] || 0) + 1;
  const parts = count.pass ? [`Verify ${count.pass}`] : [];
  const back = ["face", "brain", "both"].filter((name) => count[name]);
  back.forEach((name, at) => parts.push(`${at ? "" : "send "}${count[name]} ${at ? "" : "back "}as ${MARKS[name].letter}`));
  if (count.unsure) parts.push(`refer ${count.unsure}`);
  return parts.join(", ");
}

async function undo() {
  const undone = await session.undo();
  if (!undone?.length) return;
  if (cards.length) upcoming.unshift(prepare(page));
  const again = undone.map(({ item, mark: earlier }) => {
    const element = card(template, item); // its ring begins anew: the server gives no time back
    element.mark = earlier === "pass" ? null : earlier;
    return element;
  });
  show(new Page(again));
}

/** What the server found too early is still lent to this person: it is shown again. */
function settled(verdict, result) {
  if (result.code !== "too_early") return;
  exhausted = false;
  if (cards.length) ahead();
  else nextPage();
}

function lost(handles) {
  const gone = (element) => handles.has(element.item.handle);
  const affected = cards.some(gone);
  handles.forEach((handle) => session.held.delete(handle));
  for (const one of [page, ...upcoming]) one.without(gone);
  upcoming.filter((one) => !one.cards.length).forEach((one) => one.sheet.remove());
  upcoming = upcoming.filter((one) => one.cards.length);
  layout(...upcoming);
  if (affected && page.cards.length) show(page);
  else if (affected) nextPage();
  session.say(`${handles.size} scans were reserved too long ago and went back to the queue.`);
}

function move(by) {
  if (enlarger.open) enlarger.step(Math.sign(by));
  else select(current + by);
}

function enlarge(at = 0) {
  if (enlarger.open && at === 0) enlarger.close();
  else if (cards[current]) enlarger.show(cards[current].item, at);
}

/** The current card shows a ghost of what was removed, if this person may see originals; one head, not the page. */
function ghost() {
  if (config.closed) return session.say(config.closed);
  ghosts = enlarger.ghosts = !ghosts;
  document.querySelector(".ghost-key").setAttribute("aria-pressed", String(ghosts));
  cards.forEach((element) => showFront(element, ghostOf(element)));
  if (enlarger.open) enlarger.compare(enlarger.all);
  return undefined;
}

function ghostOf(element) {
  return ghosts && element === cards[current] ? element.item.removed.front : "";
}

/** Another picture in the large place of a card; '' shows the front again. */
function showFront(element, url) {
  const image = element.querySelector(".front img");
  if (!image) return;
  image.dataset.front ??= image.getAttribute("src");
  const wanted = url || image.dataset.front;
  if (image.getAttribute("src") !== wanted) image.src = wanted; // the same again would have it decoded anew
}

function hover(event) {
  const element = event.target.closest?.(".card");
  const at = event.target.closest?.(".below img") ? [...event.target.parentElement.children].indexOf(event.target) : -1;
  if (element && event.pointerType === "mouse") showFront(element, at < 0 ? ghostOf(element) : cardViews(element.item).below[at].url);
}

const actions = {
  left: () => move(-1),
  right: () => move(1),
  up: () => move(-page.columns),
  down: () => move(page.columns),
  pass: () => mark("pass"),
  face: () => mark("face"),
  brain: () => mark("brain"),
  both: () => mark("both"),
  unsure: () => mark("unsure"),
  accept,
  undo,
  again: nextPage,
  ghost,
  enlarge: () => enlarge(),
  help: setUpHelp(),
};
for (let view = 1; view <= 9; view += 1) actions[`view${view}`] = () => enlarge(view - 1) || (cards[current] && enlarger.show(cards[current].item, view - 1));

listen(actions, config.keys);
shell.addEventListener("focusin", (event) => {
  const element = event.target.closest(".card");
  if (element) select(cards.indexOf(element), false);
});
shell.addEventListener("click", (event) => {
  const element = event.target.closest(".card");
  if (!element) return;
  const again = element.hasAttribute("data-touched");
  cards.forEach((other) => other.toggleAttribute("data-touched", other === element));
  select(cards.indexOf(element));
  if (again && event.target.closest("img")) enlarge();
});
for (const button of document.querySelectorAll("[data-act]")) button.addEventListener("click", () => actions[button.dataset.act]());
shell.addEventListener("pointerover", hover);
window.addEventListener("online", () => shell.dataset.state === "error" && nextPage());
window.addEventListener("resize", () => layout(page, ...upcoming));
setInterval(() => session.showNumbers(topline), 5000);
session.onLost = lost;
session.onSettled = settled;
nextPage();
