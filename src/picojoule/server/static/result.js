/* A result: its charts, and what would change if its settings did.
 *
 * A changed density, width or batch is answered at once with the present mappings, re-priced; the
 * search for the best mappings follows as a job, and its answer takes the place of the first. */
import { call, element, follow, later, tell } from "./api.js";

const charts = window.picojouleCharts;
const own = charts.readData();
charts.watch(document, own, "canvas");

const find = (id) => document.getElementById(id);
const panel = find("whatif");
const form = find("changes");
const answer = find("answer");
const problem = find("answer-problem");
const chart = find("chart");
const asked = JSON.parse(find("question").textContent);
let turn = 0;
let stop = null;
let pending = null;

function boxes() {
  return Array.from(form.querySelectorAll("input[type=number]:enabled"));
}

/* What differs from the result, or null; a mistake is thrown. */
function changes() {
  const found = { bits: {}, density: {} };
  let any = false;
  for (const box of boxes()) {
    if (box.value === box.dataset.present && !box.validity.badInput) continue;
    if (box.value === "" && !box.validity.badInput) continue;
    if (!box.checkValidity()) {
      const name = document.querySelector('label[for="' + box.id + '"]').textContent;
      throw new Error(name + ": " + box.validationMessage);
    }
    any = true;
    if (box.dataset.kind) found[box.dataset.kind][box.dataset.name] = Number(box.value);
    else found.batch = Number(box.value);
  }
  const flow = find("dataflow");
  const dataflow = flow.value === flow.dataset.present ? null : flow.value;
  return any || dataflow ? { settings: found, dataflow, priced: any } : null;
}

/* No number apart from its unit. */
function together(words) {
  return words.replace(/(\d) (?=[TGMkmµnp]?J\b|[TGMk]\b|x E_MAC)/g, "$1\u00a0");
}

function say(words, label, link) {
  answer.replaceChildren();
  if (words) element("p", together(words), answer, { class: "big" });
  const line = element("p", null, answer);
  element("span", label, line, { class: "tag" });
  if (link) {
    line.append(" ");
    element("a", "Compare in full", line, { href: link });
  }
}

function drawBeside(data, faint) {
  charts.draw(chart, data, "canvas");
  find("chart-words").textContent = faint;
}

function plain() {
  charts.draw(chart, own, "canvas");
  find("chart-words").textContent =
    "Hover for numbers, click the legend to hide parts, hold Ctrl and scroll to zoom.";
  answer.replaceChildren();
  tell(problem, null);
}

function forget() {
  turn += 1;
  if (stop) stop();
  stop = null;
  const job = pending;
  pending = null;
  if (job) call("DELETE", "/api/jobs/" + job).catch(() => {});
}

async function search(mine, change, words) {
  const body = { ...asked, ...change.settings };
  body.bits = { ...(asked.bits || {}), ...change.settings.bits };
  body.density = { ...(asked.density || {}), ...change.settings.density };
  if (change.dataflow) body.dataflow = change.dataflow;
  let job = await call("POST", "/api/jobs", body);
  if (mine !== turn) return;
  if (job.state === "queued" || job.state === "running") {
    // Only what was begun here is ended here.
    if (job.state === "queued" && !job.progress.total) pending = job.id;
    job = await new Promise((resolve) => {
      stop = follow(job.id, (record) => {
        if (["done", "failed", "cancelled"].includes(record.state)) resolve(record);
        else if (record.progress && record.progress.total) {
          say(words, (words ? "Present mappings, re-priced. " : "") + "Searching for the best: layer " +
            (record.progress.done + 1) + " of " + record.progress.total);
        }
      });
    });
  }
  if (mine !== turn) return;
  pending = null;
  if (job.state === "failed") throw new Error(job.error.message);
  if (job.state !== "done") {
    say(words, words ? "Present mappings, re-priced. The search was cancelled." : "Cancelled");
    return;
  }
  const beside = await call("GET", "/api/compare/" + panel.dataset.id + "/" + job.id + "/charts");
  if (mine !== turn) return;
  say(beside.words, beside.proved ? "Best mappings, searched anew"
    : "Mappings searched anew, not all proved best", "/compare/" + panel.dataset.id + "/" + job.id);
  drawBeside(beside.charts, "Faint bars: this result. Full bars: with the changes, searched anew.");
}

const searchLater = later(700, (mine, change, words) => {
  if (mine !== turn) return;
  search(mine, change, words).catch((error) => { if (mine === turn) tell(problem, error); });
});

async function react() {
  forget();
  const mine = turn;
  const back = form.querySelector("button[type=reset]");
  back.disabled = false;
  let change;
  try {
    change = changes();
    back.disabled = !change;
  } catch (error) {
    tell(problem, error);
    return;
  }
  tell(problem, null);
  if (!change) {
    plain();
    return;
  }
  let words = null;
  try {
    if (change.dataflow) {
      say(null, "Another dataflow needs other mappings: searching …");
    } else {
      const priced = await call("POST", "/api/results/" + panel.dataset.id + "/reprice",
        { settings: change.settings });
      if (mine !== turn) return;
      if (priced.misfits.length) {
        say(null, "The present mapping of " + priced.misfits.slice(0, 3).join(", ") +
          (priced.misfits.length > 3 ? ", …" : "") + " does not fit any more: searching …");
      } else {
        words = priced.words;
        say(words, "Present mappings, re-priced. The search for better ones follows …");
        drawBeside(priced.charts,
          "Faint bars: this result. Full bars: with the changes, present mappings re-priced.");
      }
    }
    searchLater(mine, change, words);
  } catch (error) {
    if (mine === turn) tell(problem, error);
  }
}

const soon = later(60, react);
form.addEventListener("input", (event) => {
  const box = event.target;
  if (box.type === "range") find(box.dataset.for).value = box.value;
  else if (find(box.id + "-range") && box.value !== "") find(box.id + "-range").value = box.value;
  soon();
});
form.addEventListener("reset", () => setTimeout(react, 0));
form.addEventListener("submit", (event) => event.preventDefault());
