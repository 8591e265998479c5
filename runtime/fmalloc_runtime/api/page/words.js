// Texts word by word: where two differ, and where sentences stand in one.

// Lines that need a larger table than this differ as a whole.
const CELLS = 4e6;

const words = (text) => text.match(/\s+|[\p{L}\p{M}\p{N}'’-]+|[^\s\p{L}\p{N}]/gu) || [];
const lines = (text) => text.split(/(?<=\n)/);

// [{text, differs}] that together are `text`. A part without text stands where `reference` has words and `text` none.
export function differences(reference, text) {
  const before = lines(reference), after = lines(text);
  const pairs = before.length === after.length ? after.map((line, at) => [before[at], line]) : [[reference, text]];
  return pairs.flatMap(([left, right]) => lineDifferences(words(left), words(right)));
}

// By the longest common subsequence of words. Space never differs.
function lineDifferences(left, right) {
  const rows = left.length, columns = right.length;
  if (rows * columns > CELLS) return [{ text: right.join(""), differs: left.join() !== right.join() }];
  const longest = new Uint16Array((rows + 1) * (columns + 1));
  const at = (row, column) => row * (columns + 1) + column;
  for (let row = rows - 1; row >= 0; row--)
    for (let column = columns - 1; column >= 0; column--)
      longest[at(row, column)] = left[row] === right[column]
        ? longest[at(row + 1, column + 1)] + 1
        : Math.max(longest[at(row + 1, column)], longest[at(row, column + 1)]);
  const parts = [];
  let missing = false;
  for (let row = 0, column = 0; row < rows || column < columns; ) {
    const text = right[column];
    if (column === columns || (row < rows && left[row] !== text && longest[at(row + 1, column)] >= longest[at(row, column + 1)])) {
      if (left[row++].trim() && !parts.at(-1)?.differs) missing = true;
      continue;
    }
    const differs = left[row] !== text && !!text.trim();
    if (missing && !differs) parts.push({ text: "", differs: true });
    if (left[row] === text) row++;
    parts.push({ text, differs });
    missing = false;
    column++;
  }
  return missing ? [...parts, { text: "", differs: true }] : parts;
}

// [{text, index}] that together are `text`: pieces that stand in it in this order have their index, the rest has none.
// Tags and the width of space count for nothing.
export function placed(text, pieces, html) {
  const all = [...text.matchAll(html ? /<[^>]*>|\s+|[^]/g : /\s+|[^]/g)];
  const letters = all.filter(([letter]) => !/^<[^]/.test(letter));
  const plain = letters.map(([letter]) => letter.trim() || " ").join("");
  const found = [];
  let from = 0, end = 0;
  pieces.forEach((piece, index) => {
    const wanted = piece.replace(/\s+/g, " ");
    const at = wanted ? plain.indexOf(wanted, from) : -1;
    if (at < 0) return;
    from = at + wanted.length;
    const begin = letters[at].index, last = letters[from - 1];
    found.push({ text: text.slice(end, begin) }, { text: text.slice(begin, (end = last.index + last[0].length)), index });
  });
  return [...found, { text: text.slice(end) }];
}

// The text in pieces, every second of which stands in `spans`: disjoint, in code points. Both together are the text.
export function cut(text, spans) {
  const letters = [...text], pieces = [];
  let at = 0;
  for (const [begin, end] of [...spans].sort(([left], [right]) => left - right)) {
    if (begin < at) continue;
    pieces.push(letters.slice(at, begin).join(""), letters.slice(begin, end).join(""));
    at = end;
  }
  return [...pieces, letters.slice(at).join("")];
}
