// The person in 3D: a camera on a sphere about a target, a floor with a shadow, limbs from back to front.
const space = {
  canvas: document.querySelector("#space canvas"),
  azimuth: 0, elevation: 0, distance: 0, away: 0, // radians, radians, mm, mm of the default view
  follow: true, path: [], still: [0, 0, 0], half: 1000, // where to look in each frame, and when not following
  places: [],

  // What is in the middle: the pelvis, smoothed over a second, or the middle of the whole recording.
  prepare() {
    let last = [0, 0], low = [Infinity, Infinity], high = [-Infinity, -Infinity];
    const raw = [];
    for (let frame = 0; frame < frames; frame++) {
      let count = 0, sum = [0, 0];
      for (let joint = 0; joint < joints; joint++) {
        const [x, y] = world(frame, joint);
        if (!isFinite(x)) continue;
        low = [Math.min(low[0], x), Math.min(low[1], y)];
        high = [Math.max(high[0], x), Math.max(high[1], y)];
        if (joint === 0) { sum = [x, y]; count = 1; break; }
        sum = [sum[0] + x, sum[1] + y]; count++;
      }
      if (count) last = [sum[0] / count, sum[1] / count];
      raw.push(last);
    }
    const tops = [];
    for (let frame = 0; frame < frames; frame++) {
      const heights = facts.joints.map((_, joint) => world(frame, joint)[2]).filter(isFinite);
      if (heights.length) tops.push(Math.max(...heights));
    }
    const top = tops.sort((a, b) => a - b)[Math.floor(.9 * tops.length)] || 0; // most of the time, so that jumps count little
    const first = raw.findIndex(([x, y]) => x || y);
    for (let frame = 0; frame < first; frame++) raw[frame] = raw[first];
    const reach = Math.round(facts.fps / 2), height = .5 * top;
    for (let frame = 0; frame < frames; frame++) {
      const some = raw.slice(Math.max(0, frame - reach), frame + reach + 1);
      this.path.push([0, 1].map(axis => some.reduce((sum, place) => sum + place[axis], 0) / some.length).concat(height));
    }
    if (isFinite(low[0])) this.still = [(low[0] + high[0]) / 2, (low[1] + high[1]) / 2, height];
    this.half = .62 * top || 1000;
    this.wide = Math.hypot(high[0] - low[0], high[1] - low[1]) / 2;
    this.setFollow(this.wide > .6 * top);
    this.from("camera", 0);
    this.azimuth += .5;
  },

  setFollow(on) {
    this.follow = on;
    const reach = on ? this.half : Math.max(this.half, .8 * this.wide + 500);
    this.distance = this.away = 3.1 * reach;
  },

  from(view, frame) {
    const [right, left] = [world(frame, 1), world(frame, 4)];
    const across = Math.atan2(left[1] - right[1], left[0] - right[0]); // the body's left
    const facing = isFinite(across) ? across : Math.PI + facts.azimuth * Math.PI / 180;
    this.azimuth = {camera: facts.azimuth * Math.PI / 180, front: facing, side: facing + Math.PI / 2, top: this.azimuth}[view];
    this.elevation = {camera: .14, front: .08, side: .08, top: 1.5}[view];
    this.distance = this.away;
  },

  // A function from mm to [x, y, depth in mm] on the screen.
  camera(frame, width, height) {
    const target = this.follow ? this.path[frame] : this.still;
    const [sa, ca, se, ce] = [Math.sin(this.azimuth), Math.cos(this.azimuth), Math.sin(this.elevation), Math.cos(this.elevation)];
    const focal = 1.5 * Math.min(height, 1.25 * width);
    return ([x, y, z]) => {
      x -= target[0]; y -= target[1]; z -= target[2];
      const depth = this.distance - ce * sa * x + ce * ca * y - se * z;
      const scale = focal / Math.max(depth, 1);
      return [width / 2 + scale * (ca * x + sa * y), height / 2 - scale * (-sa * se * x + ca * se * y + ce * z) + .02 * height, depth, scale];
    };
  },

  draw(frame, marked) {
    const [pen, width, height] = fit(this.canvas), see = this.camera(frame, width, height);
    const sky = pen.createLinearGradient(0, 0, 0, height);
    sky.addColorStop(.1, colours.sky);
    sky.addColorStop(1, colours.ground);
    pen.fillStyle = sky;
    pen.fillRect(0, 0, width, height);
    if (facts.floor) this.floor(pen, see, frame);
    const points = facts.joints.map((_, joint) => world(frame, joint)), seen = points.map(see);
    const known = points.map(point => isFinite(point[0] + point[1] + point[2]));
    if (facts.floor) this.shadow(pen, see, points, known);
    this.places = seen.map((place, joint) => known[joint] ? place : [NaN, NaN]);
    this.trunk(pen, seen, known);
    const things = [];
    if (known[9] && known[10]) things.push([seen[10][2] + 40, () => this.head(pen, seen[9], seen[10])]);
    for (const [a, b] of facts.bones)
      if (known[a] && known[b]) things.push([(seen[a][2] + seen[b][2]) / 2, () => this.limb(pen, seen[a], seen[b], b)]);
    for (let joint = 0; joint < joints; joint++)
      if (known[joint]) things.push([seen[joint][2] - 30, () => {
        const radius = Math.max(2, 23 * seen[joint][3]);
        disc(pen, seen[joint], radius + 1.2, colours.card);
        disc(pen, seen[joint], radius, colours[facts.sides[joint]], !valid(frame, joint));
        if (joint === marked) this.ring(pen, seen[joint], radius);
      }]);
    things.sort((one, other) => other[0] - one[0]).forEach(([, paint]) => paint());
  },

  limb(pen, a, b, joint) {
    const width = (facts.sides[joint] === "middle" ? 40 : 34) * (a[3] + b[3]) / 2;
    for (const [colour, wide] of [[colours.card, width + 3], [colours[facts.sides[joint]], width]]) {
      pen.strokeStyle = colour;
      pen.lineWidth = Math.max(1.5, wide);
      pen.beginPath(); pen.moveTo(a[0], a[1]); pen.lineTo(b[0], b[1]); pen.stroke();
    }
  },

  trunk(pen, seen, known) {
    const corners = [11, 14, 1, 4];
    if (!corners.every(joint => known[joint])) return;
    pen.fillStyle = colours.body;
    pen.beginPath();
    for (const joint of corners) pen.lineTo(seen[joint][0], seen[joint][1]);
    pen.fill();
  },

  head(pen, low, high) {
    pen.fillStyle = colours.head;
    pen.beginPath();
    pen.arc((low[0] + high[0]) / 2, (low[1] + high[1]) / 2, 88 * high[3], 0, 7);
    pen.fill();
  },

  ring(pen, [x, y], radius) {
    pen.strokeStyle = colours.text;
    pen.lineWidth = 2;
    pen.beginPath(); pen.arc(x, y, radius + 5, 0, 7); pen.stroke();
  },

  // Squares of half a metre that fade with the distance from the middle, and the way of the pelvis.
  floor(pen, see, frame) {
    const target = this.follow ? this.path[frame] : this.still, reach = Math.max(3000, 1.2 * this.distance), cell = 500;
    const [left, front] = [Math.floor(target[0] / cell), Math.floor(target[1] / cell)], count = Math.ceil(reach / cell);
    pen.strokeStyle = colours.grid;
    const line = (from, to, strong) => {
      const middle = [(from[0] + to[0]) / 2 - target[0], (from[1] + to[1]) / 2 - target[1]];
      const opacity = Math.max(0, 1 - Math.hypot(...middle) / reach) ** 1.5;
      const [a, b] = [see(from), see(to)];
      if (opacity < .02 || a[2] < 200 || b[2] < 200) return;
      pen.globalAlpha = opacity * (strong ? .9 : .45);
      pen.lineWidth = strong ? 1.2 : .8;
      pen.beginPath(); pen.moveTo(a[0], a[1]); pen.lineTo(b[0], b[1]); pen.stroke();
    };
    for (let i = -count; i <= count; i++)
      for (let j = -count; j < count; j++) {
        const [x, y] = [left + i, front + i];
        line([x * cell, (front + j) * cell, 0], [x * cell, (front + j + 1) * cell, 0], x % 2 === 0);
        line([(left + j) * cell, y * cell, 0], [(left + j + 1) * cell, y * cell, 0], y % 2 === 0);
      }
    pen.globalAlpha = .8;
    pen.strokeStyle = colours.accent;
    pen.lineWidth = 2;
    pen.setLineDash([1, 6]);
    pen.beginPath();
    let down = false;
    const every = Math.max(1, Math.round(frames / 1500));
    for (let at = 0; at < frames; at += every) {
      const [x, y] = world(at, 0), place = see([x, y, 0]);
      if (!isFinite(x) || place[2] < 200) { down = false; continue; }
      if (down) pen.lineTo(place[0], place[1]); else pen.moveTo(place[0], place[1]);
      down = true;
    }
    pen.stroke();
    pen.setLineDash([]);
    pen.globalAlpha = 1;
  },

  shadow(pen, see, points, known) {
    pen.strokeStyle = colours.shadow;
    pen.beginPath();
    let width = 0;
    for (const [a, b] of facts.bones) {
      if (!known[a] || !known[b]) continue;
      const [from, to] = [a, b].map(joint => see([points[joint][0], points[joint][1], 0]));
      pen.moveTo(from[0], from[1]); pen.lineTo(to[0], to[1]);
      width = 45 * from[3];
    }
    pen.lineWidth = Math.max(2, width);
    pen.stroke();
  },

  // Dragging turns, the wheel and two fingers zoom, arrows turn too when the picture has the focus.
  listen(changed) {
    const fingers = new Map();
    let apart = 0;
    const spread = () => { const [a, b] = [...fingers.values()]; return Math.hypot(a.x - b.x, a.y - b.y); };
    const zoom = factor => { this.distance = Math.min(20 * this.half, Math.max(.8 * this.half, this.distance * factor)); changed(); };
    this.canvas.addEventListener("pointerdown", event => {
      this.canvas.setPointerCapture(event.pointerId);
      fingers.set(event.pointerId, {x: event.clientX, y: event.clientY});
      if (fingers.size === 2) apart = spread();
    });
    this.canvas.addEventListener("pointermove", event => {
      const finger = fingers.get(event.pointerId);
      if (!finger) return;
      const [dx, dy] = [event.clientX - finger.x, event.clientY - finger.y];
      finger.x = event.clientX; finger.y = event.clientY;
      if (fingers.size === 2) { const now = spread(); zoom(apart / Math.max(now, 1)); apart = now; return; }
      this.azimuth -= .008 * dx;
      this.elevation = Math.min(1.55, Math.max(-.3, this.elevation + .008 * dy));
      changed();
    });
    for (const end of ["pointerup", "pointercancel"])
      this.canvas.addEventListener(end, event => fingers.delete(event.pointerId));
    this.canvas.addEventListener("wheel", event => { event.preventDefault(); zoom(Math.exp(.0012 * event.deltaY)); }, {passive: false});
  },
};
