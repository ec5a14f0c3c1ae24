/* The form: a network, a chip, settings; and the upload. */
import { Refusal, call, element, tell } from "./api.js";
import { chipEditor } from "./editor.js";

const find = (id) => document.getElementById(id);
const form = find("ask");
const drop = find("drop");
const news = find("upload-news");
let uploading = null;

const editor = chipEditor({
  area: find("yaml"), gutter: document.querySelector(".gutter"),
  news: find("chip-news"), problems: find("chip-problems"),
});

const asked = find("yaml").value !== "";
if (asked) editor.load(find("chip").value, true);
find("editing").addEventListener("toggle", () => {
  if (find("editing").open && find("yaml").value === "") editor.load(find("chip").value);
});
find("chip").addEventListener("change", () => {
  if (find("editing").open) editor.load(find("chip").value);
  else find("yaml").value = "";
});
find("chip-back").addEventListener("click", () => editor.load(find("chip").value));

function sizes() {
  const found = [];
  for (const part of find("dims").value.split(",")) {
    const text = part.trim();
    if (!text) continue;
    if (!/^[^=]{1,80}=[1-9][0-9]{0,8}$/.test(text)) {
      throw new Refusal("Sizes are written name=number, with commas between them, not " + text);
    }
    found.push(text);
  }
  return found;
}

async function upload(file) {
  const problem = find("upload-problem");
  tell(problem, null);
  if (uploading) uploading.abort();
  uploading = new AbortController();
  const mine = uploading;
  try {
    if (file.size > Number(form.dataset.largest)) {
      throw new Refusal(file.name + " is larger than " +
        Math.round(Number(form.dataset.largest) / 1048576) + " MiB");
    }
    const query = new URLSearchParams({ file: file.name });
    for (const pair of sizes()) query.append("dim", pair);
    news.textContent = "Reading " + file.name + " …";
    const network = await call("POST", "/api/networks?" + query, undefined, {
      body: file, headers: { "content-type": "application/octet-stream" }, signal: mine.signal,
    });
    const group = find("uploaded");
    group.hidden = false;
    let option = Array.from(group.children).find((x) => x.value === network.id);
    if (!option) option = element("option", network.name, group, { value: network.id });
    option.selected = true;
    const left = network.not_counted.map((x) => x.op + " ×" + x.count).join(", ");
    const lost = network.unmodelled.map((x) => x.op + " ×" + x.count).join(", ");
    news.textContent = (lost ? "Incomplete, these multiply and are in no layer: " + lost + ". " : "") +
      network.name + ": " + network.layers + " layers, " +
      network.macs.toLocaleString("en") + " MACs" + (left ? "; not counted: " + left : "") + "." +
      network.remarks.map((x) => " Remark: " + x + ".").join("");
  } catch (error) {
    if (error.name === "AbortError") return;
    news.textContent = "";
    tell(problem, error);
  }
}

find("file").addEventListener("change", (event) => {
  if (event.target.files.length) upload(event.target.files[0]);
});
for (const kind of ["dragenter", "dragover"]) {
  drop.addEventListener(kind, (event) => { event.preventDefault(); drop.classList.add("over"); });
}
for (const kind of ["dragleave", "drop"]) {
  drop.addEventListener(kind, () => drop.classList.remove("over"));
}
drop.addEventListener("drop", (event) => {
  event.preventDefault();
  if (event.dataTransfer.files.length) upload(event.dataTransfer.files[0]);
});

/* A number field's value, or nothing; its mistake in words. */
function numberOf(box, mistakes) {
  box.removeAttribute("aria-invalid");
  if (box.value.trim() === "" && !box.validity.badInput) return undefined;
  if (!box.checkValidity()) {
    box.setAttribute("aria-invalid", "true");
    const name = document.querySelector('label[for="' + box.id + '"]').textContent;
    mistakes.push({ path: name, message: box.validationMessage });
    return undefined;
  }
  return Number(box.value);
}

function question() {
  const mistakes = [];
  const asked = { network: find("network").value, objective: find("objective").value };
  if (find("editing").open && editor.edited()) asked.chip_yaml = editor.text();
  else asked.chip = find("chip").value;
  for (const name of ["batch", "budget"]) {
    const value = numberOf(find(name), mistakes);
    if (value !== undefined) asked[name] = value;
  }
  if (find("eyexam").checked) asked.eyexam = true;
  if (find("dataflow").value) asked.dataflow = find("dataflow").value;
  for (const kind of ["bits", "density"]) {
    asked[kind] = {};
    for (const box of form.querySelectorAll("[data-" + kind + "]")) {
      const value = numberOf(box, mistakes);
      if (value !== undefined) asked[kind][box.dataset[kind]] = value;
    }
  }
  if (mistakes.length) {
    throw new Refusal(mistakes.length === 1 ? "One setting cannot be" :
      mistakes.length + " settings cannot be", mistakes);
  }
  return asked;
}

form.addEventListener("submit", async (event) => {
  event.preventDefault();
  const button = form.querySelector("button.main");
  tell(find("problem"), null);
  button.disabled = true;
  try {
    const job = await call("POST", "/api/jobs", question());
    location.assign("/r/" + job.id);
  } catch (error) {
    tell(find("problem"), error);
    find("problem").scrollIntoView({ block: "nearest" });
  } finally {
    button.disabled = false;
  }
});
