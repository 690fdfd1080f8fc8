// Which words of two texts the other does not have, in the order they stand (Myers 1986, "An O(ND)
// difference algorithm and its variations").

// Two texts with more differences than this have too little in common to be worth marking, and
// looking further would take long.
const MOST = 1500;

// Ranges in the text nodes of the two elements, or null where they differ too much.
export function differing(first, second) {
  const [a, b] = [wordsOf(first), wordsOf(second)];
  const common = commonWords(a, b);
  if (common === null) return null;
  return { first: ranges(a, common.first), second: ranges(b, common.second) };
}

// Languages without spaces are split by their own rules.
const split = new Intl.Segmenter(undefined, { granularity: "word" });

function wordsOf(element) {
  const found = [];
  const walker = document.createTreeWalker(element, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const node = walker.currentNode;
    for (const { segment, index } of split.segment(node.data)) {
      if (segment.trim()) found.push({ node, start: index, end: index + segment.length, text: segment });
    }
  }
  return found;
}

// Of the words that both have in the same order, where each stands.
function commonWords(a, b) {
  const furthest = new Int32Array(2 * MOST + 3); // at MOST + 1 + diagonal: how far along a
  const at = (steps, d, k) => (steps === furthest ? furthest[MOST + 1 + k] : steps[d + 1 + k]);
  const goesDown = (steps, d, k) =>
    k === -d || (k !== d && at(steps, d, k - 1) < at(steps, d, k + 1));
  const history = [];
  for (let d = 0; d <= Math.min(MOST, a.length + b.length); d += 1) {
    history.push(furthest.slice(MOST - d, MOST + d + 3)); // the diagonals from -d - 1 to d + 1
    for (let k = -d; k <= d; k += 2) {
      const down = goesDown(furthest, d, k);
      let x = down ? at(furthest, d, k + 1) : at(furthest, d, k - 1) + 1;
      while (x < a.length && x - k < b.length && a[x].text === b[x - k].text) x += 1;
      furthest[MOST + 1 + k] = x;
      if (x >= a.length && x - k >= b.length) return backtrack(history);
    }
  }
  return null;

  function backtrack(steps) {
    const common = { first: new Set(), second: new Set() };
    let [x, y] = [a.length, b.length];
    for (let d = steps.length - 1; d >= 0; d -= 1) {
      const k = x - y;
      const before = goesDown(steps[d], d, k) ? k + 1 : k - 1;
      const fromX = d === 0 ? 0 : at(steps[d], d, before);
      const fromY = d === 0 ? 0 : fromX - before;
      while (x > fromX && y > fromY) {
        x -= 1;
        y -= 1;
        common.first.add(x);
        common.second.add(y);
      }
      [x, y] = [fromX, fromY];
    }
    return common;
  }
}

// Words in a row are one range, as long as they stand in the same text node.
function ranges(all, common) {
  const found = [];
  let open = null;
  all.forEach((word, at) => {
    if (common.has(at)) open = null;
    else if (open && open.startContainer === word.node) open.setEnd(word.node, word.end);
    else {
      open = document.createRange();
      open.setStart(word.node, word.start);
      open.setEnd(word.node, word.end);
      found.push(open);
    }
  });
  return found;
}
