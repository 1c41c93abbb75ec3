/* Runs before the first paint: Tabler switches its colours by an attribute, not by what the device prefers. */
(() => {
  const dark = matchMedia("(prefers-color-scheme: dark)");
  const follow = () => {
    const colours = dark.matches ? "dark" : "light";
    document.documentElement.dataset.bsTheme = colours;
    document.documentElement.dataset.theme = colours;
  };
  dark.addEventListener("change", follow);
  follow();
})();
