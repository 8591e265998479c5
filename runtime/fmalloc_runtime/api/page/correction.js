// Correcting a sentence of the translation.

import { ask } from "./server.js";
import { $ } from "./views.js";

const drafts = new WeakMap(); // of sentences that were left without sending
let edited = null; // the sentence in the editor

export const isEditing = () => !!edited;

function leave() {
  if (edited) drafts.set(edited, $("corrected").value);
}

export function edit(sentence) {
  leave();
  edited = sentence;
  $("corrected-source").textContent = sentence.source;
  $("corrected").value = drafts.get(sentence) ?? sentence.translation;
  $("correction").hidden = false;
}

export function close() {
  leave();
  edited = null;
  $("correction").hidden = true;
}

// What became of it, in plain words; `after`: the sentence with its new translation, if the server took it.
export async function send(domain) {
  const before = edited, target = $("corrected").value.trim();
  const { corrections: [{ result, reason }] } = await ask("v1/corrections", { source: before.source, target, domain });
  if (result === "refused") return { said: `The correction was not taken: ${reason}.` };
  if (edited === before) edited = null;
  const said = result === "kept" ? `The correction is kept for the domain ${domain}.` : "This correction was known already.";
  return { said, before, after: { source: before.source, translation: before.translation, corrected: target } };
}
