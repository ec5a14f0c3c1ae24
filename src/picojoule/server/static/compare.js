/* Two results: the chart. */
window.picojouleCharts.watch(document, window.picojouleCharts.readData(), "canvas");
