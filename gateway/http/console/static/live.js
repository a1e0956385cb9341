// Live updates: figures are put in place; when the state behind the page has changed, the page reads itself again,
// unless somebody is at work in it.
const main = document.getElementById("main");

if (main?.hasAttribute("data-live")) listen();

function listen() {
  const source = new EventSource("/live");
  let known = null;
  let followed = null;
  let stale = false;
  let again = 0;
  const catchUp = async () => {
    again = 0;
    stale = !(await renew());
  };
  // What a page follows may change with every call, and is caught up with now and then.
  const soon = () => {
    again ||= setTimeout(catchUp, 2000);
  };
  source.addEventListener("news", (event) => {
    const news = JSON.parse(event.data);
    for (const place of main.querySelectorAll("[data-figure]")) {
      const figure = news.figures[place.dataset.figure];
      if (figure !== undefined) place.textContent = figure.toLocaleString("en").replaceAll(",", "\u202f");
    }
    showLive(true);
    if (known !== null && known !== news.state) catchUp();
    known = news.state;
    const step = news[main.dataset.live];
    if (followed !== null && followed !== step) soon();
    followed = step ?? null;
  });
  // What was put off while somebody worked in the page is done once they leave it.
  main.addEventListener("focusout", () => stale && setTimeout(catchUp, 300));
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

// Read the page again and put it in place; false when somebody is at work in it.
async function renew() {
  if (atWork()) return false;
  const answer = await fetch(location.href, { headers: { Accept: "text/html" } });
  if (!answer.ok || answer.redirected) return true;
  const fresh = new DOMParser().parseFromString(await answer.text(), "text/html").getElementById("main");
  if (!fresh || atWork()) return false;
  main.replaceChildren(...fresh.children);
  showLive(true);
  document.dispatchEvent(new Event("renewed"));
  return true;
}

function atWork() {
  const told = main.querySelector(".conflict, .review, [role=alert], .secret");
  return busy() || told !== null || (document.activeElement !== main && main.contains(document.activeElement));
}
