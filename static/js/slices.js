// Slices on a canvas: one sheet per plane and layer is fetched once, after that the slider asks nobody.

const KEPT_SHEETS = 14;
const REMEMBERED = new Map();

async function load(url, signal) {
  const response = await fetch(url, { signal });
  if (!response.ok) throw new Error(response.status === 422 ? await response.text() : `The slices did not load (${response.status}).`);
  const [count, columns, width, height, step, pixel] = response.headers.get("X-Tiles").split(",").map(Number);
  const bitmap = await createImageBitmap(await response.blob());
  return { bitmap, count, columns, width, height, step, pixel };
}

export function sheet(url) {
  if (!REMEMBERED.has(url)) {
    const promise = load(url);
    REMEMBERED.set(url, promise);
    promise.catch(() => REMEMBERED.delete(url));
    forgetOldest();
  }
  return REMEMBERED.get(url);
}

function forgetOldest() {
  while (REMEMBERED.size > KEPT_SHEETS) {
    const [url, promise] = REMEMBERED.entries().next().value;
    REMEMBERED.delete(url);
    promise.then((old) => old.bitmap.close?.(), () => {});
  }
}

export class SliceViewer {
  constructor({ canvas, slider, output, words }) {
    Object.assign(this, { canvas, slider, output, words });
    this.context = canvas.getContext("2d");
    this.source = null;
    this.plane = "sagittal";
    this.layer = "after";
    this.place = { sagittal: 0.5, coronal: 0.5, axial: 0.5 };
    slider.addEventListener("input", () => this.goTo(Number(slider.value)));
    canvas.addEventListener("wheel", (event) => this.#wheel(event), { passive: false });
    canvas.addEventListener("pointermove", (event) => event.buttons && this.#drag(event));
    new ResizeObserver(() => this.draw()).observe(canvas);
  }

  async show(source, layer = this.layer, plane = this.plane) {
    Object.assign(this, { source, layer, plane });
    if (!source?.base) return this.#nothing("The volume itself is not at hand, only its pictures.");
    const wanted = `${source.base}${plane}-${layer}.webp`;
    this.wanted = wanted;
    const slow = setTimeout(() => this.wanted === wanted && (this.words.textContent = "Fetching slices…"), 250);
    try {
      const loaded = await sheet(wanted);
      if (this.wanted === wanted) this.#ready(loaded);
    } catch (error) {
      if (this.wanted === wanted) this.#nothing(error.message);
    } finally {
      clearTimeout(slow);
    }
  }

  #ready(loaded) {
    this.loaded = loaded;
    this.slider.max = String(loaded.count - 1);
    this.slider.disabled = false;
    this.words.textContent = "";
    this.goTo(Math.round(this.place[this.plane] * (loaded.count - 1)));
  }

  /** Show nothing until the next scan's slices are there. */
  clear() {
    this.wanted = "";
    this.#nothing("");
  }

  #nothing(words) {
    this.loaded = null;
    this.slider.disabled = true;
    this.output.textContent = "";
    this.words.textContent = words;
    this.draw();
  }

  goTo(index) {
    if (!this.loaded) return;
    this.index = Math.max(0, Math.min(index, this.loaded.count - 1));
    this.place[this.plane] = this.loaded.count > 1 ? this.index / (this.loaded.count - 1) : 0;
    this.slider.value = String(this.index);
    this.output.textContent = `${this.index + 1} of ${this.loaded.count}`;
    this.canvas.setAttribute("aria-label", `${this.plane} slice ${this.index + 1} of ${this.loaded.count}, ${this.layer}`);
    this.draw();
  }

  step(by) {
    this.goTo((this.index ?? 0) + by);
  }

  draw() {
    const scale = window.devicePixelRatio || 1;
    const box = this.canvas.getBoundingClientRect();
    this.canvas.width = Math.round(box.width * scale);
    this.canvas.height = Math.round(box.height * scale);
    if (this.loaded) this.#paint(this.canvas.width, this.canvas.height, scale);
  }

  #paint(width, height, scale) {
    const { bitmap, columns, width: w, height: h, pixel } = this.loaded;
    const zoom = Math.min(width / w, (height - 26 * scale) / h);
    const [x, y] = [(width - w * zoom) / 2, (height - h * zoom) / 2];
    this.context.imageSmoothingQuality = "high";
    this.context.drawImage(bitmap, (this.index % columns) * w, Math.floor(this.index / columns) * h, w, h, x, y, w * zoom, h * zoom);
    this.#letters(width, height, scale);
    this.#bar(width, height, scale, (50 / pixel) * zoom);
  }

  #letters(width, height, scale) {
    const sides = this.plane === "sagittal" ? ["A", "P"] : ["R", "L"];
    this.context.font = `600 ${14 * scale}px system-ui`;
    this.context.fillStyle = "#c6cacf";
    this.context.fillText(sides[0], 8 * scale, height / 2);
    this.context.fillText(sides[1], width - 18 * scale, height / 2);
  }

  #bar(width, height, scale, length) {
    this.context.fillRect(width - length - 10 * scale, height - 12 * scale, length, 2 * scale);
    this.context.font = `${11 * scale}px system-ui`;
    this.context.fillText("5 cm", width - length - 10 * scale, height - 17 * scale);
  }

  #wheel(event) {
    event.preventDefault();
    this.step(event.deltaY > 0 ? 1 : -1);
  }

  #drag(event) {
    this.step(Math.sign(event.movementY));
  }
}
