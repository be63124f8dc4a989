// Visual QC and practice: one scan, every view, one key decides and shows the next.
import { hasEarlier, tellingView } from "./attempts.js";
import { ReviewSession, readConfig } from "./review_session.js";
import { lacking, projections, showEarlier, showFeedback, showLast, showMeasurements, showOpinion, showPictures, showProblems } from "./attempt_panel.js";
import { Enlarger } from "./enlarge.js";
import { fit } from "./grid_fit.js";
import { setUpHelp } from "./help.js";
import { listen } from "./keys.js";
import { post } from "./http.js";
import { nonces } from "./outbox.js";
import { fetchPictures, releasePictures } from "./picture_bundle.js";
import { SliceViewer, sheet } from "./slices.js";
import { showSolid } from "./viewer3d.js";

const AHEAD = 6;
const SETTLE_MS = 150; // who decides faster than this needs no slices
const TABS = ["slices", "compare", "solid"];
const PLANES = ["sagittal", "coronal", "axial"];
const config = readConfig();
const practising = config.mode === "practice";
const session = new ReviewSession(config);
const byId = (id) => document.getElementById(id);
const page = byId("main");
const topline = byId("topline");
const enlarger = new Enlarger(byId("enlarged"), config.keys.enlarge, config.keys.beside);
const slices = new SliceViewer({ canvas: byId("slice"), slider: byId("position"), output: byId("position-words"), words: byId("stage-words") });

let upcoming = [];
let item = null;
let shownAt = 0;
let tab = "slices";
let before = false;
let ghosts = false;
let answered = null;
let fetching = null;
let settling = 0;
let selected = ""; // the view last enlarged

function prepare(one) {
  one.projections ??= projections(one, (index) => enlarger.show(one, index));
  return one;
}

function ahead() {
  if (fetching || upcoming.length >= AHEAD - 1) return fetching;
  fetching = session
    .fetchItems(AHEAD - upcoming.length)
    .then((items) => fetchPictures(config.urls.pictures, items, (one) => one.views.map((view) => view.name)))
    .then((items) => upcoming.push(...items.map(prepare)))
    .finally(() => {
      fetching = null;
      session.showNumbers(topline);
    });
  return fetching;
}

async function next() {
  if (!upcoming.length) {
    item = null;
    page.dataset.state = "loading";
    const problem = await ahead()?.then(() => null, (error) => error);
    if (item) return; // a scan was taken back meanwhile
    if (problem) {
      byId("error-words").textContent = problem.message;
      page.dataset.state = "error";
      return;
    }
  }
  if (!upcoming.length) {
    item = null;
    page.dataset.state = "empty";
    return;
  }
  show(upcoming.shift());
  ahead()?.catch((error) => session.say(error.message, true));
}

function show(one) {
  item = one;
  answered = null;
  before = false;
  shownAt = session.clock.ms;
  if (enlarger.open) enlarger.close();
  selected = "";
  page.dataset.state = "work";
  byId("projections").replaceChildren(item.projections);
  byId("about-name").textContent = item.name;
  byId("about-scan").textContent = [item.modality, item.number && `attempt ${item.number}`, item.plan].filter(Boolean).join(" · ");
  layout();
  showGhosts();
  showRight();
  slices.clear();
  clearTimeout(settling);
  settling = setTimeout(() => item && showTab(tab === "solid" ? "slices" : tab), SETTLE_MS);
  session.showNumbers(topline);
}

function showRight() {
  if (practising) seal(true);
  else showFound(item);
  byId("feedback").hidden = true;
  if (byId("note")) byId("note").value = "";
  for (const chip of document.querySelectorAll(".chip")) chip.setAttribute("aria-pressed", "false");
}

/** What was measured, tried and thought; in practice only with the answer, because it gives the answer away. */
function showFound(found) {
  showMeasurements(byId("measurements"), byId("no-measurements"), found);
  showProblems(byId("problems"), found);
  showEarlier(byId("earlier-box"), byId("earlier"), found, selected);
  showOpinion(byId("opinion"), byId("opinion-body"), found.opinion, practising);
}

function besides() {
  if (enlarger.open) return enlarger.compare();
  if (!item || !hasEarlier(item)) return undefined;
  enlarger.compare(true);
  return enlarger.show(item, Math.max(0, item.views.findIndex((view) => view.name === (selected || tellingView(item)))));
}

enlarger.onView = (name) => {
  if (name === selected || !hasEarlier(item)) return;
  selected = name;
  showEarlier(byId("earlier-box"), byId("earlier"), item, selected);
};

function seal(sealed) {
  byId("found").hidden = sealed;
  byId("kept-back").hidden = !sealed;
}

function layout() {
  if (!item) return;
  const box = byId("projections").getBoundingClientRect();
  const { columns, size } = fit(item.views.length + 3, box.width - 10, box.height - 6, { ratio: 1.109, gap: 4 });
  item.projections.style.setProperty("--columns", columns);
  item.projections.style.setProperty("--size", `${Math.max(size, 110)}px`);
}

function showGhosts() {
  const possible = item && Object.keys(item.removed).length > 0;
  const button = document.querySelector(".ghost-key");
  button.hidden = !possible;
  button.setAttribute("aria-pressed", String(ghosts));
  enlarger.ghosts = ghosts;
  if (item) showPictures(item.projections, ghosts && possible);
}

/** Slices, before/after or 3-D in the middle. */
function showTab(name) {
  clearTimeout(settling);
  tab = name;
  for (const button of document.querySelectorAll("[data-tab]")) {
    const chosen = button.dataset.tab === name;
    button.setAttribute("aria-selected", String(chosen));
    button.tabIndex = chosen ? 0 : -1;
  }
  byId("stage").setAttribute("aria-labelledby", `tab-${name}`);
  byId("slice").hidden = name === "solid";
  byId("solid").hidden = name !== "solid";
  byId("stage-words").textContent = "";
  document.querySelector(".slider").hidden = name === "solid";
  document.querySelector(".planes").hidden = name === "solid";
  if (name === "solid") solid();
  else showSlices();
}

async function showSlices(plane = slices.plane) {
  if (!item) return;
  const shown = item;
  for (const button of document.querySelectorAll("[data-plane]")) button.setAttribute("aria-pressed", String(button.dataset.plane === plane));
  const comparing = tab === "compare" && item.slices.layers.includes("before");
  const layer = comparing ? (before ? "before" : "removed") : "after";
  await slices.show(item.slices, layer, plane);
  if (item !== shown || !slices.loaded) return;
  if (tab === "compare") byId("stage-words").textContent = compareWords(comparing);
  if (!comparing) prefetchNextSlices(plane);
}

function compareWords(comparing) {
  if (!comparing) return item.slices.closed || "There is no original at hand to compare with.";
  return before ? "Before defacing" : "Removed voxels in red";
}

function prefetchNextSlices(plane) {
  const following = upcoming[0];
  if (following?.slices.base) sheet(`${following.slices.base}${plane}-after.webp`).catch(() => {});
}

async function solid() {
  const volume = item.volumes.after;
  const words = byId("stage-words");
  if (!volume) return (words.textContent = "The volume itself is not at hand, only its pictures.");
  words.textContent = "Loading the volume…";
  try {
    await showSolid(byId("solid"), byId("visual-script").dataset.niivue, volume);
    words.textContent = "Drag to turn, wheel to come closer";
  } catch (error) {
    words.textContent = `The volume could not be shown: ${error.message}`;
  }
  return undefined;
}

function reasons() {
  return [...document.querySelectorAll('.chip[aria-pressed="true"]')].map((chip) => chip.dataset.reason);
}

function decide(mark) {
  if (!item || answered) return;
  const activeMs = session.clock.ms - shownAt;
  if (practising) {
    if (mark !== "unsure") practise(mark, activeMs);
    return;
  }
  if (mark === "pass" && lacking(item.projections)) {
    session.say("A picture did not load yet: the scan cannot be passed. Wait, reload the page, or refer it (U).", true);
    return;
  }
  if (mark === "pass" && activeMs < item.minimum_ms) {
    session.say(`Not yet: ${((item.minimum_ms - activeMs) / 1000).toFixed(1)} s more on screen`, true);
    return;
  }
  session.decide([{ item, mark, activeMs, exposureMs: activeMs, reasons: reasons(), note: byId("note").value.trim() }]);
  if (document.activeElement === byId("note")) byId("note").blur();
  const judged = item;
  next().then(() => releasePictures(judged));
}

async function practise(mark, activeMs) {
  answered = mark;
  const asked = item;
  try {
    const answer = await post(config.urls.practise, { handle: item.handle, class: mark, nonce: nonces(1)[0], active_ms: Math.round(activeMs) });
    session.made += 1;
    Object.assign(asked, answer);
    if (item !== asked) return;
    showFound(asked);
    seal(false);
    showFeedback(byId("feedback"), answer, config.marks, mark);
    session.showNumbers(topline);
  } catch (error) {
    answered = null;
    session.say(error.message, true);
  }
}

async function undo() {
  if (practising) return;
  const undone = await session.undo();
  if (!undone?.length) return;
  if (item) upcoming.unshift(item);
  const back = undone.map(({ item: one }) => prepare(one));
  upcoming.unshift(...back);
  next();
}

function settled(verdict, result) {
  if (result.code === "too_early" && !item) next(); // still lent to this person
  if (result.ok && result.scan) showLast(byId("last"), verdict, config.marks, result.opinion, result.scan);
}

function lost(handles) {
  handles.forEach((handle) => session.held.delete(handle));
  upcoming = upcoming.filter((one) => !handles.has(one.handle));
  if (item && handles.has(item.handle)) {
    session.say("This scan was reserved too long ago and went back to the queue.");
    next();
  }
}

async function first() {
  if (!config.urls.first) return next();
  try {
    const answer = await post(config.urls.first, {});
    answer.items.forEach((one) => session.held.add(one.handle));
    upcoming.push(...answer.items.map(prepare));
  } catch (error) {
    session.say(error.message, true);
  }
  return next();
}

function blink() {
  if (!item) return;
  if (tab === "compare") before = !before;
  if (tab === "compare") showSlices();
  else showTab("compare");
}

function step(by) {
  if (enlarger.open) enlarger.step(Math.sign(by));
  else slices.step(by);
}

const actions = {
  pass: () => decide("pass"),
  face: () => decide("face"),
  brain: () => decide("brain"),
  both: () => decide("both"),
  unsure: () => decide("unsure"),
  accept: () => answered && next(),
  undo,
  again: next,
  blink,
  left: () => step(-1),
  right: () => step(1),
  up: () => step(5),
  down: () => step(-5),
  plane: () => item && showSlices(PLANES[(PLANES.indexOf(slices.plane) + 1) % PLANES.length]),
  solid: () => item && showTab(tab === "solid" ? "slices" : "solid"),
  beside: besides,
  note: () => byId("note")?.focus(),
  enlarge: () => (enlarger.open ? enlarger.close() : item && enlarger.show(item, 0)),
  ghost: () => {
    ghosts = !ghosts;
    if (item) showGhosts();
    if (item?.slices.closed) session.say(item.slices.closed);
    if (enlarger.open) enlarger.compare(enlarger.all);
  },
  help: setUpHelp(),
};
for (let view = 1; view <= 9; view += 1) actions[`view${view}`] = () => item && enlarger.show(item, view - 1);

function tabKeys(event) {
  const by = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
  if (!by || !event.target.dataset.tab) return;
  event.preventDefault();
  const name = TABS[(TABS.indexOf(event.target.dataset.tab) + by + TABS.length) % TABS.length];
  showTab(name);
  byId(`tab-${name}`).focus();
}

listen(actions, config.keys);
document.querySelector(".tabs").addEventListener("keydown", tabKeys);
document.addEventListener("click", (event) => {
  const button = event.target.closest("button");
  if (!button) return;
  if (button.dataset.act) actions[button.dataset.act]();
  if (button.dataset.tab && item) showTab(button.dataset.tab);
  if (button.dataset.plane && item) showSlices(button.dataset.plane);
  if (button.dataset.reason) button.setAttribute("aria-pressed", String(button.getAttribute("aria-pressed") !== "true"));
});
byId("earlier").addEventListener("click", besides);
byId("feedback").addEventListener("next", next);
byId("note")?.addEventListener("keydown", (event) => event.key === "Escape" && event.target.blur());
window.addEventListener("resize", layout);
setInterval(() => session.showNumbers(topline), 5000);
session.onLost = lost;
session.onSettled = settled;
first();
