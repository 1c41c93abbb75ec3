/* <vs-live><span hx-sse:connect="…"></span></vs-live>
   While the stream says nothing (blocked, buffered or refused on the way), ask every three seconds instead. */

const SILENT_AFTER = 25_000;
const ASK_EVERY = 3_000;

class Live extends HTMLElement {
  connectedCallback() {
    this.heard = 0;
    this.asked = Date.now();
    this.onMessage = () => { this.heard = Date.now(); };
    this.addEventListener("htmx:sse:after:message", this.onMessage);
    this.timer = setInterval(() => this.look(), 1000);
  }

  disconnectedCallback() {
    clearInterval(this.timer);
    this.removeEventListener("htmx:sse:after:message", this.onMessage);
  }

  look() {
    const now = Date.now();
    if (document.hidden || now - this.heard < SILENT_AFTER || now - this.asked < ASK_EVERY) return;
    this.asked = now;
    this.dispatchEvent(new CustomEvent("changed", { bubbles: true }));
  }
}

class Print extends HTMLElement {
  connectedCallback() {
    const button = this.querySelector("button");
    button.hidden = false;
    button.addEventListener("click", () => window.print());
  }
}

customElements.define("vs-live", Live);
customElements.define("vs-print", Print);
