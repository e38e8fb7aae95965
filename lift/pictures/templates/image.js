// The 2D keypoints in the image, over the video where there is one.
const picture = {
  canvas: document.querySelector("#image canvas"),
  video: null,
  whole: false, // the whole image, or the part around the person
  places: [],

  prepare(changed) {
    this.person = this.around();
    if (!facts.video) return;
    this.video = document.createElement("video");
    Object.assign(this.video, {src: facts.video.source, muted: true, playsInline: true, preload: "auto"});
    this.video.addEventListener("seeked", changed);
    this.video.addEventListener("loadeddata", changed);
    this.video.addEventListener("error", () => { this.video = null; this.lost = true; changed(); });
  },

  // The part of the image in which the person ever is, with a margin: [left, top, width, height] in pixels.
  around() {
    let [left, top, right, bottom] = [Infinity, Infinity, -Infinity, -Infinity];
    for (let from = 0; from < data.image.length; from += 2) {
      const [x, y] = [data.image[from], data.image[from + 1]];
      if (x < left) left = x;
      if (x > right) right = x;
      if (y < top) top = y;
      if (y > bottom) bottom = y;
    }
    if (!(right > left && bottom > top)) return [0, 0, ...facts.size];
    const margin = .15 * (bottom - top);
    return [left - margin, top - 1.2 * margin, right - left + 2 * margin, bottom - top + 2.2 * margin];
  },

  draw(frame, marked) {
    const [pen, width, height] = fit(this.canvas), [wide, high] = facts.size;
    const [x0, y0, w, h] = this.whole ? [0, 0, wide, high] : this.person;
    const scale = Math.min(width / w, height / h);
    const place = (space, middle, all) => all < space ? (space - all) / 2 : Math.min(0, Math.max(space - all, space / 2 - middle));
    const left = place(width, scale * (x0 + w / 2), scale * wide), top = place(height, scale * (y0 + h / 2), scale * high);
    pen.fillStyle = colours.ground;
    pen.fillRect(left, top, scale * wide, scale * high);
    if (this.video && this.video.readyState > 1) pen.drawImage(this.video, left, top, scale * wide, scale * high);
    pen.strokeStyle = colours.line;
    pen.lineWidth = 1;
    pen.strokeRect(left + .5, top + .5, scale * wide - 1, scale * high - 1);
    const places = facts.joints.map((_, joint) => image(frame, joint)).map(([x, y]) => [left + scale * x, top + scale * y]);
    const known = places.map(([x, y]) => isFinite(x + y)), size = this.bodySize(places, known);
    this.places = places;
    for (const [colour, wider] of [[this.video ? "rgba(255, 255, 255, .75)" : colours.card, 2], [null, 0]])
      for (const [a, b] of facts.bones) {
        if (!known[a] || !known[b]) continue;
        pen.strokeStyle = colour || colours[facts.sides[b]];
        pen.lineWidth = Math.max(2, .014 * size) + wider;
        pen.beginPath(); pen.moveTo(...places[a]); pen.lineTo(...places[b]); pen.stroke();
      }
    places.forEach((place, joint) => {
      if (!known[joint]) return;
      disc(pen, place, Math.max(2.6, .012 * size), colours[facts.sides[joint]], !valid(frame, joint));
      if (joint === marked) space.ring(pen, place, Math.max(2.6, .012 * size));
    });
    if (this.lost) {
      pen.fillStyle = colours.quiet;
      pen.font = "13px system-ui, sans-serif";
      pen.textAlign = "center";
      pen.fillText("The video is not beside this page, or the browser cannot play it.", width / 2, height - 14, width - 20);
    }
  },

  bodySize(places, known) {
    const heights = places.filter((_, joint) => known[joint]).map(([, y]) => y);
    return heights.length ? Math.max(...heights) - Math.min(...heights) : 0;
  },
};
