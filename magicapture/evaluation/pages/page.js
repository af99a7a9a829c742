// Enhances a page that is complete without it: choosing colours, sorting and filtering, enlarging, comparing.
const all = (selector, root = document) => [...root.querySelectorAll(selector)];

const theme = document.querySelector(".theme select");
theme.value = document.documentElement.dataset.theme || "auto";
theme.addEventListener("change", () => {
  document.documentElement.dataset.theme = theme.value;
  try { localStorage.setItem("magicapture-theme", theme.value); } catch { /* a sandboxed frame keeps nothing */ }
});

for (const controls of all(".controls")) {
  const grid = document.getElementById(controls.dataset.for);
  const figures = all("figure", grid), first = figures[0];
  const arrange = () => {
    const sort = controls.querySelector("[name=sort]").value;
    const kept = all("[data-filter]", controls).filter((select) => select.value);
    for (const figure of figures) figure.hidden = kept.some((select) => figure.dataset[select.name] !== select.value);
    // Rank and seed count up, scores down; what has no score comes last.
    const up = sort === "rank" || sort === "seed";
    const value = (figure) => (figure.dataset[sort] === "" ? Infinity : (up ? 1 : -1) * Number(figure.dataset[sort]));
    const rank = (figure) => Number(figure.dataset.rank);
    const order = [...figures].sort((a, b) => (value(a) === value(b) ? 0 : value(a) - value(b)) || rank(a) - rank(b));
    grid.append(...order);
    const shown = order.filter((figure) => !figure.hidden);
    for (const figure of figures) figure.classList.toggle("hero", figure === shown[0] && figures.length > 2);
    controls.querySelector("output").textContent = `${shown.length} of ${figures.length} shown`;
  };
  controls.addEventListener("change", arrange);
  controls.addEventListener("submit", (event) => event.preventDefault());
  if (first) arrange();
}

const viewer = document.querySelector(".viewer");
const picture = new Image();
let buttons = [], at = 0;
const show = (index) => {
  at = (index + buttons.length) % buttons.length;
  const source = buttons[at].querySelector("img");
  picture.src = source.src;
  picture.alt = source.alt;
  viewer.querySelector("figure").prepend(picture);
  viewer.querySelector("figcaption").innerHTML = buttons[at].closest("figure").querySelector("figcaption").innerHTML;
  viewer.querySelector(".count").textContent = `${at + 1} of ${buttons.length}`;
};
document.addEventListener("click", (event) => {
  const opened = event.target.closest(".zoom");
  if (!opened) return;
  buttons = all(".zoom", opened.closest(".zooms")).filter((button) => button.offsetParent !== null);
  show(buttons.indexOf(opened));
  viewer.showModal();
  viewer.querySelector(".close").focus();
});
const keys = { ArrowLeft: () => at - 1, ArrowRight: () => at + 1, Home: () => 0, End: () => buttons.length - 1 };
viewer.addEventListener("keydown", (event) => {
  if (!(event.key in keys)) return;
  event.preventDefault();
  show(keys[event.key]());
});
viewer.querySelector(".previous").addEventListener("click", () => show(at - 1));
viewer.querySelector(".next").addEventListener("click", () => show(at + 1));
viewer.querySelector(".close").addEventListener("click", () => viewer.close());
// The focus goes back to the picture that was looked at last, which need not be the one that was opened.
viewer.addEventListener("close", () => buttons[at].focus());

for (const slider of all(".slider")) {
  const range = slider.querySelector("input");
  range.addEventListener("input", () => {
    slider.style.setProperty("--at", `${range.value}%`);
    range.setAttribute("aria-valuetext", `${range.value} % before`);
  });
}
for (const choice of all(".choice")) {
  const [after, before] = all(".slider img", choice.closest("section"));
  choice.addEventListener("click", (event) => {
    const button = event.target.closest("button");
    if (!button) return;
    for (const other of all("button", choice)) other.setAttribute("aria-pressed", String(other === button));
    const figure = document.querySelector(`#portrait-grid [data-rank="${button.value}"]`);
    after.src = figure.querySelector("img").src;
    before.src = figure.dataset.before;
    after.alt = `Portrait ${button.value} after post-processing`;
    before.alt = `Portrait ${button.value} before post-processing`;
  });
}

addEventListener("beforeprint", () => all("details").forEach((details) => { details.open = true; }));
