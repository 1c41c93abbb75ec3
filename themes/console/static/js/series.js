/* <vs-series src="….json">: a chart to zoom into takes the place of the drawing inside, once its numbers are there. */
(() => {
  const colour = (of, name) => getComputedStyle(of).getPropertyValue(name).trim();
  class Series extends HTMLElement {
    async connectedCallback() {
      const answer = await fetch(this.getAttribute("src"), { headers: { Accept: "application/json" } });
      if (!answer.ok || !this.isConnected) return;
      this.data = await answer.json();
      if (this.data.at.length < 2) return;
      this.draw();
      new ResizeObserver(() => this.fit()).observe(this);
      new MutationObserver(() => this.draw()).observe(document.documentElement, { attributeFilter: ["data-theme"] });
    }
    draw() {
      const { at, sales, orders, currency, byHour } = this.data;
      const locale = document.documentElement.lang;
      const money = new Intl.NumberFormat(locale, { style: "currency", currency });
      const short = new Intl.NumberFormat(locale, { notation: "compact" });
      const when = new Intl.DateTimeFormat(locale, byHour ? { timeStyle: "short", timeZone: "UTC" } : { dateStyle: "medium", timeZone: "UTC" });
      const tick = new Intl.DateTimeFormat(locale, byHour ? { timeStyle: "short", timeZone: "UTC" } : { month: "numeric", day: "numeric", timeZone: "UTC" });
      const accent = colour(this, "--shop-accent"), muted = colour(this, "--shop-muted"), line = colour(this, "--shop-line");
      const axis = { stroke: muted, grid: { stroke: line, width: 1 }, ticks: { show: false }, font: "12px system-ui, sans-serif" };
      this.chart?.destroy();
      const twin = this.querySelector(".chart-twin");
      const kept = document.createElement("div");
      this.chart = new uPlot({
        width: this.clientWidth, height: 240, tzDate: (seconds) => uPlot.tzDate(new Date(seconds * 1e3), "UTC"),
        scales: { y: { range: (_u, _min, max) => [0, max * 1.08 || 1] }, n: { range: (_u, _min, max) => [0, Math.max(4, max * 1.5)] } },
        axes: [
          { ...axis, values: (_u, ticks) => ticks.map((at) => tick.format(at * 1e3)), incrs: byHour ? [3600, 7200, 10800, 21600] : [1, 2, 7, 14, 30, 90, 365].map((days) => days * 86400) },
          { ...axis, size: 56, values: (_u, ticks) => ticks.map((value) => short.format(value)) },
          { ...axis, scale: "n", side: 1, size: 40, grid: { show: false }, incrs: [1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 5000], values: (_u, ticks) => ticks.map((value) => short.format(value)) },
        ],
        series: [
          { label: this.dataset.time, value: (_u, at) => (at == null ? "" : when.format(at * 1e3)) },
          { label: this.dataset.sales, stroke: accent, width: 2, fill: accent + "24", value: (_u, value) => (value == null ? "" : money.format(value)) },
          { label: this.dataset.orders, scale: "n", stroke: muted, width: 1.5, dash: [5, 4], value: (_u, value) => value ?? "" },
        ],
      }, [at.map((text) => Date.parse(text + ":00Z") / 1e3), sales, orders], kept);
      this.replaceChildren(...kept.childNodes, ...(twin ? [twin] : []));
    }
    fit() {
      if (this.chart && this.clientWidth !== this.chart.width) this.chart.setSize({ width: this.clientWidth, height: 240 });
    }
  }
  customElements.define("vs-series", Series);
})();
