// One scan as a card: front large, both obliques and the brain edge below it.

const GRID_VIEWS = ["oblique_left", "oblique_right", "edge"];
const FALLBACK = ["left", "right", "sagittal_mid"];

export function picture(view, name, width, url = view.url) {
  const image = new Image(width, Math.round((width * 639) / 576));
  image.decoding = "async";
  image.draggable = false;
  image.alt = `${name}: ${view.label}`;
  if (view.original) {
    image.dataset.later = url; // it shows an original: to fetch it is to look, so it waits for `reveal`
    return image;
  }
  image.src = url;
  image.decode().catch(() => {}); // ready to be painted before its page is shown; the card itself reports a failure
  return image;
}

/** Fetch what was not fetched ahead, now that it is on screen. */
export function reveal(box, which = "") {
  for (const image of box.querySelectorAll(`img[data-later]${which}`)) {
    image.src = image.dataset.later;
    delete image.dataset.later;
  }
}

export function viewNamed(item, name) {
  return item.views.find((view) => view.name === name);
}

export function cardViews(item) {
  const front = viewNamed(item, "front") || item.views[0];
  const rest = GRID_VIEWS.map((name, at) => viewNamed(item, name) || viewNamed(item, FALLBACK[at]));
  return { front, below: rest.filter((view) => view && !view.original) };
}

export function fill(element, selector, text) {
  element.querySelector(selector).textContent = text;
}

/** A card from the page's template; the caller owns `card.item` and `card.mark`. */
export function card(template, item) {
  const element = template.content.firstElementChild.cloneNode(true);
  const { front, below } = cardViews(item);
  element.item = item;
  element.mark = null;
  if (front) element.querySelector(".front").append(picture(front, item.name, 576));
  else element.classList.add("broken");
  element.querySelector(".below").append(...below.map((view) => picture(view, item.name, 288, view.small)));
  fill(element, ".modality", item.modality);
  fill(element, ".subject", item.name);
  element.setAttribute("aria-label", `${item.modality} ${item.name}, not marked`);
  return element;
}

export function showMark(element, mark, marks) {
  element.mark = mark;
  if (mark) element.dataset.mark = mark;
  else delete element.dataset.mark;
  const { letter = "", words = "not marked" } = marks[mark] || {};
  fill(element, ".mark", letter);
  element.setAttribute("aria-label", `${element.item.modality} ${element.item.name}, ${words}`);
}

export function showRing(element, share) {
  const ring = element.querySelector(".ring");
  ring.querySelector(".done").style.strokeDashoffset = String(100 - 100 * share);
  ring.classList.toggle("full", share >= 1);
}
