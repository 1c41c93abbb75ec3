/* Asks the device for a passkey and sends its answer with the form around it. Loaded only where passkeys are used;
   without it the buttons stay hidden and the password does.

   <vs-passkey mode="get|create" options="{…}" failed="…"><input type="hidden" name="passkey"><button hidden>…</button></vs-passkey>
*/

const toBytes = (text) => Uint8Array.from(atob(text.replaceAll("-", "+").replaceAll("_", "/")), (sign) => sign.charCodeAt(0));

const toText = (buffer) => btoa(String.fromCharCode(...new Uint8Array(buffer)))
  .replaceAll("+", "-").replaceAll("/", "_").replaceAll("=", "");

function readOptions(text) {
  const options = JSON.parse(text);
  options.challenge = toBytes(options.challenge);
  if (options.user) options.user.id = toBytes(options.user.id);
  for (const list of [options.allowCredentials, options.excludeCredentials]) {
    for (const key of list || []) key.id = toBytes(key.id);
  }
  return options;
}

function written(credential) {
  const response = {};
  for (const name of ["clientDataJSON", "attestationObject", "authenticatorData", "signature", "userHandle"]) {
    if (credential.response[name]) response[name] = toText(credential.response[name]);
  }
  return JSON.stringify({ id: credential.id, rawId: toText(credential.rawId), type: credential.type, response });
}

class Passkey extends HTMLElement {
  connectedCallback() {
    const button = this.querySelector("button");
    if (!window.PublicKeyCredential || !button) return;
    button.hidden = false;
    button.addEventListener("click", () => this.ask(button));
  }

  async ask(button) {
    const form = this.closest("form");
    const creates = this.getAttribute("mode") === "create";
    if (creates && !form.reportValidity()) return;
    button.disabled = true;
    try {
      const publicKey = readOptions(this.getAttribute("options"));
      const credential = await navigator.credentials[creates ? "create" : "get"]({ publicKey });
      this.querySelector("input").value = written(credential);
      form.submit();
    } catch {
      this.say(this.getAttribute("failed"));
      button.disabled = false;
    }
  }

  say(text) {
    let line = this.querySelector("[role=alert]");
    if (!line) {
      line = document.createElement("p");
      line.setAttribute("role", "alert");
      line.className = "field-error";
      this.append(line);
    }
    line.textContent = text;
  }
}

customElements.define("vs-passkey", Passkey);
