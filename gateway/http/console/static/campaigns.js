// The form of a new campaign: the start is in the operator's own zone, and when something is wrong the chosen file
// stays chosen. Without this the zone is typed, and the file is chosen again.
const main = document.getElementById("main");

function begin(kept) {
  const form = main.querySelector("form[data-upload]");
  const zone = form.elements.zone;
  const own = Intl.DateTimeFormat().resolvedOptions().timeZone;
  if (own && zone.value === "UTC" && !form.elements.start_at.value) zone.value = own;
  if (kept) {
    form.elements.file.files = kept;
    form.querySelector("[data-choose-again]")?.remove();
  }
  form.addEventListener("submit", send);
}

async function send(event) {
  event.preventDefault();
  const form = event.target;
  const button = form.querySelector("button.solid");
  if (button.disabled) return;
  const files = form.elements.file.files;
  const body = new FormData(form);
  button.disabled = true;
  button.textContent = "Reading the list …";
  try {
    const answer = await fetch(form.action, { method: "POST", body });
    if (answer.redirected) return location.assign(answer.url);
    const fresh = new DOMParser().parseFromString(await answer.text(), "text/html").getElementById("main");
    main.replaceChildren(...fresh.children);
    if (main.querySelector("form[data-upload]")) begin(files);
    main.querySelector("[aria-invalid=true]")?.focus();
    if (!main.querySelector("[aria-invalid=true]")) scrollTo(0, 0);
  } catch {
    button.disabled = false;
    button.textContent = "Keep the list";
    form.submit();
  }
}

if (main.querySelector("form[data-upload]")) begin();
