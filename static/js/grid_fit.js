// The arrangement in which `count` equal cells come out largest in a box.

/** Columns and cell width for cells of `ratio` = height / width plus `extra` px of caption. */
export function fit(count, width, height, { ratio = 1, extra = 0, gap = 0, most = 12 } = {}) {
  let best = { columns: 1, size: 0 };
  for (let columns = 1; columns <= Math.min(count, most); columns += 1) {
    const rows = Math.ceil(count / columns);
    const byWidth = (width - gap * (columns - 1)) / columns;
    const byHeight = ((height - gap * (rows - 1)) / rows - extra) / ratio;
    const size = Math.min(byWidth, byHeight);
    if (size > best.size) best = { columns, size: Math.floor(size) };
  }
  return best;
}

const FEWEST = 12;
const MOST = 24;
const LARGE = 260; // px of width from which a card is large enough to judge at a glance

/** How many cards a box takes: 12, and up to 24 as long as each stays large. */
export function pageSize(box, cell) {
  for (let count = MOST; count > FEWEST; count -= 1) {
    if (fit(count, box.width - 16, box.height - 12, cell).size >= LARGE) return count;
  }
  return FEWEST;
}
