// Dialogs: a link that names one opens it; a form that wants to be confirmed asks first. Without this the link leads to
// a page, and the form is sent at once.
const confirming = document.getElementById("confirm");

document.addEventListener("click", (event) => {
  const opener = event.target.closest("[data-dialog]");
  const dialog = opener && document.getElementById(opener.dataset.dialog);
  if (dialog) {
    event.preventDefault();
    dialog.showModal();
  }
  event.target.closest("[data-close]")?.closest("dialog")?.close();
});

document.addEventListener("submit", (event) => {
  const form = event.target;
  if (!form.dataset.confirm || form.dataset.confirmed) return;
  event.preventDefault();
  document.getElementById("confirm-title").textContent = form.dataset.confirm;
  document.getElementById("confirm-text").textContent = form.dataset.confirmText ?? "";
  document.getElementById("confirm-yes").onclick = () => {
    form.dataset.confirmed = "yes";
    confirming.close();
    form.requestSubmit();
  };
  confirming.showModal();
});
