// One launch, or the outputs for some inputs, with onnxruntime-web.
export const now = () => performance.now() / 1000; // seconds

const ARRAYS = {
  float32: Float32Array, float64: Float64Array, int8: Int8Array, uint8: Uint8Array, int16: Int16Array,
  uint16: Uint16Array, int32: Int32Array, uint32: Uint32Array, int64: BigInt64Array, uint64: BigUint64Array,
  float16: globalThis.Float16Array ?? Uint16Array, bool: Uint8Array,
};

// The smallest step of the clock, in seconds.
export function resolution() {
  let least = Infinity;
  for (let round = 0; round < 20; round++) {
    const start = performance.now();
    let next = start;
    while (next === start) next = performance.now();
    least = Math.min(least, next - start);
  }
  return least / 1000;
}

async function bytes(get, path) {
  return new Uint8Array(await (await get(path)).arrayBuffer());
}

async function engine(job, threads) {
  const file = job.provider === "wasm" ? "ort.wasm.min.mjs" : "ort.webgpu.min.mjs";
  const ort = await import(`./ort/${file}`);
  ort.env.wasm.wasmPaths = new URL("ort/", location.href).href;
  ort.env.wasm.numThreads = threads;
  return ort;
}

async function open(ort, job, get) {
  const model = await bytes(get, `package/${job.artifact}`);
  const externalData = [];
  for (const path of job.data) externalData.push({ path, data: await bytes(get, `package/${path}`) });
  return ort.InferenceSession.create(model, { executionProviders: [job.provider], externalData });
}

async function feeds(ort, job, get, row) {
  const given = {};
  for (const t of job.inputs) {
    const raw = await bytes(get, `input/${row}/${t.name}`);
    given[t.name] = new ort.Tensor(t.dtype, new ARRAYS[t.dtype](raw.buffer), t.shape);
  }
  return given;
}

export async function outputs(job, threads, get, post, say) {
  const ort = await engine(job, threads);
  const session = await open(ort, job, get);
  for (let row = 0; row < job.rows; row++) {
    say(row / job.rows);
    const results = await session.run(await feeds(ort, job, get, row));
    for (const [index, name] of job.outputs.entries()) {
      const data = await results[name].getData();
      await post(`output/${row}/${index}`, new Uint8Array(data.buffer, data.byteOffset, data.byteLength));
    }
  }
  await session.release();
  return {};
}

export async function launch(job, threads, get, say) {
  const start = now();
  const ort = await engine(job, threads);
  let session = await open(ort, job, get);
  const cold = now() - start;
  const given = await feeds(ort, job, get, 0);
  const once = async () => {
    const begun = now();
    const results = await session.run(given);
    for (const tensor of Object.values(results)) await tensor.getData(); // on a GPU, this waits for it
    return now() - begun;
  };
  const first = await once();
  const warm = [];
  for (let i = 0; i < job.warmup; i++) warm.push(await once());
  const each = warm.sort((a, b) => a - b)[Math.floor(warm.length / 2)] ?? first;
  const step = resolution();
  // What is shorter than 20 steps of the clock is timed several runs at once.
  const together = Math.min(1000, Math.max(1, Math.ceil((20 * step) / Math.max(each, step / 10))));
  const samples = [], begun = now();
  while (samples.length < job.iterations && (!samples.length || now() - begun < job.seconds)) {
    const from = now();
    for (let i = 0; i < together; i++) await once();
    samples.push((now() - from) / together);
    if (samples.length % 5 === 0) {
      say(samples.length / job.iterations);
      await new Promise((done) => setTimeout(done)); // let the page be drawn, between samples
    }
  }
  await session.release();
  const again = now();
  session = await open(ort, job, get);
  const second = now() - again;
  await session.release();
  return {
    samples_s: { run: samples }, cold_load_s: cold, warm_load_s: second, first_run_s: first, threads,
    runs_a_sample: together, timer_resolution_s: step,
  };
}
