// Live updates: figures are put in place; when the state behind the page has changed, the page reads itself again,
// unless somebody is at work in it.
const main = document.getElementById("main");

if (main?.hasAttribute("data-live")) listen();

function listen() {
  const source = new EventSource("/live");
  let known = null;
  let stale = false;
  const catchUp = async () => {
    stale = !(await renew());
  };
  source.addEventListener("news", (event) => {
    const news = JSON.parse(event.data);
    for (const place of main.querySelectorAll("[data-figure]")) {
      const figure = news.figures[place.dataset.figure];
      if (figure !== undefined) place.textContent = figure.toLocaleString("en").replaceAll(",", "\u202f");
    }
    showLive(true);
    const state = news.state + judged(news.experiments);
    if (known !== null && known !== state) catchUp();
    known = state;
  });
  // What was put off while somebody worked in the page is done once they leave it.
  main.addEventListener("focusout", () => stale && setTimeout(catchUp, 300));
  source.addEventListener("error", () => showLive(false));
  addEventListener("pagehide", () => source.close());
}

// When what the page shows was last judged: its one experiment, or with "*" any.
let lastJudged = 0;
function judged(experiments) {
  const watched = main.dataset.live;
  const moments = watched === "*" ? Object.values(experiments) : watched in experiments ? [experiments[watched]] : [];
  lastJudged = Math.max(lastJudged, ...moments);
  return watched ? `@${lastJudged}` : "";
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
  // What the reader has unfolded stays so.
  for (const box of main.querySelectorAll("details[id]")) {
    const again = fresh.querySelector(`#${CSS.escape(box.id)}`);
    if (again) again.open = box.open;
  }
  main.replaceChildren(...fresh.children);
  showLive(true);
  document.dispatchEvent(new Event("renewed"));
  return true;
}

function atWork() {
  const told = main.querySelector(".conflict, .review, [role=alert], .secret");
  return busy() || told !== null || (document.activeElement !== main && main.contains(document.activeElement));
}
