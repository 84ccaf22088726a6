// bee-queue: a producer and a worker in one, and the words for a worker that is killed.
const Queue = require("bee-queue");

const [role, id] = process.argv.slice(2);
const queue = new Queue("jobs", {
  redis: { port: Number(process.env.PORT), host: "127.0.0.1" },
  activateDelayedJobs: true,
  stallInterval: 500,
  removeOnSuccess: false,
});
queue.on("error", () => {});

function work() {
  let tries = 0;
  queue.process(3, async (job) => {
    if (job.data.kind === "add") return job.data.one + job.data.other;
    if (job.data.kind === "third") {
      if (++tries < 3) throw new Error("not yet");
      return tries;
    }
    if (!process.env.HANG) return "done";
    console.log("hanging");
    return new Promise(() => {});
  });
}

const finished = (job) => new Promise((done) => job.on("succeeded", done));

async function produce() {
  const early = Array.from({ length: 50 }, (_, number) => queue.createJob({ kind: "add", one: number, other: number }));
  const results = Promise.all(early.map(finished));
  const errors = await queue.saveAll(early);
  console.log("errors", errors.size);
  work();
  console.log("sums", (await results).reduce((all, each) => all + each, 0));
  const delayed = queue.createJob({ kind: "add", one: 20, other: 22 }).delayUntil(Date.now() + 300);
  const third = queue.createJob({ kind: "third" }).retries(3).backoff("fixed", 50);
  for (const [name, job] of Object.entries({ delayed, third })) {
    const result = finished(job);
    await job.save();
    console.log(name, await result);
  }
  console.log("health", JSON.stringify(await queue.checkHealth()));
  await queue.destroy();
  await queue.close();
}

const roles = {
  producer: produce,
  worker: async () => {
    work();
    await queue.ready();
    queue.checkStalledJobs(500);
    console.log("ready");
    process.on("SIGTERM", () => process.exit(0));
  },
  add: async () => {
    console.log("added", (await queue.createJob({ kind: "hang" }).save()).id);
    await queue.close();
  },
  wait: async () => {
    const job = await queue.getJob(id);
    const result = finished(job);
    console.log("result", (await queue.getJob(id)).status === "succeeded" ? "done" : await result);
    await queue.close();
  },
};
roles[role]();
