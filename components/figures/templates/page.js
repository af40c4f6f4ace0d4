"use strict";
const { figures, heights } = JSON.parse(document.getElementById("data").textContent);
const dark = matchMedia("(prefers-color-scheme: dark)");
const config = { responsive: true, displaylogo: false };
const buttons = { surface: [["toImage", "resetCameraLastSave3d"]], other: [["toImage", "zoom2d", "pan2d", "resetScale2d"]] };
const surfaces = Object.keys(figures).filter((id) => id.startsWith("surface-"));

function colours(isDark) {
  const axis = { gridcolor: isDark ? "#363c42" : "#e3e6e9", linecolor: isDark ? "#6b747d" : "#9aa4ae", zerolinecolor: isDark ? "#4a525a" : "#c9ced3", automargin: true };
  const wall = { ...axis, showbackground: true, backgroundcolor: isDark ? "#1d2125" : "#f5f6f7", gridcolor: isDark ? "#434b53" : "#d3d8dc", automargin: false };
  const font = { family: "system-ui, sans-serif", size: 12, color: isDark ? "#c9d1d9" : "#3a424a" };
  return { layout: { font, modebar: { bgcolor: "rgba(0,0,0,0)", color: "#9aa4ae", activecolor: "#5b8fc0" }, paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)", xaxis: axis, yaxis: axis, scene: { xaxis: wall, yaxis: wall, zaxis: wall } } };
}

function stepBack(camera) {
  for (const axis of ["x", "y", "z"]) camera.eye[axis] *= 1.2;
}

async function draw() {
  if (surfaces.some((id) => document.getElementById(id).clientWidth < 440)) surfaces.forEach((id) => stepBack(figures[id].layout.scene.camera));
  for (const [id, figure] of Object.entries(figures)) {
    await Plotly.newPlot(id, figure.data, { ...figure.layout, template: colours(dark.matches) }, { ...config, modeBarButtons: id.startsWith("surface-") ? buttons.surface : buttons.other });
  }
}

function repaint(isDark) {
  return Promise.all(Object.keys(figures).map((id) => Plotly.relayout(id, { template: colours(isDark) })));
}

function setHeights(name) {
  const changes = Object.fromEntries(Object.entries(heights[name]).map(([key, value]) => [`scene.zaxis.${key}`, value]));
  return Promise.all(surfaces.map((id) => Plotly.relayout(id, changes)));
}

// Every camera follows the one that moves. What a follower reports while it is being moved is an echo, and ignored.
function linkCameras() {
  const followers = new Set();
  let wanted = null;
  let running = false;
  async function follow(id, camera) {
    followers.add(id);
    try {
      await Plotly.relayout(id, { "scene.camera": camera });
    } finally {
      followers.delete(id);
    }
  }
  async function run() {
    running = true;
    while (wanted) {
      const { source, camera } = wanted;
      wanted = null;
      await Promise.all(surfaces.filter((id) => id !== source).map((id) => follow(id, camera)));
    }
    running = false;
  }
  for (const id of surfaces) {
    const element = document.getElementById(id);
    const share = (camera) => {
      wanted = { source: id, camera };
      if (!running) run();
    };
    // A surface turns on for a while after the last event, and wheel and reset button report no camera at all: it is asked for until it rests.
    // Plotly has no public name for it.
    let timer;
    const settle = (last) => {
      const camera = element._fullLayout.scene._scene.getCamera();
      const text = JSON.stringify(camera);
      if (text === last) return;
      share(camera);
      timer = setTimeout(settle, 150, text);
    };
    const listen = (change) => {
      if (followers.has(id)) return;
      if (change["scene.camera"]) share(change["scene.camera"]);
      clearTimeout(timer);
      timer = setTimeout(settle, 150, "");
    };
    element.on("plotly_relayouting", listen);
    element.on("plotly_relayout", listen);
  }
}

draw().then(() => {
  linkCameras();
  for (const input of document.querySelectorAll("input[name=height]")) {
    input.addEventListener("change", () => setHeights(input.value));
    if (input.checked && input.value !== Object.keys(heights)[0]) setHeights(input.value);
  }
  dark.addEventListener("change", () => repaint(dark.matches));
  addEventListener("beforeprint", () => repaint(false));
  addEventListener("afterprint", () => repaint(dark.matches));
  document.body.dataset.drawn = Object.keys(figures).length;
});
