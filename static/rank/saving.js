// Nothing is lost. Each change is kept in this browser at once and saved as a draft soon after. What
// the server does not get is sent again, later and later, until it does; a token that a sign-in in
// another tab has made void is fetched anew.

import { $, $$, changed, fill, form, person, phrase, say, values, words } from "./form.js";

const SAVE_AFTER_MS = 600;
const RETRY_MS = [2000, 4000, 8000, 15000, 30000, 60000];
const KEPT_MS = 7 * 24 * 3600 * 1000;
// The newest draft may be overwritten by the tab that wrote it, even if that never learnt that it
// was stored.
const TAB = Math.random().toString(36).slice(2, 12);

let version = 0; // of what is filled in
let saved = 0; // the version that the server has
let sent = 0; // the version that is on its way to it
let failures = 0;
let timer = null;
let waiting = null; // the version whose submission failed and is repeated
let renewed = false; // the token, for the request that failed last

const state = () => $("#draft-state");
const revision = () => $('[name="draft_revision"]').value;
const PREFIX = "prefloop";
const key = () => `${PREFIX} ${person} ${form().getAttribute("action")}`;

// ---- Kept in this browser ---------------------------------------------------------------------------

// Once for this tab, since another one may show the same task; and once in case it is closed. What
// the server got is removed, signing out removes the rest (see the view), and so does time.
// A browser that denies one says so as soon as it is named.
const stores = () =>
  ["sessionStorage", "localStorage"].flatMap((name) => {
    try {
      return [window[name]];
    } catch {
      return [];
    }
  });

function keep() {
  const kept = JSON.stringify({ revision: revision(), values: values(), at: Date.now() });
  for (const store of stores()) {
    try {
      store.setItem(key(), kept);
    } catch {
      // There is no room. The draft is on its way all the same.
    }
  }
}

function forget(name = key()) {
  for (const store of stores()) store.removeItem(name);
}

function forgetOld() {
  for (const store of stores()) {
    for (const name of Object.keys(store).filter((one) => one.startsWith(`${PREFIX} `))) {
      if (JSON.parse(store.getItem(name)).at < Date.now() - KEPT_MS) store.removeItem(name);
    }
  }
}

let keptAs = null;

export function beginSaving() {
  window.clearTimeout(timer);
  if (keptAs && !(form() && key() === keptAs)) forget(keptAs);
  forgetOld();
  [version, saved, failures, waiting, renewed] = [0, 0, 0, null, false];
  keptAs = form() && key();
  if (!form()) return;
  const found = stores().map((store) => store.getItem(key())).find(Boolean);
  const kept = JSON.parse(found || "null");
  if (!kept || JSON.stringify(kept.values) === JSON.stringify(values())) return;
  if (kept.revision === revision()) takeBack(kept.values);
  else offerBoth(kept.values);
}

function takeBack(list) {
  fill(list);
  changed();
  say(phrase("restored"));
}

function offerBoth(list) {
  const line = tell(phrase("elsewhere"), "conflict");
  const load = button(words.load, () => {
    forget();
    line.remove();
  });
  const mine = button(words.keepMine, () => {
    line.remove();
    takeBack(list);
  });
  line.append(load, mine);
}

function button(text, onClick) {
  const made = document.createElement("button");
  made.type = "button";
  made.className = "quiet";
  made.textContent = text;
  made.addEventListener("click", onClick);
  return made;
}

// The other tab's draft is loaded, or this one takes its place.
export function loadStored() {
  forget();
  version = saved;
}

export function keepMine(element) {
  $('[name="draft_revision"]').value = element.dataset.revision;
  note();
  save();
}

// ---- Sent to the server ---------------------------------------------------------------------------

export function note() {
  version += 1;
  keep();
  if (waiting !== null) {
    waiting = null;
    tell(phrase("notSent"), "conflict");
  }
  plan(SAVE_AFTER_MS);
}

export function save() {
  window.clearTimeout(timer);
  if (form() && version !== saved) window.htmx.trigger("#draft", "save");
}

function plan(ms) {
  window.clearTimeout(timer);
  timer = window.setTimeout(waiting === null ? save : submitAgain, ms);
}

function submitAgain() {
  if (form()) form().requestSubmit($(".submit"));
}

// Words of the script in the place where the server says that a draft is saved.
function tell(text, kind = "") {
  const line = document.createElement("p");
  line.className = `draft-state ${kind}`;
  if (kind) line.setAttribute("role", "alert");
  line.textContent = text;
  for (const old of $$("p", state())) old.remove();
  state().append(line);
  return line;
}

const isDraft = (event) => event.detail.elt.id === "draft";
const isSubmission = (event) => event.detail.elt.id === "ranking";

document.addEventListener("htmx:configRequest", (event) => {
  if (isDraft(event)) {
    sent = version;
    event.detail.parameters.tab = TAB;
  }
});

document.addEventListener("htmx:afterOnLoad", (event) => {
  if (!form()) return;
  const { status } = event.detail.xhr;
  if (status === 200 || status === 409) [failures, renewed] = [0, false];
  if (!isDraft(event) || status !== 200) return;
  saved = sent;
  if (version === saved) forget();
  else keep();
});

for (const name of ["htmx:sendError", "htmx:timeout"]) {
  document.addEventListener(name, (event) => again(event));
}

document.addEventListener("htmx:responseError", (event) => {
  const { status } = event.detail.xhr;
  if (status >= 500 || status === 429) again(event);
  else if (status === 403 && !renewed) renew(event);
  else if (isDraft(event) || isSubmission(event)) tell(phrase("refused"), "conflict");
});

function again(event) {
  if (!form() || !(isDraft(event) || isSubmission(event))) return;
  if (isSubmission(event)) waiting = version;
  tell(phrase(waiting === null ? "offline" : "submitOffline"), "conflict");
  plan(RETRY_MS[Math.min(failures, RETRY_MS.length - 1)]);
  failures += 1;
}

window.addEventListener("online", () => {
  if (failures) plan(0);
});

// The page itself tells whether somebody is signed in, who, and with which token.
async function renew(event) {
  const failed = event.detail.elt;
  renewed = true;
  let page;
  try {
    page = await fetch(window.location.href);
  } catch {
    return again(event);
  }
  if (!form()) return undefined;
  if (page.status === 404) return tell(phrase("otherPerson"), "conflict");
  const fresh = new DOMParser().parseFromString(await page.text(), "text/html");
  if ($('[type="password"]', fresh)) return window.location.assign(page.url);
  const token = $('[name="csrfmiddlewaretoken"]', fresh);
  if (!token) return tell(phrase("refused"), "conflict");
  for (const input of $$('[name="csrfmiddlewaretoken"]')) input.value = token.value;
  if (failed.id === "draft") save();
  else if (failed.id === "ranking") submitAgain();
  else failed.click();
  return undefined;
}

window.addEventListener("beforeunload", (event) => {
  if (form() && failures && version !== saved) event.preventDefault();
});
