// Playing, scrubbing, and the joint under the mouse.
const player = {frame: 0, playing: false, speed: 1, since: 0, begun: 0, marked: -1, waiting: false};
const element = id => document.getElementById(id);

function draw() {
  player.waiting = false;
  const {frame, marked} = player;
  picture.draw(frame, marked);
  space.draw(frame, marked);
  charts.draw(frame);
  element("scrub").value = frame;
  element("time").value = `${(frame / facts.fps).toFixed(2)} s · frame ${frame * facts.every}`;
  document.documentElement.dataset.frame = frame;
}
function changed() {
  if (!player.waiting) { player.waiting = true; requestAnimationFrame(draw); }
}

function go(frame) {
  player.frame = Math.min(frames - 1, Math.max(0, frame));
  player.begun = player.frame;
  player.since = performance.now();
  const {video} = picture;
  if (video) video.currentTime = facts.video.start + (player.frame + .5) / facts.video.fps;
  changed();
}

function play(on) {
  if (on && player.frame >= frames - 1) go(0);
  player.playing = on;
  player.begun = player.frame;
  player.since = performance.now();
  document.documentElement.classList.toggle("playing", on);
  element("play").setAttribute("aria-label", on ? "Pause" : "Play");
  const {video} = picture;
  if (video) {
    video.playbackRate = player.speed * facts.fps / facts.video.fps;
    if (on) video.play().catch(() => {}); else { video.pause(); go(player.frame); }
  }
  if (on) requestAnimationFrame(tick);
}

// The video is the clock where it runs.
function tick(now) {
  if (!player.playing) return;
  const {video} = picture;
  const frame = video && !video.paused && video.readyState > 1
    ? Math.floor((video.currentTime - facts.video.start) * facts.video.fps + .01)
    : player.begun + Math.floor((now - player.since) / 1000 * player.speed * facts.fps);
  if (frame >= frames) { go(0); if (video) video.play().catch(() => {}); }
  else if (frame !== player.frame && frame >= 0) { player.frame = frame; changed(); }
  requestAnimationFrame(tick);
}

// The tip at a joint of one of the two pictures.
function point(part, lines, event) {
  const tip = part.canvas.parentElement.querySelector(".tip");
  const joint = event && !event.buttons ? nearest(part.places, event.offsetX, event.offsetY) : -1;
  if (player.marked !== joint) { player.marked = joint; changed(); }
  tip.hidden = joint < 0;
  if (joint < 0) return;
  const name = facts.joints[joint], state = valid(player.frame, joint) ? "" : "\nnot seen, filled in";
  tip.textContent = `${name[0].toUpperCase()}${name.slice(1)}\n${lines(joint)}${state}`;
  const [x, y] = part.places[joint], {clientWidth, clientHeight} = part.canvas;
  tip.style.left = `${Math.max(4, Math.min(x + 14, clientWidth - tip.offsetWidth - 4))}px`;
  tip.style.top = `${Math.max(4, Math.min(y + 14, clientHeight - tip.offsetHeight - 4))}px`;
}

function listen() {
  const {canvas} = space;
  const metres = joint => world(player.frame, joint).map((value, axis) => `${"xyz"[axis]} ${(value / 1000).toFixed(2)}`).join("  ") + " m";
  const pixels = joint => image(player.frame, joint).map((value, axis) => `${"xy"[axis]} ${value.toFixed(0)}`).join("  ") + " px";
  for (const [part, lines] of [[space, metres], [picture, pixels]]) {
    part.canvas.addEventListener("pointermove", event => point(part, lines, event));
    part.canvas.addEventListener("pointerdown", event => { if (event.pointerType !== "mouse") point(part, lines, {offsetX: event.offsetX, offsetY: event.offsetY}); });
    part.canvas.addEventListener("pointerleave", () => point(part, lines, null));
  }
  space.listen(changed);
  element("play").addEventListener("click", () => play(!player.playing));
  element("back").addEventListener("click", () => { play(false); go(player.frame - 1); });
  element("next").addEventListener("click", () => { play(false); go(player.frame + 1); });
  element("scrub").addEventListener("input", event => go(Number(event.target.value)));
  element("speed").addEventListener("change", event => { player.speed = Number(event.target.value); play(player.playing); });
  element("follow").addEventListener("click", () => { space.setFollow(!space.follow); showFollow(); });
  element("whole").addEventListener("click", () => {
    picture.whole = !picture.whole;
    element("whole").setAttribute("aria-pressed", picture.whole);
    changed();
  });
  for (const button of document.querySelectorAll("[data-view]"))
    button.addEventListener("click", () => { space.from(button.dataset.view, player.frame); changed(); });
  addEventListener("keydown", event => {
    if (event.target.matches("input, select, button, summary") || event.ctrlKey || event.metaKey || event.altKey) return;
    const step = {ArrowLeft: -1, ArrowRight: 1}[event.key];
    if (event.key === " ") { event.preventDefault(); play(!player.playing); }
    else if (step) { event.preventDefault(); play(false); go(player.frame + step); }
  });
  addEventListener("resize", changed);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => { readColours(); changed(); });
}

function showFollow() {
  element("follow").setAttribute("aria-pressed", space.follow);
  changed();
}

// An address that ends in #t=1.5 opens at that second, still.
async function start() {
  for (const [name, array] of Object.entries(facts.arrays)) data[name] = await unpack(array);
  readColours();
  element("scrub").max = frames - 1;
  space.prepare();
  picture.prepare(changed);
  charts.prepare(go);
  listen();
  showFollow();
  const second = /^#t=([\d.]+)$/.exec(location.hash);
  go(second ? Math.round(second[1] * facts.fps) : 0);
  draw();
  if (!second && !matchMedia("(prefers-reduced-motion: reduce)").matches) play(true);
  document.documentElement.dataset.ready = "yes";
}
start();
