// Many pictures in one request: a page of twelve heads would otherwise cost four dozen.
import { csrf } from "./http.js";

const LENGTH_BYTES = 4;

async function fetchBundle(url, wanted) {
  const response = await fetch(url, {
    method: "POST",
    headers: { "Content-Type": "application/json", "X-CSRFToken": csrf() },
    body: JSON.stringify({ wanted }),
    signal: AbortSignal.timeout(20000),
  });
  if (!response.ok) throw new Error(`The pictures did not come (${response.status}).`);
  return response.arrayBuffer();
}

/** [{handle, name, url}] of an answer: a length, an index in JSON, then the pictures one after the other. */
function unpack(buffer) {
  const length = new DataView(buffer).getUint32(0);
  let at = LENGTH_BYTES + length;
  const index = JSON.parse(new TextDecoder().decode(new Uint8Array(buffer, LENGTH_BYTES, length)));
  return index.map(({ handle, name, bytes }) => {
    const picture = new Blob([new Uint8Array(buffer, at, bytes)], { type: "image/webp" });
    at += bytes;
    return { handle, name, url: URL.createObjectURL(picture) };
  });
}

function use(item, pictures) {
  item.blobs = [...pictures.values()];
  for (const view of item.views) {
    view.url = pictures.get(view.name) || view.url;
    view.small = pictures.get(`${view.name}-thumb`) || view.small;
  }
}

/**
 * Put the pictures named by `names(item)` into the items. What does not come keeps its own address and is fetched
 * by the browser in the usual way, so a failure here costs time and nothing else.
 */
export async function fetchPictures(url, items, names) {
  if (!items.length) return items;
  try {
    const wanted = items.map((item) => ({ handle: item.handle, names: names(item) }));
    const found = new Map(items.map((item) => [item.handle, new Map()]));
    for (const { handle, name, url: address } of unpack(await fetchBundle(url, wanted))) found.get(handle)?.set(name, address);
    for (const item of items) use(item, found.get(item.handle));
  } catch (error) {
    console.info(`Pictures are fetched one by one: ${error.message}`);
  }
  return items;
}

/** Give the memory of an item's pictures back once nobody looks at it any more. */
export function releasePictures(item) {
  for (const url of item.blobs || []) URL.revokeObjectURL(url);
  item.blobs = [];
}
