/* Calls of the JSON API, and its refusals as they are shown. Nothing here writes markup. */

export class Refusal extends Error {
  constructor(message, mistakes) {
    super(message);
    this.mistakes = mistakes || [];
  }
}

export async function call(method, path, body, more = {}) {
  const options = { method, ...more };
  if (body !== undefined && !more.body) {
    options.body = JSON.stringify(body);
    options.headers = { "content-type": "application/json" };
  }
  let answer;
  try {
    answer = await fetch(path, options);
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Refusal("The server does not answer. Is it still running?");
  }
  const record = await answer.json().catch(() => null);
  if (!answer.ok) {
    const error = (record && record.error) || {};
    throw new Refusal(error.message || "The server answered " + answer.status, error.mistakes);
  }
  return record;
}

export function element(tag, text, parent, attributes = {}) {
  const made = document.createElement(tag);
  if (text !== undefined && text !== null) made.textContent = text;
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  if (parent) parent.append(made);
  return made;
}

/* Show a refusal in *box*, or nothing. */
export function tell(box, error) {
  box.replaceChildren();
  box.hidden = !error;
  if (!error) return;
  element("p", error.message, box);
  const mistakes = error.mistakes || [];
  if (mistakes.length > 1 || (mistakes.length === 1 && !error.message.includes(mistakes[0].message))) {
    const list = element("ul", null, box);
    for (const mistake of mistakes) {
      const item = element("li", null, list);
      element("code", mistake.path, item);
      item.append(": " + mistake.message);
    }
  }
}

export function later(milliseconds, work) {
  let timer = 0;
  return (...given) => {
    clearTimeout(timer);
    timer = setTimeout(() => work(...given), milliseconds);
  };
}

/* Follow a job; *news* is called with each of its records. Returns how to stop. */
export function follow(id, news) {
  const source = new EventSource("/api/jobs/" + id + "/events");
  source.addEventListener("job", (event) => {
    const job = JSON.parse(event.data);
    if (["done", "failed", "cancelled"].includes(job.state)) source.close();
    news(job);
  });
  return () => source.close();
}
