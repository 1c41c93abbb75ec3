/* <form data-typed>: what was typed and not sent is not lost without a question, as when another form of the page goes. */
(() => {
  const said = (form) => new URLSearchParams(new FormData(form)).toString();
  const forms = new Map();
  for (const form of document.querySelectorAll("form[data-typed]")) forms.set(form, said(form));
  let sent;
  document.addEventListener("submit", (event) => { sent = event.target; });
  addEventListener("beforeunload", (event) => {
    for (const [form, before] of forms) if (form !== sent && said(form) !== before) event.preventDefault();
    sent = null;
  });
})();
