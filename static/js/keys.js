// The one keydown listener. Actions have names; a key map (name -> keys) can be changed by each person.

const TYPING = "input:not([type=range]):not([type=checkbox]):not([type=radio]), textarea, select, [contenteditable]";
const PRESSING = "button, a[href], summary, [role=tab]";
const REPEATABLE = new Set(["left", "right", "up", "down", "next", "previous"]);

let actions = {};
let byKey = new Map();

export function keyName(event) {
  if (event.key === " ") return "Space";
  return event.key.length === 1 ? event.key.toLowerCase() : event.key;
}

function typing(target) {
  return target instanceof Element && target.closest(TYPING);
}

function pressing(target, key) {
  return (key === "Enter" || key === "Space") && target instanceof Element && target.closest(PRESSING);
}

function onKeydown(event) {
  if (event.defaultPrevented || event.ctrlKey || event.metaKey || event.altKey || event.isComposing) return;
  const key = keyName(event);
  const dialog = document.querySelector("dialog[open]");
  const name = byKey.get(key);
  if (!name || typing(event.target) || pressing(event.target, key)) return;
  if (dialog && !dialog.dataset.keys?.split(" ").includes(name)) return;
  event.preventDefault();
  if (event.repeat && !REPEATABLE.has(name)) return;
  actions[name]?.(event);
}

export function listen(named, keymap) {
  actions = named;
  byKey = new Map();
  for (const [name, keys] of Object.entries(keymap)) for (const key of keys) byKey.set(key, name);
}

export function run(name) {
  actions[name]?.();
}

/** A button that was clicked does not keep the focus: Space and Enter would press it again, for the next scan. */
function onMousedown(event) {
  if (!event.target.closest?.("button")) return;
  event.preventDefault();
  if (typing(document.activeElement)) document.activeElement.blur();
}

document.addEventListener("keydown", onKeydown);
document.addEventListener("mousedown", onMousedown);
