// The right side and the projections of one attempt, built before it is shown so that showing it is instant.
import { beside, hasEarlier, tellingView } from "./attempts.js";
import { picture, reveal, viewNamed } from "./cards.js";

function node(tag, { text = "", name = "", ...attributes } = {}, ...children) {
  const element = document.createElement(tag);
  if (name) element.className = name;
  if (text) element.textContent = text;
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  element.append(...children);
  return element;
}

/** All projections as one element; `onOpen(index)` enlarges one of them. */
export function projections(item, onOpen) {
  const box = node("div", { name: "pictures" });
  box.append(...item.views.map((view, index) => projection(item, view, index, onOpen)));
  return box;
}

/** Whether any picture of these, or all of them, are not there to be seen. */
export function lacking(box) {
  const images = [...box.querySelectorAll("img:not(.ghost)")];
  return !images.length || images.some((image) => !image.complete || !image.naturalWidth);
}

function projection(item, view, index, onOpen) {
  const button = node("button", { type: "button" }, picture(view, item.name, 576));
  const ghost = item.removed[view.name];
  if (ghost) button.append(ghostPicture(item, { ...view, original: true }, ghost));
  button.addEventListener("click", () => onOpen(index));
  const caption = index < 9 ? `${index + 1} ${view.label}` : view.label;
  return node("figure", {}, button, node("figcaption", { text: caption }));
}

function ghostPicture(item, view, url) {
  const image = picture(view, item.name, 576, url);
  image.alt = `${view.label}, with what was removed as a ghost`;
  image.className = "ghost";
  return image;
}

/** The pictures as they are, or with what was removed over them; originals are fetched here and never before. */
export function showPictures(box, ghosts) {
  box.classList.toggle("ghosts", ghosts);
  reveal(box, ghosts ? "" : ":not(.ghost)");
}

export function showMeasurements(list, none, item) {
  const rows = item.measurements.flatMap(({ label, value }) => [node("dt", { text: label }), node("dd", { text: value })]);
  list.replaceChildren(...rows);
  none.hidden = rows.length > 0;
}

export function showProblems(box, item) {
  box.hidden = item.problems.length === 0;
  box.replaceChildren(...item.problems.map((text) => node("p", { text })));
}

/** Every attempt in one view; nothing where there is only one. */
export function showEarlier(box, list, item, name) {
  box.hidden = !hasEarlier(item);
  if (box.hidden) return;
  const shown = name || tellingView(item);
  box.querySelector("h2 span").textContent = viewNamed(item, shown)?.label ?? "";
  list.replaceChildren(...beside(item, shown, { small: true }));
}

const SVG = "http://www.w3.org/2000/svg";

function bar(share) {
  const svg = document.createElementNS(SVG, "svg");
  const rect = document.createElementNS(SVG, "rect");
  rect.setAttribute("width", `${100 * share}%`);
  rect.setAttribute("height", "100%");
  svg.setAttribute("aria-hidden", "true");
  svg.append(rect);
  return svg;
}

/** Probabilities and saliency of an opinion. */
export function opinionRows(opinion) {
  const rows = opinion.classes.map(({ words, share }) => node("div", {}, `${words} `, node("b", { text: `${(100 * share).toFixed(1)} %` }), bar(share)));
  const pictures = opinion.saliency.map((src) => node("img", { src, alt: "Where the model looked", width: 280, height: 280 }));
  return [...rows, ...pictures];
}

export function showOpinion(details, body, opinion, open = false) {
  details.open = open;
  const closed = "It is shown here after your verdict, so that it does not lead you.";
  body.replaceChildren(...(opinion ? opinionRows(opinion) : [node("p", { text: closed, name: "dim" })]));
}

/** One line about the verdict just given, with the model's opinion that may be seen now. */
export function showLast(box, verdict, marks, opinion, scan) {
  box.hidden = false;
  const link = node("a", { text: verdict.name, href: `/scans/${scan}/`, target: "_blank", rel: "noopener" });
  const parts = ["Last: ", link, ` · you: ${marks[verdict.class].words}`];
  if (opinion) {
    const top = opinion.classes.reduce((best, one) => (one.share > best.share ? one : best));
    parts.push(` · model: ${top.words} ${(100 * top.share).toFixed(0)} %`);
  }
  box.replaceChildren(...parts);
}

export function showFeedback(box, answer, marks, mark) {
  box.hidden = false;
  box.classList.toggle("wrong", !answer.correct);
  const verdict = answer.correct ? "Right." : `You said: ${marks[mark].words}.`;
  const truth = node("b", { text: `It is: ${answer.words}. ` });
  const next = node("button", { type: "button", text: "Next (Enter)", "data-next": "" });
  box.replaceChildren(node("p", {}, `${verdict} `, truth, answer.explanation || ""), next);
  next.addEventListener("click", () => box.dispatchEvent(new Event("next")));
}
