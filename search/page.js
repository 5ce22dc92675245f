"use strict";
// Draws each figure into its place. The data stand in script elements of type application/json.
for (const data of document.querySelectorAll("script[data-figure]")) {
  const place = document.getElementById("figure-" + data.dataset.figure);
  const figure = JSON.parse(data.textContent);
  place.textContent = "";
  Plotly.newPlot(place, figure.data, figure.layout, {
    responsive: true,
    displaylogo: false,
    displayModeBar: window.matchMedia("(hover: hover)").matches ? "hover" : false,
    modeBarButtonsToRemove: ["lasso2d", "select2d", "autoScale2d"],
  });
}
