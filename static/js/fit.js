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

/** How many cards a window takes: 12 on a laptop, 24 on a large screen. */
export function pageSize(width, height) {
  const area = width * height;
  if (area < 1500000) return 12;
  return area < 2600000 ? 18 : 24;
}
