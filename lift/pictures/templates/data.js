// The arrays of the recording. Each is (rows, columns), column by column: 16-bit differences in time, low bytes first.
async function unpack({rows, columns, step, data}) {
  const packed = Uint8Array.from(atob(data), letter => letter.charCodeAt(0));
  const stream = new Blob([packed]).stream().pipeThrough(new DecompressionStream("deflate"));
  const bytes = new Uint8Array(await new Response(stream).arrayBuffer());
  const values = new Float32Array(rows * columns), whole = new Int16Array(1);
  for (let column = 0, from = 0; column < columns; column++) {
    whole[0] = 0;
    for (let row = 0; row < rows; row++, from++) {
      whole[0] += bytes[from] | bytes[rows * columns + from] << 8;
      values[row * columns + column] = whole[0] === -32768 ? NaN : whole[0] * step;
    }
  }
  return values;
}

const facts = JSON.parse(document.getElementById("facts").textContent);
const frames = facts.arrays.world.rows, joints = facts.joints.length;
const data = {};  // world: mm, z up; image: pixels; valid: 0 or 1; angles: degrees

function world(frame, joint) {
  const from = 3 * (frame * joints + joint);
  return [data.world[from], data.world[from + 1], data.world[from + 2]];
}
function image(frame, joint) {
  const from = 2 * (frame * joints + joint);
  return [data.image[from], data.image[from + 1]];
}
const valid = (frame, joint) => data.valid[frame * joints + joint] === 1;
const angle = (frame, number, side) => data.angles[(frame * facts.angles.length + number) * 2 + side];  // side 0: right

// Colours follow the light or dark scheme of the reader.
const colours = {};
function readColours() {
  const style = getComputedStyle(document.documentElement);
  for (const name of ["right", "left", "middle", "card", "text", "quiet", "line", "sky", "ground", "grid", "shadow", "body", "head", "accent"])
    colours[name] = style.getPropertyValue(`--${name}`).trim();
}

// A canvas at the resolution of the screen -> [context, width, height] in CSS pixels, cleared.
function fit(canvas) {
  const scale = window.devicePixelRatio || 1, width = canvas.clientWidth, height = canvas.clientHeight;
  if (canvas.width !== Math.round(width * scale) || canvas.height !== Math.round(height * scale)) {
    canvas.width = Math.round(width * scale);
    canvas.height = Math.round(height * scale);
  }
  const pen = canvas.getContext("2d");
  pen.setTransform(scale, 0, 0, scale, 0, 0);
  pen.clearRect(0, 0, width, height);
  pen.lineCap = pen.lineJoin = "round";
  return [pen, width, height];
}

function disc(pen, [x, y], radius, colour, hollow) {
  pen.beginPath();
  pen.arc(x, y, radius, 0, 7);
  pen.fillStyle = hollow ? colours.card : colour;
  pen.fill();
  if (hollow) { pen.strokeStyle = colour; pen.lineWidth = Math.max(1.2, radius * .45); pen.stroke(); }
}

// The joint nearest to a place on the screen, by where each was drawn; -1 where none is near.
function nearest(places, x, y) {
  let best = -1, least = 20;
  places.forEach(([px, py], joint) => {
    const away = Math.hypot(px - x, py - y);
    if (away < least) { least = away; best = joint; }
  });
  return best;
}
