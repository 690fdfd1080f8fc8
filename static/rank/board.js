// The board of tiers, and for many responses the rounds of best and worst. Both only show and set
// the places chosen in the cards.

import {
  $, $$, allowsTies, card, form, inRounds, isPair, letters, order, phrase, place, placeName, rankOf, say,
  unranked,
} from "./form.js";

let picked = null; // the letter that the next tier is for

export function draw() {
  if (!form() || isPair()) return;
  for (const letter of letters()) {
    const rank = rankOf(letter);
    const name = rank === null ? phrase("unranked") : placeName(rank);
    const token = $(`.token[data-does="token"][data-letter="${letter}"]`);
    const tier = $(`.tier[data-place="${rank === null ? "" : rank}"] .tier-letters`);
    if (token.parentElement !== tier) {
      const focused = document.activeElement === token;
      tier.append(token);
      if (focused) token.focus({ preventScroll: true });
    }
    token.setAttribute("aria-label", `${letter.toUpperCase()}, ${name}`);
    token.setAttribute("aria-pressed", String(picked === letter));
    card(letter).classList.toggle("ranked", rank !== null);
    $(".place", card(letter)).textContent = rank === null ? "" : name;
    if (rank !== null) card(letter).classList.remove("missing");
  }
  for (const tier of $$(".tier")) tier.classList.toggle("filled", Boolean($(".token", tier)));
  const rest = $(".board .rest");
  if (rest) rest.disabled = !unranked().length;
  $(".order").textContent = order() || $(".order").dataset.empty;
  if (inRounds()) drawRound();
}

// ---- Tap a letter, then a tier; or drag it there ------------------------------------------------

export function pick(token) {
  picked = picked === token.dataset.letter ? null : token.dataset.letter;
  draw();
  if (picked) say(phrase("picked", { letter: picked.toUpperCase() }));
}

export function dropAt(tier, letter = picked) {
  if (!letter) return say(phrase("pick"));
  picked = null;
  place({ [letter]: Number(tier.dataset.place) || null });
}

export function forget() {
  picked = null;
}

const DRAG_PX = 8;
let drag = null;

document.addEventListener("pointerdown", (event) => {
  const token = event.target.closest('.token[data-does="token"]');
  if (token && event.button === 0) drag = { token, x: event.clientX, y: event.clientY, moved: false };
});

document.addEventListener("pointermove", (event) => {
  if (!drag) return;
  const [x, y] = [event.clientX - drag.x, event.clientY - drag.y];
  if (!drag.moved && Math.hypot(x, y) < DRAG_PX) return;
  drag.moved = true;
  drag.token.classList.add("dragged");
  drag.token.style.translate = `${x}px ${y}px`;
  mark(tierAt(event));
});

document.addEventListener("pointerup", (event) => {
  if (!drag) return;
  const { token, moved } = drag;
  endDrag();
  if (!moved) return;
  const tier = tierAt(event);
  if (tier) dropAt(tier, token.dataset.letter);
  // The click that follows a drag is not a tap on the letter.
  const swallow = (click) => click.stopPropagation();
  document.addEventListener("click", swallow, { capture: true, once: true });
  window.setTimeout(() => document.removeEventListener("click", swallow, { capture: true }), 0);
});

document.addEventListener("pointercancel", endDrag);

function endDrag() {
  if (!drag) return;
  drag.token.classList.remove("dragged");
  drag.token.style.translate = "";
  mark(null);
  drag = null;
}

function tierAt(event) {
  const under = document.elementsFromPoint(event.clientX, event.clientY);
  return under.map((element) => element.closest(".tier")).find(Boolean);
}

function mark(tier) {
  for (const one of $$(".tier.over")) one.classList.remove("over");
  if (tier) tier.classList.add("over");
}

// ---- Moves --------------------------------------------------------------------------------------

const last = () => letters().length;
const taken = () => new Set(letters().map(rankOf));
const free = () => letters().map((_, n) => n + 1).filter((rank) => !taken().has(rank));

// The best, or the worst; in rounds, of those left. Whoever stood there moves on by one.
export function extreme(letter, which) {
  if (inRounds()) return takeInRound(letter, which);
  const end = which === "best" ? 1 : last();
  const step = which === "best" ? 1 : -1;
  const ranks = { [letter]: end };
  if (letters().some((other) => other !== letter && rankOf(other) === end)) {
    for (const other of letters()) {
      const rank = rankOf(other);
      if (other !== letter && rank !== null) {
        ranks[other] = Math.min(last(), Math.max(1, rank + step));
      }
    }
  }
  place(ranks);
}

export function move(letter, by) {
  const rank = rankOf(letter);
  const next = rank === null ? (by < 0 ? 1 : last()) : rank + by;
  if (next >= 1 && next <= last()) place({ [letter]: next });
}

export function restEqual() {
  const left = unranked();
  if (!left.length || !allowsTies()) return;
  const worst = Math.max(0, ...letters().map(rankOf).filter(Boolean));
  const rank = inRounds() ? free()[0] : Math.min(last(), worst + 1);
  place(Object.fromEntries(left.map((letter) => [letter, rank])));
}

// ---- Rounds -------------------------------------------------------------------------------------

// The best of those left gets the first free place, the worst the last one, until one is left.
function takeInRound(letter, which) {
  const ranks = { [letter]: null };
  const places = rankOf(letter) === null ? free() : [...free(), rankOf(letter)].sort((a, b) => a - b);
  ranks[letter] = which === "best" ? places[0] : places.at(-1);
  const left = unranked().filter((other) => other !== letter);
  if (left.length === 1) {
    ranks[left[0]] = places.filter((rank) => rank !== ranks[letter])[0];
  }
  place(ranks);
}

const asked = () => ((last() - unranked().length) % 2 ? "worst" : "best");

function drawRound() {
  const left = unranked();
  const title = left.length
    ? phrase(asked() === "best" ? "roundBest" : "roundWorst", { n: left.length })
    : phrase("roundsDone");
  $(".round-title").textContent = title;
  for (const token of $$('[data-does="round"]')) token.hidden = !left.includes(token.dataset.letter);
  const rest = $(".rounds [data-does=rest]");
  if (rest) rest.hidden = left.length < 2;
}

export const roundTitle = () => (inRounds() ? $(".round-title").textContent : "");
export const answerRound = (token) => extreme(token.dataset.letter, asked());
