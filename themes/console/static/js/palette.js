/* Ctrl-K (or ⌘K): the search over everything in a dialog. Without JavaScript the link leads to the page of it.
   Arrows move, Enter opens, Esc closes. What is typed is posted: it may be a code, and no code stands in an address. */

class Palette extends HTMLElement {
  connectedCallback() {
    this.link = this.querySelector("a");
    this.dialog = this.querySelector("dialog");
    if (!this.dialog || !this.dialog.showModal) return;
    this.input = this.dialog.querySelector("input[type=search]");
    this.list = this.dialog.querySelector(".found");
    this.onKey = (event) => {
      if ((event.ctrlKey || event.metaKey) && !event.altKey && !event.shiftKey && event.key.toLowerCase() === "k") {
        event.preventDefault();
        this.open();
      }
    };
    document.addEventListener("keydown", this.onKey);
    this.link.addEventListener("click", (event) => { event.preventDefault(); this.open(); });
    this.dialog.addEventListener("click", (event) => { if (event.target === this.dialog) this.dialog.close(); });
    this.dialog.addEventListener("keydown", (event) => this.move(event));
    this.dialog.querySelector("form").addEventListener("submit", (event) => {
      const first = this.links()[0];
      if (this.fresh && first) { event.preventDefault(); first.click(); }
    });
    this.input.addEventListener("input", () => {
      this.fresh = false;
      clearTimeout(this.timer);
      this.timer = setTimeout(() => this.look(), 150);
    });
  }

  disconnectedCallback() {
    document.removeEventListener("keydown", this.onKey);
  }

  open() {
    if (this.dialog.open) return;
    this.dialog.showModal();
    this.input.select();
    this.look();
  }

  links() {
    return [...this.list.querySelectorAll("a")];
  }

  move(event) {
    const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    if (!step) return;
    event.preventDefault();
    const stops = [this.input, ...this.links()];
    const at = stops.indexOf(document.activeElement);
    stops[(at + step + stops.length) % stops.length].focus();
  }

  async look() {
    const asked = this.asked = {};
    const body = new URLSearchParams(new FormData(this.dialog.querySelector("form")));
    const answer = await fetch("/admin/search", { method: "POST", body, headers: { "HX-Request": "true" } });
    if (asked !== this.asked || !answer.ok) return;
    this.list.innerHTML = await answer.text();
    this.fresh = true;
  }
}

customElements.define("vs-palette", Palette);
