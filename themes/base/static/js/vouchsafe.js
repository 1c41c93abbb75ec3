/* Small helpers; every page works without them.

   <vs-copy text="…" done="Copied"><button hidden>…</button></vs-copy>   copies; the button says so
   <vs-copy of="#id" done="Copied">…                                     copies what that element shows
   <vs-remask seconds="60" href="/o/V1">…</vs-remask>                    goes to href when time is up or the tab is hidden
   <vs-countdown until="2026-11-22T16:00:00Z" now="2026-11-22T15:45:00Z" over="Expired">15:00</vs-countdown>
                                                                         counts from the server's now: phones go wrong
   <vs-dialog><a href="/page">…</a><dialog>…</dialog></vs-dialog>        opens the dialog instead of the page
   <vs-fold><details open>…</details></vs-fold>                          starts closed on a small screen
   <vs-price>…</vs-price>                                                shows the price of what its form has chosen
   <form data-auto>, <select data-auto>                                  sends the form when a choice changes
   <form data-once>                                                      is sent once, however often it is clicked
   <input data-check-all="ids">                                          ticks every box of that name
*/

class Copy extends HTMLElement {
  connectedCallback() {
    const button = this.querySelector("button");
    if (!button) return;
    button.hidden = false;
    /* A page that changes by itself brings the button as the server sent it. */
    new MutationObserver(() => { if (button.hidden) button.hidden = false; }).observe(button, { attributeFilter: ["hidden"] });
    button.addEventListener("click", () => this.copy(button));
  }

  text() {
    const source = this.getAttribute("of");
    return source ? document.querySelector(source).textContent.trim() : this.getAttribute("text");
  }

  async copy(button) {
    const text = this.text();
    try {
      await navigator.clipboard.writeText(text);
    } catch {
      if (!copyByHand(text)) return;
    }
    const label = button.querySelector("span") || button;
    this.before ??= label.textContent;
    label.textContent = this.getAttribute("done");
    say(this.getAttribute("done"));
    clearTimeout(this.timer);
    this.timer = setTimeout(() => { label.textContent = this.before; }, 2500);
  }
}

/* Pages on plain http and some in-app browsers have no clipboard. */
function copyByHand(text) {
  const area = document.createElement("textarea");
  area.value = text;
  area.readOnly = true;
  area.className = "visually-hidden";
  document.body.append(area);
  area.select();
  const done = document.execCommand("copy");
  area.remove();
  return done;
}

/* Read out by screen readers, not shown. */
function say(text) {
  let voice = document.getElementById("vs-voice");
  if (!voice) {
    voice = document.createElement("p");
    voice.id = "vs-voice";
    voice.className = "visually-hidden";
    voice.setAttribute("role", "status");
    document.body.append(voice);
  }
  voice.textContent = text;
}

class Remask extends HTMLElement {
  connectedCallback() {
    this.ends = Date.now() + 1000 * Number(this.getAttribute("seconds") || 60);
    this.timer = setInterval(() => { if (Date.now() >= this.ends) this.hide(); }, 500);
    this.onHidden = () => { if (document.hidden) this.hide(); };
    document.addEventListener("visibilitychange", this.onHidden);
  }

  disconnectedCallback() {
    clearInterval(this.timer);
    document.removeEventListener("visibilitychange", this.onHidden);
  }

  hide() {
    const href = this.getAttribute("href");
    this.replaceChildren();
    this.disconnectedCallback();
    if (href) location.replace(href);
  }
}

class Countdown extends HTMLElement {
  static observedAttributes = ["until", "now"];

  connectedCallback() {
    clearInterval(this.timer);
    const now = this.getAttribute("now");
    const ahead = now ? Date.now() - Date.parse(now) : 0;
    this.until = Date.parse(this.getAttribute("until")) + ahead;
    this.timer = setInterval(() => this.show(), 1000);
    this.show();
  }

  /* The page was drawn anew, perhaps with more time. */
  attributeChangedCallback(_name, before) {
    if (before !== null && this.isConnected) this.connectedCallback();
  }

  disconnectedCallback() {
    clearInterval(this.timer);
  }

  show() {
    const left = Math.max(0, Math.round((this.until - Date.now()) / 1000));
    if (left === 0) {
      clearInterval(this.timer);
      this.textContent = this.getAttribute("over");
      this.dispatchEvent(new CustomEvent("over", { bubbles: true }));
      return;
    }
    const two = (number) => String(number).padStart(2, "0");
    const hours = Math.floor(left / 3600);
    const rest = `${two(Math.floor(left / 60) % 60)}:${two(left % 60)}`;
    this.textContent = hours ? `${hours}:${rest}` : rest;
  }
}

class Dialog extends HTMLElement {
  connectedCallback() {
    const dialog = this.querySelector("dialog");
    const opener = this.querySelector("a, button");
    if (!dialog || !dialog.showModal) return;
    opener.addEventListener("click", (event) => {
      event.preventDefault();
      dialog.showModal();
    });
    dialog.addEventListener("click", (event) => {
      if (event.target === dialog || event.target.closest("[data-close]")) dialog.close();
    });
    document.addEventListener("dialog:close", () => dialog.close());
  }
}

class Fold extends HTMLElement {
  connectedCallback() {
    if (matchMedia("(max-width: 60rem)").matches) this.querySelector("details").open = false;
  }
}

/* The price of what is chosen, in the quantity that is wanted: data-prices="¥15.00|5:¥14.00" on each choice. */
class Price extends HTMLElement {
  connectedCallback() {
    this.form = this.closest("form");
    this.form.addEventListener("input", () => this.show());
    this.show();
  }

  show() {
    const sku = this.form.querySelector("[name=sku]:checked, [name=sku][type=hidden]");
    if (!sku) return;
    const quantity = this.form.elements.quantity;
    const { prices, least, most } = sku.dataset;
    if (quantity?.type === "number") Object.assign(quantity, { min: least, max: most });
    const [plain, ...tiers] = prices.split("|");
    let text = plain;
    for (const tier of tiers) {
      const at = tier.indexOf(":");
      if (Number(quantity?.value) >= Number(tier.slice(0, at))) text = tier.slice(at + 1);
    }
    this.textContent = text;
    for (const table of this.form.querySelectorAll("table[data-of]")) table.hidden = table.dataset.of !== sku.value;
  }
}

for (const [name, element] of Object.entries({
  "vs-copy": Copy, "vs-remask": Remask, "vs-countdown": Countdown, "vs-dialog": Dialog, "vs-fold": Fold, "vs-price": Price,
})) customElements.define(name, element);

document.addEventListener("change", (event) => {
  if (event.target.closest("[data-auto]")) event.target.form.requestSubmit();
  const name = event.target.dataset?.checkAll;
  if (name) {
    for (const box of document.querySelectorAll(`input[type=checkbox][name="${CSS.escape(name)}"]`)) {
      box.checked = event.target.checked;
    }
  }
});

document.addEventListener("submit", (event) => {
  const form = event.target.closest("form[data-once]");
  if (!form) return;
  if (form.dataset.sent) event.preventDefault();
  form.dataset.sent = "1";
});
/* A page that comes back from the browser's memory may be sent again. */
addEventListener("pageshow", () => {
  for (const form of document.querySelectorAll("form[data-sent]")) delete form.dataset.sent;
});

/* Menus close on a click elsewhere and when the focus leaves; on Escape they give it back. */
for (const left of ["click", "focusin"]) {
  document.addEventListener(left, (event) => {
    for (const menu of document.querySelectorAll("details.menu[open]")) {
      if (!menu.contains(event.target)) menu.open = false;
    }
  });
}
/* What opens in a table that scrolls is seen. */
document.addEventListener("toggle", (event) => {
  if (event.target.matches(".actions .confirm[open]")) event.target.lastElementChild.scrollIntoView({ block: "nearest" });
}, true);
document.addEventListener("keydown", (event) => {
  const open = document.activeElement?.closest("details:is(.menu, .confirm)[open]") || document.querySelector("details.menu[open]");
  if (event.key !== "Escape" || !open) return;
  open.open = false;
  open.querySelector("summary").focus();
});

/* HX-Trigger: {"toast": {"text": "…", "kind": "success"}} */
document.addEventListener("toast", (event) => {
  const { text, kind } = event.detail;
  const toast = document.createElement("div");
  toast.className = `toast toast-${kind}`;
  const line = document.createElement("p");
  line.textContent = text;
  toast.append(line);
  document.getElementById("toasts").append(toast);
});
/* What somebody pressed and got no answer to. What a page asks for by itself it asks for again. */
document.addEventListener("htmx:error", (event) => {
  const { ctx, error } = event.detail;
  if (!["submit", "click"].includes(ctx?.sourceEvent?.type) || error?.name === "AbortError") return;
  const text = document.getElementById("toasts").dataset.lost;
  document.dispatchEvent(new CustomEvent("toast", { detail: { text, kind: "error" } }));
});
/* Every toast, whoever put it there, leaves by itself after a while, unless it is being read. */
new MutationObserver((changes) => {
  for (const change of changes) {
    for (const toast of change.addedNodes) {
      if (!toast.classList) continue;
      const leave = () => { if (toast.matches(":hover, :focus-within")) setTimeout(leave, 2000); else toast.remove(); };
      setTimeout(leave, 8000);
    }
  }
}).observe(document.getElementById("toasts"), { childList: true });
