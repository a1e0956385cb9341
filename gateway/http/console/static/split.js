// The sliders of a split: they make up a hundred together, and each follows the number beside it.
let arms = [];

const used = () => arms.filter((arm) => arm.version.value !== "");
const number = (text) => Number.parseFloat(text.replace(",", ".")) || 0;
const short = (value) => String(Math.round(value * 100) / 100);

// What one arm takes, the others give, in proportion to what they have.
function balance(moved, value) {
  const others = used().filter((arm) => arm !== moved);
  const wanted = others.length === 0 ? 100 : Math.min(100, Math.max(0, value));
  const had = others.reduce((sum, arm) => sum + arm.exact, 0);
  let left = 100 - wanted;
  moved.exact = wanted;
  put(moved, wanted);
  others.forEach((arm, place) => {
    const part = had > 0 ? arm.exact / had : 1 / others.length;
    // Of arms that have nothing left, the proportion is still remembered.
    arm.exact = Math.max((100 - wanted) * part, 1e-9 * part);
    const given = place === others.length - 1 ? left : Math.round(arm.exact);
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

function follow(arm) {
  arm.slider.addEventListener("input", () => balance(arm, number(arm.slider.value)));
  arm.percent.addEventListener("change", () => balance(arm, number(arm.percent.value)));
  arm.version.addEventListener("change", () => {
    show();
    if (arm.version.value === "") {
      arm.exact = 0;
      put(arm, 0);
      const first = used()[0];
      if (first) balance(first, number(first.percent.value));
    } else if (number(arm.percent.value) === 0) {
      balance(arm, Math.round(100 / used().length));
    }
  });
}

// The form is a new one whenever the page has read itself again.
function begin() {
  arms = [...document.querySelectorAll("#split fieldset.arm")].map((box) => {
    const percent = box.querySelector(".percent input");
    return {
      box,
      percent,
      version: box.querySelector("select"),
      slider: box.querySelector("[data-slider]"),
      exact: number(percent.value), // what it has when the numbers on the page are not rounded
    };
  });
  arms.forEach(follow);
  show();
}

begin();
document.addEventListener("renewed", begin);
