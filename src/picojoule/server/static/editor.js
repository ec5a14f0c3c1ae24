/* A chip's file: line numbers, and the lines with mistakes marked. */
import { call, element, later } from "./api.js";

/* *learn* is called with what the API says of a chip that is well formed. */
export function chipEditor(places, learn) {
  const { area, gutter, news, problems } = places;
  let shipped = "";
  let wrong = new Set();
  let turn = 0;

  function number() {
    const count = area.value.split("\n").length;
    gutter.replaceChildren();
    for (let line = 1; line <= count; line++) {
      const mark = element("div", String(line), gutter);
      if (wrong.has(line)) mark.className = "wrong";
    }
    gutter.style.height = area.clientHeight + "px";
    gutter.scrollTop = area.scrollTop;
  }

  function goTo(line) {
    const lines = area.value.split("\n");
    const start = lines.slice(0, line - 1).join("\n").length + (line > 1 ? 1 : 0);
    area.focus();
    area.setSelectionRange(start, start + (lines[line - 1] || "").length);
    area.scrollTop = Math.max(0, (line - 4) * 1.45 * 0.82 * 16);
  }

  function show(mistakes) {
    wrong = new Set();
    problems.replaceChildren();
    problems.hidden = mistakes.length === 0;
    for (const mistake of mistakes) {
      const item = element("li", null, problems);
      const line = /\(?line (\d+)/.exec(mistake.message);
      if (line) {
        const at = Number(line[1]);
        wrong.add(at);
        const button = element("button", "line " + at, item, { type: "button" });
        button.addEventListener("click", () => goTo(at));
        item.append(" ");
      }
      element("code", mistake.path, item);
      item.append(": " + mistake.message.replace(/ \(line \d+\)/, ""));
    }
    area.setAttribute("aria-invalid", String(mistakes.length > 0));
    number();
  }

  async function check() {
    const mine = ++turn;
    try {
      const chip = await call("POST", "/api/chips/check", { yaml: area.value });
      if (mine !== turn) return true;
      show([]);
      learn(chip);
      news.textContent = chip.name + ": well formed, " + chip.elements + " processing elements" +
        (area.value === shipped ? "." : ", edited here.");
      return true;
    } catch (error) {
      if (mine !== turn) return false;
      const mistakes = error.mistakes && error.mistakes.length ? error.mistakes
        : [{ path: "$", message: error.message }];
      news.textContent = mistakes.length === 1 ? "One mistake." : mistakes.length + " mistakes.";
      show(mistakes);
      return false;
    }
  }

  const soon = later(350, check);
  area.addEventListener("input", () => { number(); soon(); });
  area.addEventListener("scroll", () => { gutter.scrollTop = area.scrollTop; });
  new ResizeObserver(number).observe(area);

  return {
    check,
    edited: () => area.value !== "" && area.value !== shipped,
    text: () => area.value,
    async load(name, keep) {
      const answer = await fetch("/api/chips/" + encodeURIComponent(name));
      shipped = await answer.text();
      if (!keep) area.value = shipped;
      number();
      await check();
    },
  };
}
