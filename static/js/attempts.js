// All attempts of one scan in one view, side by side at equal size: oldest first, the one to judge last.

/** The attempts of an item; its own pictures stand in the item itself. */
function attemptsOf(item) {
  const own = { ...item, class: "", letter: "", words: "this one", atHand: true };
  return [...item.earlier].reverse().concat(own);
}

export function hasEarlier(item) {
  return (item?.earlier?.length ?? 0) > 0;
}

/** The view in which the last failure is seen best. */
export function tellingView(item) {
  return item.earlier[0].class === "brain" ? "edge" : "front";
}

/** One figure for each attempt; `small` takes thumbnails. */
export function beside(item, name, { small = false } = {}) {
  return attemptsOf(item).map((attempt) => figure(attempt, name, small));
}

function figure(attempt, name, small) {
  const element = document.createElement("figure");
  element.append(shot(attempt, name, small), caption(attempt));
  return element;
}

function shot(attempt, name, small) {
  const view = attempt.views.find((one) => one.name === name);
  if (!view) return Object.assign(document.createElement("p"), { className: "no-shot", textContent: "No such picture" });
  const image = new Image(576, 639);
  image.alt = `Attempt ${attempt.number}: ${view.label}`;
  image.decoding = "async";
  image.draggable = false;
  image.src = small && !attempt.atHand ? view.small : view.url;
  return image;
}

function caption(attempt) {
  const element = document.createElement("figcaption");
  const letter = document.createElement("b");
  letter.textContent = attempt.letter;
  const badge = document.createElement("span");
  badge.className = `badge ${attempt.class}`;
  badge.append(...(attempt.letter ? [letter] : []), attempt.words);
  const number = document.createElement("b");
  number.textContent = `Attempt ${attempt.number}`;
  element.append(number, " ", badge, document.createElement("br"), [attempt.engine, attempt.plan].filter(Boolean).join(" · "));
  return element;
}
