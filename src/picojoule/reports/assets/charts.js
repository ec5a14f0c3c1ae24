/* The charts of reports and of the web page, drawn with Apache ECharts.
 *
 * A chart is an element <div class="chart" data-chart="layers|roofline|..."> ; its numbers are in
 * <script type="application/json" id="picojoule-data">, as reports.document.chart_data makes them.
 * Nothing here writes markup: whatever a file's names hold, they stay text. */
(function () {
  "use strict";

  const PREFIXES = [[1e12, "T"], [1e9, "G"], [1e6, "M"], [1e3, "k"]];
  const JOULES = [[1e12, "J"], [1e9, "mJ"], [1e6, "µJ"], [1e3, "nJ"], [1, "pJ"]];
  const GAP = 12, ICON = 32, ROW = 26; // of a legend: between items, before a name, from row to row
  const drawn = new Map();

  function digits(value) {
    return value === 0 ? "0" : String(Number(value.toPrecision(3)));
  }

  function showCount(value) {
    for (const [scale, prefix] of PREFIXES) {
      if (Math.abs(value) >= scale * 0.9995) return digits(value / scale) + " " + prefix;
    }
    return digits(value);
  }

  function showEnergy(value, unit) {
    if (unit === "MAC") return showCount(value) + " x E_MAC";
    if (value === 0) return "0";
    for (const [scale, name] of JOULES) {
      if (Math.abs(value) >= scale * 0.9995) return digits(value / scale) + " " + name;
    }
    return digits(value) + " pJ";
  }

  function tokens() {
    const style = getComputedStyle(document.documentElement);
    const read = (name) => style.getPropertyValue(name).trim();
    // A canvas inherits no font: with none of its own, texts are measured in one and drawn in another.
    return { ink: read("--ink"), faint: read("--faint"), line: read("--line"),
             grid: read("--grid"), ground: read("--raised"), page: read("--ground"),
             font: getComputedStyle(document.body).fontFamily };
  }

  function element(tag, text, parent) {
    const made = document.createElement(tag);
    if (text !== undefined) made.textContent = text;
    if (parent) parent.append(made);
    return made;
  }

  function tip(title, rows) {
    const box = element("div");
    box.className = "chart-tip";
    element("strong", title, box);
    const body = element("tbody", undefined, element("table", undefined, box));
    for (const [name, value] of rows) {
      const row = element("tr", undefined, body);
      element("td", name, row);
      element("td", value, row);
    }
    return box;
  }

  function common(look, patterns) {
    return {
      animation: false,
      aria: { enabled: true, decal: { show: patterns } },
      textStyle: { color: look.ink, fontFamily: look.font },
      tooltip: { backgroundColor: look.ground, borderColor: look.line, confine: true,
                 textStyle: { color: look.ink } },
      legend: { type: "plain", top: 0, itemStyle: { opacity: 1 }, itemGap: GAP,
                textStyle: { color: look.ink, fontFamily: look.font, fontSize: 12 } },
    };
  }

  /* Pixels that a legend of *names* takes in *place*: in as many rows as it needs. */
  function legendHeight(names, place, look) {
    const pen = document.createElement("canvas").getContext("2d");
    pen.font = "12px " + look.font;
    let rows = 1;
    let used = 0;
    for (const name of names) {
      const wide = ICON + pen.measureText(name).width + GAP;
      if (used > 0 && used + wide > place.clientWidth) {
        rows += 1;
        used = 0;
      }
      used += wide;
    }
    return rows * ROW;
  }

  function axis(look, more) {
    return Object.assign({
      axisLabel: { color: look.ink }, axisLine: { lineStyle: { color: look.line } },
      nameTextStyle: { color: look.faint }, splitLine: { lineStyle: { color: look.grid } },
    }, more);
  }

  /* Energy of every layer, stacked; of two estimates, two bars for each layer. */
  function layersOption(data, place, options) {
    const look = tokens();
    const by = options.by || "by_memory";
    const colors = by === "by_memory" ? data.place_colors : data.operand_colors;
    const estimates = data.estimates;
    const names = [];
    for (const estimate of estimates) {
      for (const layer of estimate.layers) if (!names.includes(layer.name)) names.push(layer.name);
    }
    const upright = place.clientWidth >= 560;
    const shown = upright ? names : names.slice().reverse();
    const tables = estimates.map((estimate) =>
      new Map(estimate.layers.map((layer) => [layer.name, layer])));
    const parts = Object.keys(colors);
    const series = [];
    estimates.forEach((estimate, index) => {
      for (const part of parts) {
        series.push({
          name: part, type: "bar", stack: "estimate " + index, barMaxWidth: 46, barGap: "8%",
          itemStyle: { color: colors[part],
                       opacity: estimates.length > 1 && index === 0 ? 0.5 : 1 },
          emphasis: { focus: "series" },
          data: shown.map((name) => {
            const layer = tables[index].get(name);
            if (!layer) return null;
            const value = layer[by][part] || 0;
            return options.share ? (layer.energy ? 100 * value / layer.energy : 0) : value;
          }),
        });
      }
    });
    const value = axis(look, {
      type: "value", max: options.share ? 100 : null,
      name: options.share ? "share of the layer"
        : "energy per inference" + (data.energy_unit === "MAC" ? " [E_MAC]" : ""),
      nameLocation: upright ? "end" : "middle", nameGap: upright ? 14 : 28,
      axisLabel: { color: look.ink, hideOverlap: true,
                   formatter: (x) => options.share ? x + " %"
                     : data.energy_unit === "MAC" ? showCount(x) : showEnergy(x, data.energy_unit) },
    });
    if (upright) value.nameTextStyle.align = "left";
    const category = axis(look, {
      type: "category", data: shown, splitLine: { show: false },
      axisLabel: { color: look.ink, interval: names.length > 40 ? "auto" : 0,
                   rotate: upright && names.length > 9 ? 45 : 0, width: 110, overflow: "truncate" },
    });
    const many = upright && names.length > 40;
    return Object.assign(common(look, options.patterns), {
      grid: { left: 12, right: 16, top: legendHeight(parts, place, look) + 36, bottom: many ? 48 : 12, outerBoundsMode: "same",
              outerBoundsContain: "all" },
      xAxis: upright ? category : value,
      yAxis: upright ? value : category,
      dataZoom: upright
        ? [{ type: "inside", xAxisIndex: 0, zoomOnMouseWheel: "ctrl" },
           ...(many ? [{ type: "slider", xAxisIndex: 0, height: 20, bottom: 8 }] : [])]
        : [],
      series,
      tooltip: Object.assign(common(look).tooltip, {
        trigger: "axis", axisPointer: { type: "shadow" },
        formatter: (items) => {
          const name = items.length ? items[0].name : "";
          const rows = [];
          estimates.forEach((estimate, index) => {
            const layer = tables[index].get(name);
            if (!layer) return;
            const which = estimates.length > 1 ? (index ? "after" : "before") + ", " : "";
            rows.push([which + "all", showEnergy(layer.energy, data.energy_unit)]);
            const sorted = Object.entries(layer[by]).filter((x) => x[1] > 0)
              .sort((a, b) => b[1] - a[1]);
            for (const [part, energy] of sorted) {
              const share = layer.energy ? " (" + digits(100 * energy / layer.energy) + " %)" : "";
              rows.push([which + part, showEnergy(energy, data.energy_unit) + share]);
            }
            rows.push([which + "limited by", layer.limited_by]);
          });
          return tip(name, rows);
        },
      }),
    });
  }

  /* A power of ten beside *value*. */
  function decade(value, round) {
    return Math.pow(10, round(Math.log10(value)));
  }

  /* Names beside points: clear of the line above them; of those that would lie on others the
   * table has the numbers. */
  function besidePoints(look, formatter) {
    return {
      label: { show: true, position: "right", offset: [1, 9], color: look.ink, fontSize: 11, formatter,
               textBorderColor: look.page, textBorderWidth: 3 },
      labelLayout: { hideOverlap: true },
    };
  }

  /* Every layer under the roof of one memory. */
  function rooflineOption(data, place, options) {
    const look = tokens();
    const estimate = data.estimates[data.estimates.length - 1];
    const roof = estimate.rooflines.find((x) => x.memory === options.memory) ||
      estimate.rooflines[0];
    const ridge = roof.peak / roof.bandwidth;
    const xs = roof.points.map((point) => point[0]).concat([ridge]);
    const low = decade(Math.min(...xs) / 1.5, Math.floor);
    const high = decade(Math.max(...xs) * 1.5, Math.ceil);
    const roofAt = (x) => Math.min(roof.peak, roof.bandwidth * x);
    const line = [low, ridge, high].map((x) => [x, roofAt(x)]);
    const groups = new Map();
    for (const point of roof.points) {
      const layer = estimate.layers.find((x) => x.name === point[2]);
      const limit = layer ? layer.limited_by : "";
      if (!groups.has(limit)) groups.set(limit, []);
      groups.get(limit).push(point);
    }
    const symbols = ["circle", "diamond", "triangle", "rect"];
    const names = ["roof", ...Array.from(groups.keys(), (limit) => "limited by " + limit)];
    return Object.assign(common(look, false), {
      grid: { left: 16, right: 24, top: legendHeight(names, place, look) + 28, bottom: 36,
              outerBoundsMode: "same", outerBoundsContain: "all" },
      xAxis: axis(look, { type: "log", min: low, max: high, name: "MAC per byte at " + roof.memory,
                          nameLocation: "middle", nameGap: 28,
                          axisLabel: { color: look.ink, formatter: digits } }),
      yAxis: axis(look, { type: "log", name: "MAC per cycle", nameLocation: "end",
                          axisLabel: { color: look.ink, formatter: digits } }),
      series: [
        { name: "roof", type: "line", data: line, showSymbol: false, silent: true,
          lineStyle: { color: look.ink, width: 2 }, itemStyle: { color: look.ink } },
        ...Array.from(groups, ([limit, points], index) => ({
          name: "limited by " + limit, type: "scatter", data: points, symbolSize: 11,
          symbol: symbols[index % symbols.length],
          itemStyle: { color: data.place_colors[limit] || "#8C8C8C", borderColor: look.ink },
          ...besidePoints(look, (item) => item.value[2]),
        })),
      ],
      tooltip: Object.assign(common(look).tooltip, {
        trigger: "item",
        formatter: (item) => tip(String(item.value[2]), [
          ["MAC per byte", digits(item.value[0])],
          ["MAC per cycle", digits(item.value[1])],
          ["of the roof", digits(100 * item.value[1] / roofAt(item.value[0])) + " %"],
        ]),
      }),
    });
  }

  /* A compression run: cost over the first network's, and change of accuracy. */
  function tradeoffOption(data, place) {
    const look = tokens();
    const wide = place.clientWidth >= 560; // on a phone names would lie on each other
    const { steps, published } = data.tradeoff;
    const words = (item) => tip(item.value[2], [
      ["cost, of the first", digits(item.value[0])],
      ["accuracy", (item.value[1] >= 0 ? "+" : "") + item.value[1].toFixed(2) + " points"],
    ]);
    const label = { show: true, position: "right", color: look.ink, fontSize: 11,
                    formatter: (item) => item.value[2] };
    return Object.assign(common(look, false), {
      grid: { left: 16, right: 48, top: 56, bottom: 36, outerBoundsMode: "same",
              outerBoundsContain: "all" },
      xAxis: axis(look, { type: "value", name: "cost over that of the first network", min: 0,
                          nameLocation: "middle", nameGap: 28 }),
      yAxis: axis(look, { type: "value", name: "change of accuracy [points]", nameLocation: "end",
                          scale: true }),
      series: [
        { name: "this run", type: "line", data: steps, symbolSize: 9,
          itemStyle: { color: data.operand_colors.input }, labelLayout: { hideOverlap: true },
          label: Object.assign({}, label, { show: wide && steps.length <= 16, position: "top" }) },
        { name: "published", type: "scatter", data: published, symbol: "diamond", symbolSize: 12,
          itemStyle: { color: "transparent", borderColor: data.operand_colors.weight,
                       borderWidth: 2 },
          label: Object.assign({}, label, { show: wide, position: "bottom" }),
          labelLayout: { hideOverlap: true } },
      ],
      tooltip: Object.assign(common(look).tooltip, { trigger: "item", formatter: words }),
    });
  }

  /* Eyexam: what each step leaves of the speed of all elements, and what it takes away. */
  function waterfallOption(data) {
    const look = tokens();
    const { titles, peak, bounds } = data.waterfall;
    const known = bounds.filter((x) => x !== null);
    const most = peak || Math.max(...known);
    let left = most;
    const kept = [];
    const lost = [];
    bounds.forEach((bound) => {
      const now = bound === null ? 0 : Math.min(left, bound);
      kept.push(now);
      lost.push(bound === null ? 0 : left - now);
      if (bound !== null) left = now;
    });
    const names = titles.map((title, n) => (n + 1) + " " + title);
    return Object.assign(common(look, false), {
      grid: { left: 28, right: 24, top: 48, bottom: 36, outerBoundsMode: "same",
              outerBoundsContain: "all" },
      xAxis: axis(look, { type: "value", name: "MAC per cycle", nameLocation: "middle",
                          nameGap: 28, max: most }),
      yAxis: axis(look, { type: "category", inverse: true, data: names,
                          splitLine: { show: false } }),
      series: [
        { name: "left", type: "bar", stack: "speed", data: kept, barWidth: "62%",
          itemStyle: { color: data.operand_colors.input || "#0072B2" } },
        { name: "taken away", type: "bar", stack: "speed", data: lost,
          itemStyle: { color: data.operand_colors.weight || "#E69F00" } },
      ],
      tooltip: Object.assign(common(look).tooltip, {
        trigger: "axis", axisPointer: { type: "shadow" },
        formatter: (items) => {
          const n = items[0].dataIndex;
          return tip(names[n], [
            ["bound", bounds[n] === null ? "not known" : showCount(bounds[n]) + " MAC/cycle"],
            ["taken away", digits(100 * lost[n] / most) + " % of all elements"],
          ]);
        },
      }),
    });
  }

  const KINDS = { layers: layersOption, roofline: rooflineOption, tradeoff: tradeoffOption,
                  waterfall: waterfallOption };

  function height(place, data) {
    if (place.dataset.chart !== "layers" || place.clientWidth >= 560) return 400;
    const layers = Math.max(...data.estimates.map((x) => x.layers.length));
    const parts = place.dataset.by === "by_operand" ? data.operand_colors : data.place_colors;
    return 100 + legendHeight(Object.keys(parts), place, tokens()) +
      layers * (data.estimates.length > 1 ? 40 : 26);
  }

  function draw(place, data, renderer) {
    const options = {
      by: place.dataset.by, share: place.dataset.share === "true", memory: place.dataset.memory,
      patterns: place.dataset.patterns === "true",
    };
    let chart = drawn.get(place);
    place.style.height = height(place, data) + "px";
    if (!chart) {
      chart = echarts.init(place, null, { renderer });
      drawn.set(place, chart);
      // With a viewBox the drawing scales to a printed page.
      chart.on("rendered", () => {
        const svg = place.querySelector("svg");
        if (svg) svg.setAttribute("viewBox", "0 0 " + chart.getWidth() + " " + chart.getHeight());
      });
    } else {
      chart.resize();
    }
    chart.setOption(KINDS[place.dataset.chart](data, place, options), { notMerge: true });
  }

  function readData() {
    const block = document.getElementById("picojoule-data");
    return block ? JSON.parse(block.textContent) : null;
  }

  /* Draw every chart beneath *root* that can be drawn; again if it was drawn before. */
  function drawAll(root, data, renderer) {
    for (const place of root.querySelectorAll(".chart[data-chart]")) draw(place, data, renderer);
  }

  function watch(root, data, renderer) {
    drawAll(root, data, renderer);
    for (const control of root.querySelectorAll("[data-controls]")) {
      control.addEventListener("change", (event) => {
        const place = root.querySelector("#" + control.dataset.controls);
        const box = event.target;
        place.dataset[box.name] = box.type === "checkbox" ? String(box.checked) : box.value;
        draw(place, data, renderer);
      });
    }
    let width = window.innerWidth;
    window.addEventListener("resize", () => {
      if (window.innerWidth === width) return;
      width = window.innerWidth;
      drawAll(root, data, renderer);
    });
    const again = () => drawAll(root, data, renderer);
    window.matchMedia("(prefers-color-scheme: dark)").addEventListener("change", again);
    document.addEventListener("picojoule-theme", again);
    window.addEventListener("beforeprint", () => {
      for (const box of root.querySelectorAll("details")) box.open = true;
    });
    window.addEventListener("afterprint", again);
  }

  window.picojouleCharts = { draw, drawAll, readData, showCount, showEnergy, watch };
})();
