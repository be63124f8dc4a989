// The `?` dialog of a review page.

export function setUpHelp() {
  const dialog = document.getElementById("help");
  dialog.querySelector(".close").addEventListener("click", () => dialog.close());
  dialog.addEventListener("click", (event) => event.target === dialog && dialog.close());
  return () => (dialog.open ? dialog.close() : dialog.showModal());
}
