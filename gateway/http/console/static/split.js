// The sliders of a split: they make up a hundred together, and each follows the number beside it.
const form = document.getElementById("split");

const arms = [...form.querySelectorAll("fieldset.arm")].map((box) => ({
  box,
  version: box.querySelector("select"),
  slider: box.querySelector("[data-slider]"),
  percent: box.querySelector(".percent input"),
}));

const used = () => arms.filter((arm) => arm.version.value !== "");
const number = (text) => Number.parseFloat(text.replace(",", ".")) || 0;
const short = (value) => String(Math.round(value * 100) / 100);

// What one arm takes, the others give, in proportion to what they have.
function balance(moved, value) {
  const wanted = Math.min(100, Math.max(0, value));
  const others = used().filter((arm) => arm !== moved);
  if (others.length === 0) return put(moved, 100);
  const had = others.reduce((sum, arm) => sum + number(arm.percent.value), 0);
  let left = 100 - wanted;
  put(moved, wanted);
  others.forEach((arm, place) => {
    const part = had > 0 ? number(arm.percent.value) / had : 1 / others.length;
    const given = place === others.length - 1 ? left : Math.round((100 - wanted) * part);
    left -= given;
    put(arm, given);
  });
}

function put(arm, value) {
  arm.percent.value = short(Math.max(0, value));
  arm.slider.value = arm.percent.value;
  arm.slider.setAttribute("aria-valuetext", `${arm.percent.value} percent`);
}

function show() {
  for (const arm of arms) {
    const idle = arm.version.value === "";
    arm.box.classList.toggle("spare", idle);
    arm.slider.hidden = idle;
    arm.slider.disabled = idle;
    arm.percent.closest(".percent").hidden = idle;
  }
}

for (const arm of arms) {
  arm.slider.addEventListener("input", () => balance(arm, number(arm.slider.value)));
  arm.percent.addEventListener("change", () => balance(arm, number(arm.percent.value)));
  arm.version.addEventListener("change", () => {
    show();
    if (arm.version.value === "") {
      put(arm, 0);
      const first = used()[0];
      if (first) balance(first, number(first.percent.value));
    } else if (number(arm.percent.value) === 0) {
      balance(arm, Math.round(100 / used().length));
    }
  });
}
show();
