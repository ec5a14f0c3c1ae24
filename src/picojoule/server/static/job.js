/* A job that runs: how far it is, and how to stop it. */
import { call, follow } from "./api.js";

const place = document.getElementById("job");
const id = place.dataset.id;
const news = document.getElementById("news");
const bar = document.getElementById("bar");

if (bar) {
  follow(id, (job) => {
    if (job.state === "queued") {
      news.textContent = "Waiting for its turn.";
    } else if (job.state === "running") {
      const { done, total, layer } = job.progress;
      if (total) bar.value = done / total;
      news.textContent = total
        ? "Layer " + (done + 1) + " of " + total + ": " + layer : "Starting.";
    } else {
      location.reload();
    }
  });
  document.getElementById("cancel").addEventListener("click", async (event) => {
    event.target.disabled = true;
    await call("DELETE", "/api/jobs/" + id);
    location.reload();
  });
}

const again = document.getElementById("again");
if (again) {
  again.addEventListener("click", async () => {
    again.disabled = true;
    await call("POST", "/api/jobs", JSON.parse(document.getElementById("question").textContent));
    location.reload();
  });
}
