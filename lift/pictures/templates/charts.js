// Joint angles over time, right and left; the cursor is the frame that is shown, and a click goes there.
const LONGEST = 15; // seconds; of longer recordings a window moves along
const degrees = value => `${Math.round(value)}°`.replace("-", "−");
const charts = {
  all: [],

  prepare(go) {
    facts.angles.forEach((name, number) => {
      const box = document.createElement("section");
      box.className = "chart";
      box.innerHTML = '<h3><b></b><span class="right"></span><span class="left"></span></h3><canvas role="img"></canvas>';
      box.querySelector("b").textContent = name[0].toUpperCase() + name.slice(1);
      const canvas = box.querySelector("canvas");
      canvas.setAttribute("aria-label", `${name} over time, degrees`);
      const chart = {number, canvas, box, values: box.querySelectorAll("span"), range: this.range(number), first: 0, last: frames - 1};
      const seek = event => {
        const x = (event.offsetX - 30) / Math.max(1, canvas.clientWidth - 36);
        go(Math.round(chart.first + x * (chart.last - chart.first)));
      };
      canvas.addEventListener("pointerdown", event => { canvas.setPointerCapture(event.pointerId); seek(event); });
      canvas.addEventListener("pointermove", event => { if (event.buttons) seek(event); });
      this.all.push(chart);
      document.getElementById("charts").append(box);
    });
  },

  range(number) {
    let low = 0, high = 60;
    for (let frame = 0; frame < frames; frame++)
      for (const side of [0, 1]) {
        const value = angle(frame, number, side);
        if (value < low) low = value;
        if (value > high) high = value;
      }
    return [Math.floor(low / 30) * 30, Math.ceil(high / 30) * 30];
  },

  draw(frame) {
    for (const chart of this.all) {
      const [pen, width, height] = fit(chart.canvas), {number, range: [low, high]} = chart;
      const window = Math.round(LONGEST * facts.fps);
      chart.first = frames - 1 <= window ? 0 : Math.min(Math.max(0, frame - Math.round(window / 2)), frames - 1 - window);
      chart.last = frames - 1 <= window ? Math.max(frames - 1, 1) : chart.first + window;
      const x = at => 30 + (at - chart.first) / (chart.last - chart.first) * (width - 36);
      const y = value => 8 + (high - value) / (high - low) * (height - 28);
      pen.font = "11px system-ui, sans-serif";
      pen.lineWidth = 1;
      pen.textAlign = "right";
      pen.textBaseline = "middle";
      const step = high - low > 120 ? 60 : 30;
      for (let value = Math.ceil(low / step) * step; value <= high; value += step) {
        pen.strokeStyle = colours.line;
        pen.beginPath(); pen.moveTo(30, y(value)); pen.lineTo(width - 6, y(value)); pen.stroke();
        pen.fillStyle = colours.quiet;
        pen.fillText(degrees(value), 26, y(value));
      }
      pen.textBaseline = "alphabetic";
      pen.textAlign = "center";
      const seconds = (chart.last - chart.first) / facts.fps, every = [.1, .2, .5, 1, 2, 5].find(unit => seconds / unit <= 6) || 5;
      for (let tick = Math.ceil(chart.first / facts.fps / every); tick * every <= chart.last / facts.fps + 1e-9; tick++)
        pen.fillText(`${+(tick * every).toFixed(1)} s`, Math.min(width - 14, Math.max(36, x(tick * every * facts.fps))), height - 4);
      ["right", "left"].forEach((side, which) => {
        pen.strokeStyle = colours[side];
        pen.lineWidth = 1.8;
        pen.beginPath();
        let down = false;
        for (let at = chart.first; at <= chart.last && at < frames; at++) {
          const value = angle(at, number, which);
          if (!isFinite(value)) { down = false; continue; }
          if (down) pen.lineTo(x(at), y(value)); else pen.moveTo(x(at), y(value));
          down = true;
        }
        pen.stroke();
      });
      pen.strokeStyle = colours.text;
      pen.lineWidth = 1;
      pen.beginPath(); pen.moveTo(x(frame), 4); pen.lineTo(x(frame), height - 18); pen.stroke();
      ["right", "left"].forEach((side, which) => {
        const value = angle(frame, number, which);
        chart.values[which].textContent = `${side} ${isFinite(value) ? degrees(value) : "–"}`;
        if (isFinite(value)) disc(pen, [x(frame), y(value)], 3.4, colours[side]);
      });
    }
  },
};
