// Live updates: figures are put in place; when the state behind the page has changed, the page reads itself again,
// unless somebody is at work in it.
const main = document.getElementById("main");

if (main?.hasAttribute("data-live")) listen();

function listen() {
  const source = new EventSource("/live");
  let known = null;
  source.addEventListener("news", (event) => {
    const news = JSON.parse(event.data);
    for (const place of main.querySelectorAll("[data-figure]")) {
      const figure = news.figures[place.dataset.figure];
      if (figure !== undefined) place.textContent = figure.toLocaleString("en").replaceAll(",", "\u202f");
    }
    showLive(true);
    if (known !== null && known !== news.state) renew();
    known = news.state;
  });
  source.addEventListener("error", () => showLive(false));
  addEventListener("pagehide", () => source.close());
}

function showLive(on) {
  const dot = main.querySelector("[data-pulse]");
  if (!dot) return;
  dot.hidden = !on;
  main.querySelector("[data-pulse-text]").textContent = on ? "live" : "as of this page";
}

function busy() {
  if (document.querySelector("dialog[open]")) return true;
  const fields = main.querySelectorAll("form input, form select, form textarea");
  return [...fields].some((field) => {
    if (field.type === "hidden") return false;
    if (field.type === "checkbox" || field.type === "radio") return field.checked !== field.defaultChecked;
    if (field.tagName === "SELECT") return [...field.options].some((one) => one.selected !== one.defaultSelected && field.selectedIndex > 0);
    return field.value !== field.defaultValue;
  });
}

async function renew() {
  if (busy() || main.contains(document.activeElement) || main.querySelector(".conflict, .review, [role=alert], .secret")) return;
  const answer = await fetch(location.href, { headers: { Accept: "text/html" } });
  if (!answer.ok || answer.redirected) return;
  const fresh = new DOMParser().parseFromString(await answer.text(), "text/html").getElementById("main");
  if (!fresh || busy()) return;
  main.replaceChildren(...fresh.children);
  showLive(true);
  document.dispatchEvent(new Event("renewed"));
}
