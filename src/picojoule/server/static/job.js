/* A job that waits or runs: its place, how far it is, how to stop it, or to take what there is. */
import { call, follow, tell } from "./api.js";

const place = document.getElementById("job");
const id = place.dataset.id;
const news = document.getElementById("news");
const time = document.getElementById("time");
const bar = document.getElementById("bar");
const asked = document.getElementById("question");
const question = JSON.parse(asked.textContent);
let begun = null;
let share = 0;
let leaving = false;

function span(seconds) {
  if (seconds < 60) return Math.round(seconds) + " s";
  if (seconds < 3600) return Math.round(seconds / 60) + " min";
  return (seconds / 3600).toFixed(1) + " h";
}

/* Elapsed and left, from what the layers done took. */
function tick() {
  if (begun === null) return;
  const elapsed = (performance.now() - begun) / 1000;
  time.textContent = span(elapsed) + " so far" +
    (share > 0 ? ", about " + span(elapsed * (1 - share) / share) + " left" : "") + ".";
}

function waiting({ place: turn, held_up: why }) {
  const before = turn - 1;
  news.textContent = turn === null ? "Waiting for its turn."
    : before === 0 ? "Waiting: the next to be searched."
      : "Waiting: " + before + (before === 1 ? " question is" : " questions are") + " before it.";
  if (why) news.textContent += " Nothing goes on: " + why + ".";
}

function running({ done, total, layer, gap }) {
  share = total ? done / total : 0;
  bar.value = share;
  news.textContent = total ? "Layer " + (done + 1) + " of " + total + ": " + layer + "." : "Starting.";
  if (gap !== null) {
    news.textContent += " Found so far: at most " + Number((100 * gap).toPrecision(2)) +
      "\u00a0% above the best.";
  }
}

if (bar) {
  follow(id, (job) => {
    if (job.state === "queued") {
      waiting(job.progress);
    } else if (job.state === "running") {
      if (begun === null) begun = performance.now() - 1000 * (job.elapsed || 0);
      running(job.progress);
      // A second for each layer is no help where there is no more for them anyway.
      const quick = question.budget !== undefined && question.budget <= Number(asked.dataset.hurry);
      document.getElementById("enough").hidden = quick;
      document.getElementById("enough-why").hidden = quick;
    } else if (!leaving) {
      location.reload();
    }
    tick();
  });
  setInterval(tick, 1000);
  const act = (button, work) => button.addEventListener("click", async () => {
    button.disabled = true;
    try {
      await work();
    } catch (error) {
      tell(document.getElementById("job-problem"), error);
      button.disabled = false;
    }
  });
  act(document.getElementById("cancel"), async () => {
    await call("DELETE", "/api/jobs/" + id);
    location.reload();
  });
  act(document.getElementById("enough"), async () => {
    const quick = { ...question, budget: Number(asked.dataset.hurry) };
    const job = await call("POST", "/api/jobs", quick);
    leaving = true; // that this one is cancelled is no news
    await call("DELETE", "/api/jobs/" + id);
    location.assign("/r/" + job.id);
  });
}

const again = document.getElementById("again");
if (again) {
  again.addEventListener("click", async () => {
    again.disabled = true;
    await call("POST", "/api/jobs", question);
    location.reload();
  });
}
