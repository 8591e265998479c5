// The glossaries that the server keeps for this key, and which of them is chosen.

import { ask } from "./server.js";
import { $, make } from "./views.js";

export const glossary = () => $("glossary").value || undefined;

// Those of the language pair that is served.
export async function readGlossaries({ features, codes }) {
  const answer = features.glossaries ? await ask("v3/glossaries").catch(() => null) : null;
  const fits = (one) => one.source_lang === codes.source && one.target_lang === codes.target;
  const found = (answer?.glossaries || []).filter((one) => one.dictionaries.some(fits));
  const chosen = glossary();
  const options = found.map((one) => make("option", { value: one.glossary_id, selected: one.glossary_id === chosen }, one.name));
  $("glossary").replaceChildren(make("option", { value: "" }, "None"), ...options);
  $("glossary-label").hidden = !found.length;
}
