// The form as it stands: what is chosen, how it is said, and how it was before.
//
// htmx puts in a new form after each ranking, so nothing here keeps hold of an element.

export const $ = (selector, root = document) => root.querySelector(selector);
export const $$ = (selector, root = document) => Array.from(root.querySelectorAll(selector));

const data = (id, fallback) => {
  const block = document.getElementById(id);
  return (block && JSON.parse(block.textContent)) || fallback;
};
export const words = data("rank-words", {});
export const keys = data("rank-keys", {});
export const person = data("rank-person", "");

// "Put {n} here": the words of that name, with the values in place of the names in braces.
export function phrase(name, values = {}) {
  return words[name].replace(/\{(\w+)\}/g, (_, key) => values[key]);
}

export function say(text) {
  const status = $("#status");
  if (!status || !text) return;
  // A live region that is given the same text again says nothing.
  status.textContent = status.textContent === text ? `${text}\u00a0` : text;
}

export const form = () => $("#ranking");
export const isPair = () => form().dataset.k === "2";
export const inRounds = () => "rounds" in form().dataset;
export const allowsTies = () => "ties" in form().dataset;
export const letters = () => $$(".response").map((one) => one.dataset.letter);
export const card = (letter) => $(`.response[data-letter="${letter}"]`);
export const isCovered = () => Boolean($(".cover:not([open])"));
export const upper = (list) => list.map((letter) => letter.toUpperCase()).join(", ");

// ---- Places -----------------------------------------------------------------------------------

export const radios = (letter) => $$(`[name="rank-${letter}"]`);

export function rankOf(letter) {
  const chosen = radios(letter).find((radio) => radio.checked);
  return chosen ? Number(chosen.value) : null;
}

export const placeName = (rank) => $(`.tier[data-place="${rank}"] .tier-name`).textContent;
export const unranked = () => letters().filter((letter) => rankOf(letter) === null);

// Give each letter its rank (null takes it away), as one change. Where ties are not allowed, who
// held a place makes room for who gets it.
export function place(ranks) {
  if (!allowsTies()) {
    const given = Object.values(ranks);
    for (const letter of letters()) {
      if (!(letter in ranks) && rankOf(letter) !== null && given.includes(rankOf(letter))) {
        ranks[letter] = null;
      }
    }
  }
  for (const [letter, rank] of Object.entries(ranks)) {
    for (const radio of radios(letter)) radio.checked = Number(radio.value) === rank;
  }
  changed();
}

export function changed(element = form()) {
  element.dispatchEvent(new Event("change", { bubbles: true }));
}

// What is not said yet, or nothing where the form can be sent.
export function missing() {
  const bad = $$('[name="unacceptable"]').every((box) => box.checked);
  if (isPair()) return bad || $('[name="better"]:checked') ? "" : phrase("missingPair");
  const left = unranked();
  if (!left.length || (bad && left.length === letters().length)) return "";
  return phrase("missing", { letters: upper(left) });
}

// ---- All of it, to keep and to bring back -------------------------------------------------------

const kept = (input) => input.name && (input.type !== "hidden" && input.type !== "submit");

// [[name, value], …] of what is chosen and written.
export function values() {
  return Array.from(form().elements)
    .filter((input) => kept(input) && (input.checked || !/^(radio|checkbox)$/.test(input.type)))
    .map((input) => [input.name, input.value]);
}

export function fill(list) {
  const has = new Set(list.map((pair) => pair.join("\u0000")));
  const texts = new Map(list);
  for (const input of Array.from(form().elements).filter(kept)) {
    if (/^(radio|checkbox)$/.test(input.type)) {
      input.checked = has.has(`${input.name}\u0000${input.value}`);
    } else input.value = texts.get(input.name) || "";
  }
}

// ---- In words -----------------------------------------------------------------------------------

// What differs between two states, said so that one who does not see the page knows it.
export function spoken(before, after) {
  const [old, now] = [new Map(before), new Map(after)];
  const marked = (list) => list.filter(([name]) => name === "unacceptable").map(([, x]) => x);
  const said = [];
  if (isPair() && old.get("better") !== now.get("better") && now.get("better")) {
    said.push($(`[name="better"][value="${now.get("better")}"]`).closest("label").textContent);
  }
  for (const letter of isPair() ? [] : letters()) {
    const rank = now.get(`rank-${letter}`);
    if (rank === old.get(`rank-${letter}`)) continue;
    const equal = letters().filter((x) => x !== letter && now.get(`rank-${x}`) === rank);
    const values = { letter: letter.toUpperCase(), others: upper(equal) };
    if (!rank) said.push(phrase("removed", values));
    else said.push(phrase(equal.length ? "tied" : "placed", { ...values, place: placeName(rank) }));
  }
  const [was, is] = [marked(before), marked(after)];
  for (const letter of letters()) {
    if (was.includes(letter) === is.includes(letter)) continue;
    const name = is.includes(letter) ? "unacceptable" : "acceptable";
    said.push(phrase(name, { letter: letter.toUpperCase() }));
  }
  for (const [name] of before) {
    const answer = $(`#ranking .toggle [type="radio"][name="${name}"]`);
    if (answer && !now.has(name)) {
      const question = $("legend", answer.closest("fieldset")).textContent;
      said.push(phrase("unanswered", { question }));
    }
  }
  return said.join(". ");
}

// "B › A = C": the letters by rank, equal ones joined.
export function order() {
  const ranked = letters().filter((letter) => rankOf(letter) !== null);
  const ranks = [...new Set(ranked.map(rankOf))].sort((a, b) => a - b);
  const tier = (rank) => ranked.filter((letter) => rankOf(letter) === rank);
  return ranks.map((rank) => tier(rank).join(" = ").toUpperCase()).join(" › ");
}
