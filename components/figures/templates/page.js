"use strict";
const { figures, heights: heightAxes, cuts } = JSON.parse(document.getElementById("data").textContent);
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
  const changes = Object.fromEntries(Object.entries(heightAxes[name]).map(([key, value]) => [`scene.zaxis.${key}`, value]));
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

const nearest = (values, value) => values.reduce((best, each, index) => (Math.abs(each - value) < Math.abs(values[best] - value) ? index : best), 0);

// What a hand does on one picture of a single run's plane shows on the others. Figures hold typed arrays that only plotly decodes.
function linkPictures() {
  const [surface, map] = ["surface-0", "map-0"].map((id) => document.getElementById(id));
  if (!surface || !map || surfaces.length !== 1) return;
  const cells = map._fullData[0];
  const sheet = surface._fullData.findIndex((trace) => trace.type === "surface");
  const x = Array.from(cells.x), y = Array.from(cells.y);
  let pointing = false;
  if (sheet >= 0) {
    const dot = surface._fullData.length;
    const marker = { size: 6, color: "#ffffff", line: { color: "#000000", width: 2 } };
    let wanted = null;
    let running = false;
    const show = async () => {
      running = true;
      while (wanted) {
        const [row, column] = wanted;
        wanted = null;
        const z = surface._fullData[sheet].z[row][column];
        await Plotly.restyle(surface, { x: [[x[column]]], y: [[y[row]]], z: [[z]], visible: Number.isFinite(z) }, [dot]);
      }
      running = false;
    };
    Plotly.addTraces(surface, { type: "scatter3d", mode: "markers", x: [0], y: [0], z: [0], marker, visible: false, hoverinfo: "skip", showlegend: false });
    map.on("plotly_hover", ({ points: [point] }) => {
      if (pointing || point.curveNumber !== 0) return;
      wanted = [nearest(y, point.y), nearest(x, point.x)];
      if (!running) show();
    });
    surface.on("plotly_hover", ({ points: [point] }) => {
      pointing = true;
      Plotly.Fx.hover(map, [{ curveNumber: 0, pointNumber: [nearest(y, point.y), nearest(x, point.x)] }]);
      pointing = false;
    });
    surface.on("plotly_unhover", () => Plotly.Fx.unhover(map));
  }
  const slices = document.getElementById("slices");
  if (!slices) return;
  const along = document.getElementById("cut-x"), across = document.getElementById("cut-y");
  const heights = cuts;
  const cut = () => {
    const column = Number(along.value), row = Number(across.value);
    document.getElementById("cut-x-value").textContent = x[column].toPrecision(3);
    document.getElementById("cut-y-value").textContent = y[row].toPrecision(3);
    const lines = { color: "#ffffff", width: 1.2, dash: "dot" };
    const shapes = [
      { type: "line", xref: "paper", x0: 0, x1: 1, y0: y[row], y1: y[row], line: lines },
      { type: "line", yref: "paper", y0: 0, y1: 1, x0: x[column], x1: x[column], line: lines },
    ];
    return Promise.all([
      Plotly.restyle(slices, { y: [heights[row], heights.map((values) => values[column])] }, [0, 1]),
      Plotly.relayout(map, { shapes }),
    ]);
  };
  const to = ({ points: [point] }) => {
    along.value = nearest(x, point.x);
    across.value = nearest(y, point.y);
    cut();
  };
  for (const input of [along, across]) input.addEventListener("input", cut);
  map.on("plotly_click", to);
  surface.on("plotly_click", to);
  cut();
}

function searchNumbers() {
  const input = document.getElementById("search");
  if (!input) return;
  const found = document.getElementById("found");
  input.addEventListener("input", () => {
    const words = input.value.toLowerCase().split(/\s+/).filter(Boolean);
    let count = 0;
    for (const body of document.querySelectorAll("#numbers tbody")) {
      let shown = 0;
      for (const row of body.querySelectorAll("tr:not(.theme)")) {
        const text = `${row.textContent} ${row.querySelector("[title]")?.title ?? ""}`.toLowerCase();
        row.hidden = !words.every((word) => text.includes(word));
        shown += !row.hidden;
      }
      body.hidden = !shown;
      count += shown;
    }
    found.textContent = words.length ? `${count} found` : "";
  });
}

searchNumbers();
draw().then(() => {
  linkCameras();
  linkPictures();
  for (const input of document.querySelectorAll("input[name=height]")) {
    input.addEventListener("change", () => setHeights(input.value));
    if (input.checked && input.value !== Object.keys(heightAxes)[0]) setHeights(input.value);
  }
  dark.addEventListener("change", () => repaint(dark.matches));
  addEventListener("beforeprint", () => repaint(false));
  addEventListener("afterprint", () => repaint(dark.matches));
  document.body.dataset.drawn = Object.keys(figures).length;
});
