// Files that the server translates: uploaded one after another, saved when they are done.

import { Refusal, ask, download } from "./server.js";
import { $, make } from "./views.js";

const BUSY = [429, 529], AWAY = [0, 503];
const TRIES = 20, LONGEST_PAUSE = 5;

const waiting = [];
let working = false;

const pause = (seconds) => new Promise((resume) => setTimeout(resume, 1000 * seconds));

// manual.docx becomes manual.en.docx, app_de.arb becomes app_en.arb.
export function translatedName(name, { source, target }) {
  const [, stem, end] = name.match(/^(.+?)(\.[^.]*)?$/s);
  const own = /^\w+$/.test(source) && stem.match(new RegExp(`^(.*[._-])${source}([-_][a-z]{2})?$`, "is"));
  return `${own ? own[1] : `${stem}.`}${target}${end || ""}`;
}

// `wanted`: domain and glossary; `served`: the answer of /v1/domains.
export function translateFiles(files, wanted, served) {
  for (const file of files) {
    const state = make("span", { className: "state" }, "Waiting."), bar = make("progress", { ariaLabel: file.name });
    const row = make("li", {}, make("b", {}, file.name), state, bar);
    $("jobs").prepend(row);
    waiting.push({ file, wanted, served, state, bar, row });
  }
  work();
}

async function work() {
  if (working) return;
  working = true;
  for (let job; (job = waiting.shift()); job.bar.remove()) {
    try {
      save(job, await translated(job));
    } catch (error) {
      if (!(error instanceof Refusal)) throw error;
      tell(job, error.message, "wrong");
    }
  }
  working = false;
}

// A row says it to the eye, the status to a screen reader, which need not hear of every second.
function tell({ file, state, row }, words, tone, ...more) {
  row.className = tone;
  state.replaceChildren(words, ...more);
  $("file-status").textContent = `${file.name}: ${words}`;
}

async function translated(job) {
  const { file, wanted, served: { codes, languages, features } } = job;
  const most = features.documents.bytes;
  if (file.size > most) throw new Refusal(413, `the file has ${file.size} bytes, at most ${most} are allowed`);
  const form = new FormData();
  const fields = { source_lang: codes.source, target_lang: languages.target, domain: wanted.domain, glossary_id: wanted.glossary };
  for (const [name, value] of Object.entries(fields)) if (value) form.append(name, value);
  form.append("file", file);
  job.state.textContent = "Uploading …";
  $("file-status").textContent = `${file.name}: being translated.`;
  const { document_id, document_key } = await patiently(job, BUSY, () => ask("v2/document", form));
  const path = `v2/document/${document_id}`, fetching = [...BUSY, ...AWAY];
  const began = Date.now();
  for (let seconds = 0.5; ; seconds = Math.min(1.5 * seconds, LONGEST_PAUSE)) {
    const status = await patiently(job, fetching, () => ask(path, { document_key }));
    if (status.status === "done") break;
    if (status.status === "error") throw new Refusal(400, status.error_message);
    draw(job, status, (Date.now() - began) / 1000);
    await pause(seconds);
  }
  return patiently(job, fetching, () => download(`${path}/result`, { document_key }));
}

function draw({ state, bar }, { status, seconds_remaining }, seconds) {
  if (status === "queued") return (state.textContent = "In the server's queue …");
  state.textContent = `Translating, about ${seconds_remaining} second${seconds_remaining === 1 ? "" : "s"} left …`;
  bar.value = seconds / (seconds + seconds_remaining);
}

// Ask again while the answer is one of these refusals.
async function patiently({ state }, refusals, request) {
  for (let tries = 1; ; tries++) {
    try {
      return await request();
    } catch (error) {
      if (tries === TRIES || !refusals.includes(error.status)) throw error;
      state.textContent = `${error.message.split(". ")[0]}. Trying again …`;
      await pause(Math.max(error.seconds, 1));
    }
  }
}

// The server keeps it no longer: the link stays until the page is closed.
function save(job, content) {
  const name = translatedName(job.file.name, job.served.codes);
  const link = make("a", { href: URL.createObjectURL(content), download: name }, name);
  tell(job, "Translated: ", "", link);
  $("file-status").textContent = `${job.file.name}: translated, saved as ${name}.`;
  link.click();
}
