/* The form: a network, a chip, settings; and the upload. */
import { Refusal, call, element, tell } from "./api.js";
import { chipEditor } from "./editor.js";

const find = (id) => document.getElementById(id);
const form = find("ask");
const drop = find("drop");
const news = find("upload-news");
let uploading = null;
let chosen = null;
let chipFacts = null;
let networkFacts = null;

const editor = chipEditor({
  area: find("yaml"), gutter: document.querySelector(".gutter"),
  news: find("chip-news"), problems: find("chip-problems"),
}, (found) => {
  chipFacts = found;
  find("edit-words").textContent = editor.edited() ? "Its file, edited" : "Edit its file";
  heed();
});

const asked = find("yaml").value !== "";
if (asked) editor.load(find("chip").value, true);
find("editing").addEventListener("toggle", () => {
  if (find("editing").open && find("yaml").value === "") editor.load(find("chip").value);
});
find("chip").addEventListener("change", () => {
  if (find("editing").open) editor.load(find("chip").value);
  else find("yaml").value = "";
  find("edit-words").textContent = "Edit its file";
});
find("chip-back").addEventListener("click", () => editor.load(find("chip").value));

/* What the file leaves open, as the API takes it. */
function openSizes(query) {
  for (const part of find("dims").value.split(",")) {
    const text = part.trim();
    if (!text) continue;
    if (!/^[^=]{1,80}=[1-9][0-9]{0,8}$/.test(text)) {
      throw new Refusal("Sizes are written name=number, with commas between them, not " + text);
    }
    query.append("dim", text);
  }
  const mistakes = [];
  const context = numberOf(find("context"), mistakes);
  if (mistakes.length) throw new Refusal("The context cannot be", mistakes);
  if (context !== undefined) query.append("context", context);
  if (find("phase").value) query.append("phase", find("phase").value);
}

const MODELS = /\.(onnx|tflite|pt2|gguf|csv|txt)$/i;
const HEADS = /\.(gguf|safetensors)$/i;
const FOLDER = /^(config\.json|.*\.safetensors|.*\.safetensors\.index\.json)$/;
const LONGEST_HEAD = 64 * 1048576;

/* The part of a file that is read: of files whose header says it all, the header. */
async function partOf(file) {
  if (!HEADS.test(file.name)) return file;
  if (/\.gguf$/i.test(file.name)) return file.slice(0, LONGEST_HEAD);
  const start = new DataView(await file.slice(0, 8).arrayBuffer());
  const header = start.byteLength === 8 ? Number(start.getBigUint64(0, true)) : 0;
  return file.slice(0, Math.min(8 + header, LONGEST_HEAD));
}

/* The files that are sent, and those that are too large to be: weights, without which the
 * structure is still read. */
async function toSend(files) {
  const largest = Number(form.dataset.largest);
  const alone = files.length > 1 && !files.some((x) => MODELS.test(x.name));
  const wanted = alone ? files.filter((x) => FOLDER.test(x.name)) : files;
  const parts = await Promise.all((wanted.length ? wanted : files).map(
    async (file) => ({ name: file.name, part: await partOf(file) })));
  const left = [];
  const size = () => parts.reduce((sum, x) => sum + x.part.size, 0);
  while (size() > largest) {
    const weights = parts.filter((x) => !MODELS.test(x.name));
    if (!weights.length || parts.length === 1) {
      throw new Refusal(parts[0].name + " is larger than " + Math.round(largest / 1048576) + " MiB");
    }
    const heaviest = weights.reduce((a, b) => (a.part.size > b.part.size ? a : b));
    parts.splice(parts.indexOf(heaviest), 1);
    left.push(heaviest.name);
  }
  return { parts, left };
}

function described(network, left) {
  const lost = network.unmodelled.map((x) => x.op + " ×" + x.count).join(", ");
  const none = network.not_counted.map((x) => x.op + " ×" + x.count).join(", ");
  const layers = network.layers === 1 ? "1 layer" : network.layers + " layers";
  return (lost ? "Incomplete, these multiply and are in no layer: " + lost + ". " : "") +
    network.name + ": " + layers + ", " + network.macs.toLocaleString("en") + " MACs" +
    (none ? "; not counted: " + none : "") + "." +
    left.map((x) => " " + x + " is too large to be sent: structure alone, at density 1.").join("") +
    network.remarks.map((x) => " Remark: " + x + ".").join("");
}

/* No network stands where one was refused. */
function deselect(why) {
  const none = find("no-network");
  none.textContent = "none: " + why;
  none.selected = true;
  networkFacts = null;
}

async function upload(files, folder) {
  const problem = find("upload-problem");
  const title = folder || files[0].name;
  tell(problem, null);
  chosen = { files, folder };
  find("read-again").disabled = false;
  if (uploading) uploading.abort();
  uploading = new AbortController();
  const mine = uploading;
  deselect("reading " + title);
  try {
    const query = new URLSearchParams();
    openSizes(query);
    if (folder) query.append("name", folder);
    const { parts, left } = await toSend(files);
    for (const { name, part } of parts) {
      query.append("file", name);
      query.append("size", part.size);
    }
    news.textContent = "Reading " + title + " …";
    const network = await call("POST", "/api/networks?" + query, undefined, {
      body: new Blob(parts.map((x) => x.part)), signal: mine.signal,
      headers: { "content-type": "application/octet-stream" },
    });
    const group = find("uploaded");
    group.hidden = false;
    let option = Array.from(group.children).find((x) => x.value === network.id);
    if (!option) option = element("option", network.name, group, { value: network.id });
    option.selected = true;
    networkFacts = network;
    news.textContent = described(network, left);
    heed();
  } catch (error) {
    if (error.name === "AbortError") return;
    news.textContent = "";
    deselect(title + " was refused");
    if (/only names|dims?\b|size/i.test(error.message)) find("open-sizes").open = true;
    tell(problem, error);
  }
}

/* The files of what was dropped; of a folder those in it, and its name. */
async function dropped(transfer) {
  const entries = Array.from(transfer.items, (x) => x.webkitGetAsEntry && x.webkitGetAsEntry());
  const folder = entries.find((x) => x && x.isDirectory);
  if (!folder) return { files: Array.from(transfer.files) };
  const reader = folder.createReader();
  const inside = [];
  for (;;) {
    const some = await new Promise((done, fail) => reader.readEntries(done, fail));
    if (!some.length) break;
    inside.push(...some.filter((x) => x.isFile));
  }
  const files = await Promise.all(inside.map((x) => new Promise((done, fail) => x.file(done, fail))));
  return { files, folder: folder.name };
}

find("file").addEventListener("change", (event) => {
  if (event.target.files.length) upload(Array.from(event.target.files));
});
find("read-again").addEventListener("click", () => {
  if (chosen) upload(chosen.files, chosen.folder);
});
for (const kind of ["dragenter", "dragover"]) {
  drop.addEventListener(kind, (event) => { event.preventDefault(); drop.classList.add("over"); });
}
for (const kind of ["dragleave", "drop"]) {
  drop.addEventListener(kind, () => drop.classList.remove("over"));
}
drop.addEventListener("drop", async (event) => {
  event.preventDefault();
  const { files, folder } = await dropped(event.dataTransfer);
  if (files.length) upload(files, folder);
});

/* What the chip heeds: what it does not is grey, with the reason in words. */
function heed() {
  const grey = find("without-effect");
  grey.replaceChildren();
  if (!chipFacts) return;
  find("chip-facts").textContent = chipFacts.name + ": " +
    chipFacts.elements.toLocaleString("en") + " processing elements, " + chipFacts.bits + " bits, " +
    (chipFacts.joules ? "energies in joules (" + chipFacts.joules + ")."
      : "energies as multiples of that of one MAC, E_MAC.");
  find("own-dataflow").textContent = "the chip's own: " + chipFacts.dataflow;
  const reasons = new Map();
  for (const option of find("dataflow").options) {
    const why = chipFacts.dataflows[option.value];
    option.disabled = Boolean(why);
    option.title = why || "";
    if (why && option.selected) find("own-dataflow").selected = true;
    if (why) reasons.set(option.value, why);
  }
  if (reasons.size) {
    const names = Array.from(reasons.keys()).join(", ");
    element("li", "Dataflows " + names + ": " + reasons.values().next().value +
      (reasons.size > 1 ? "; the others likewise." : "."), grey);
  }
  for (const box of form.querySelectorAll("[data-density]")) {
    const why = chipFacts.densities[box.dataset.density];
    box.disabled = Boolean(why);
    box.title = why || "";
    if (why) element("li", box.dataset.density + " density: " + why + ".", grey);
  }
  grey.hidden = !grey.children.length;
  widths();
}

/* A chip narrower than the network offers its own width. */
function widths() {
  const note = find("widths");
  const filled = [];
  for (const box of form.querySelectorAll("[data-bits]")) {
    const own = networkFacts && networkFacts.bits[box.dataset.bits];
    const narrow = own && chipFacts.bits < own;
    if (box.dataset.offered && box.value === box.dataset.offered) box.value = "";
    delete box.dataset.offered;
    if (!narrow || box.value !== "") continue;
    box.value = box.dataset.offered = String(chipFacts.bits);
    filled.push(box.dataset.bits);
  }
  note.hidden = !filled.length;
  note.textContent = filled.length ? chipFacts.name + " computes with " + chipFacts.bits +
    " bits, " + networkFacts.name + " has up to " + Math.max(...Object.values(networkFacts.bits)) +
    ": the chip's width is filled in for " + filled.join(", ") + "." : "";
}

let facts = 0;
async function learnChip() {
  const mine = ++facts;
  const name = find("chip").value;
  const found = await call("GET", "/api/chips/" + encodeURIComponent(name) + "/controls");
  if (mine !== facts || editor.edited()) return;
  chipFacts = found;
  heed();
}

async function learnNetwork() {
  const name = find("network").value;
  if (!name) return;
  const found = await call("GET", "/api/networks/" + encodeURIComponent(name));
  if (name !== find("network").value) return;
  networkFacts = found;
  heed();
}

find("network").addEventListener("change", () => {
  news.textContent = "";
  tell(find("upload-problem"), null);
  learnNetwork();
});
find("chip").addEventListener("change", learnChip);
learnChip();
learnNetwork();

const pick = find("pick");
if (pick) {
  const count = () => {
    const many = pick.querySelectorAll("input:checked").length;
    find("compare").disabled = many !== 2;
    find("compare-why").textContent = many === 2 ? "" : many + " of two results chosen.";
  };
  pick.addEventListener("change", count);
  window.addEventListener("pageshow", count);
}

/* A number field's value, or nothing; its mistake in words. */
function numberOf(box, mistakes) {
  box.removeAttribute("aria-invalid");
  if (box.disabled) return undefined;
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
  if (!find("network").value) throw new Refusal("Choose a network first.");
  const asked = { network: find("network").value, objective: find("objective").value };
  if (editor.edited()) asked.chip_yaml = editor.text();
  else asked.chip = find("chip").value;
  for (const name of ["batch", "budget"]) {
    const value = numberOf(find(name), mistakes);
    if (value !== undefined) asked[name] = value;
  }
  if (find("eyexam").checked) asked.eyexam = true;
  if (find("others").checked) asked.others = "count";
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
