// The head in three dimensions: NiiVue, loaded only when somebody asks for it.

let library = null;
let viewer = null;
let shown = "";

function loadLibrary(address) {
  library ??= new Promise((resolve, reject) => {
    const script = document.createElement("script");
    script.src = address;
    script.onload = () => resolve(window.niivue);
    script.onerror = () => {
      library = null;
      reject(new Error("The 3-D viewer did not load."));
    };
    document.head.append(script);
  });
  return library;
}

async function attach(niivue, canvas) {
  const made = new niivue.Niivue({ backColor: [0.043, 0.047, 0.051, 1], show3Dcrosshair: false, isOrientCube: true, dragAndDropEnabled: false, logLevel: "error" });
  await made.attachToCanvas(canvas);
  made.setSliceType(made.sliceTypeRender);
  return made;
}

export async function showSolid(canvas, address, volume) {
  const niivue = await loadLibrary(address);
  viewer ??= await attach(niivue, canvas);
  if (shown === volume) return;
  await viewer.loadVolumes([{ url: volume, colormap: "gray" }]);
  viewer.setRenderAzimuthElevation(200, 12);
  await viewer.setVolumeRenderIllumination(0.6);
  shown = volume;
}
