// Times leave the server as UTC; here they are turned to the viewer's zone. The UTC time stays as the title.
const today = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit", second: "2-digit" });
const earlier = new Intl.DateTimeFormat(undefined, { day: "numeric", month: "short", hour: "2-digit", minute: "2-digit", second: "2-digit" });
const lastYear = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "short" });

function local(at) {
  const now = new Date();
  if (at.toDateString() === now.toDateString()) return today.format(at);
  return (at.getFullYear() === now.getFullYear() ? earlier : lastYear).format(at);
}

function turn(root) {
  for (const time of root.querySelectorAll("time[data-time]")) {
    time.textContent = local(new Date(time.dateTime));
  }
}

turn(document);
document.addEventListener("renewed", () => turn(document));
