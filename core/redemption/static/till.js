/* The till's helpers; the page works without them.

   <vs-scan for="f-code" wait="…" fail="…"><button hidden>…</button></vs-scan>
       where the browser reads bar codes: shows the camera, puts what it reads into that field and sends its form
   <vs-print><button hidden>…</button></vs-print>   prints the page
*/

const PAUSE = 150;

class Scan extends HTMLElement {
  connectedCallback() {
    const button = this.querySelector("button");
    if (!button || !("BarcodeDetector" in window) || !navigator.mediaDevices) return;
    button.hidden = false;
    button.addEventListener("click", () => this.start(button));
  }

  disconnectedCallback() {
    this.stop();
  }

  async start(button) {
    button.hidden = true;
    try {
      this.stream = await navigator.mediaDevices.getUserMedia({ video: { facingMode: "environment" } });
      await this.look(new BarcodeDetector({ formats: ["qr_code"] }));
    } catch {
      this.say(this.getAttribute("fail"));
    }
    this.stop();
    button.hidden = false;
  }

  async look(detector) {
    this.say(this.getAttribute("wait"));
    this.video = document.createElement("video");
    this.video.playsInline = true;
    this.video.muted = true;
    this.video.srcObject = this.stream;
    this.append(this.video);
    await this.video.play();
    while (this.video?.isConnected) {
      const [found] = await detector.detect(this.video);
      if (found?.rawValue) {
        this.take(found.rawValue);
        return;
      }
      await new Promise((done) => setTimeout(done, PAUSE));
    }
  }

  take(text) {
    const field = document.getElementById(this.getAttribute("for"));
    field.value = text.slice(0, field.maxLength > 0 ? field.maxLength : 100);
    field.form.requestSubmit();
  }

  say(text) {
    this.voice ??= this.appendChild(Object.assign(document.createElement("p"), { role: "status" }));
    this.voice.textContent = text;
  }

  stop() {
    this.stream?.getTracks().forEach((track) => track.stop());
    this.video?.remove();
    this.stream = this.video = null;
  }
}

class Print extends HTMLElement {
  connectedCallback() {
    const button = this.querySelector("button");
    button.hidden = false;
    button.addEventListener("click", () => window.print());
  }
}

customElements.define("vs-scan", Scan);
customElements.define("vs-print", Print);
