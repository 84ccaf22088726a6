// BullMQ. `producer`: asks for work of all kinds and says what came back; `worker`: does it until it is told to end;
// the other words are for workers that are killed.
const { Queue, Worker, QueueEvents, FlowProducer } = require("bullmq");

const [role] = process.argv.slice(2);
const connections = require("./connections.cjs");

// In a cluster all keys of a queue must have one slot: the prefix is a hash tag.
const settings = process.env.CLUSTER
  ? () => ({ connection: connections.ioredis(), prefix: "{bull}" })
  : () => ({ connection: { host: "127.0.0.1", port: Number(process.env.PORT), maxRetriesPerRequest: null } });

// By default a queue's events are read from the first XREAD on, which may reach the server after a job has ended: then
// who waits for that job has missed it, and waits for ever. On a busy machine that was one run of twenty.
const fromTheBeginning = () => ({ ...settings(), lastEventId: "0-0" });

async function work() {
  const seen = new Map();
  const worker = new Worker(
    "jobs",
    async (job) => {
      if (job.name === "add") return job.data.one + job.data.other;
      if (job.name === "third") {
        if (job.attemptsMade < 2) throw new Error("not yet");
        return job.attemptsMade + 1;
      }
      if (job.name === "sum") return Object.values(await job.getChildrenValues()).reduce((all, each) => all + each, 0);
      if (job.name === "hang" && process.env.HANG) {
        console.log("hanging");
        await new Promise(() => {});
      }
      return "done";
    },
    { ...settings(), concurrency: 3, lockDuration: 1000, stalledInterval: 500 },
  );
  worker.on("error", () => {}); // it connects again by itself
  await worker.waitUntilReady();
  console.log("ready");
  process.on("SIGTERM", async () => {
    await worker.close(true);
    process.exit(0);
  });
}

async function produce() {
  const queue = new Queue("jobs", settings());
  const events = new QueueEvents("jobs", fromTheBeginning());
  queue.on("error", () => {});
  events.on("error", () => {});
  await events.waitUntilReady();
  const result = async (job) => job.waitUntilFinished(events);
  const early = await queue.addBulk(
    Array.from({ length: 50 }, (_, number) => ({ name: "add", data: { one: number, other: number } })),
  );
  console.log("sums", (await Promise.all(early.map(result))).reduce((all, each) => all + each, 0));
  console.log("delayed", await result(await queue.add("add", { one: 20, other: 22 }, { delay: 300 })));
  console.log("third", await result(await queue.add("third", {}, { attempts: 3, backoff: { type: "fixed", delay: 50 } })));
  const flow = new FlowProducer(settings());
  const parent = await flow.add({
    name: "sum",
    queueName: "jobs",
    children: [1, 2, 3].map((one) => ({ name: "add", queueName: "jobs", data: { one, other: 1 } })),
  });
  console.log("flow", await result(parent.job));
  await queue.pause();
  const low = await queue.add("add", { one: 1, other: 1 }, { priority: 10 });
  const high = await queue.add("add", { one: 2, other: 2 }, { priority: 1 });
  console.log("prioritized", (await queue.getPrioritized()).map((job) => job.data.one).join(" "));
  await queue.resume();
  await Promise.all([result(low), result(high)]);
  await queue.upsertJobScheduler("often", { every: 100, limit: 3 }, { name: "tick" });
  await new Promise((done) => {
    let ticks = 0;
    events.on("completed", ({ jobId }) => jobId.startsWith("repeat:") && ++ticks === 3 && done());
  });
  console.log("scheduled");
  const once = { deduplication: { id: "only once" }, delay: 100000 };
  const [first, second] = [await queue.add("add", {}, once), await queue.add("add", {}, once)];
  console.log("deduplicated", first.id === second.id);
  console.log("counts", JSON.stringify(await queue.getJobCounts("failed", "delayed", "active", "waiting")));
  console.log("kept", (await queue.getJob(early[7].id)).returnvalue);
  await queue.obliterate({ force: true });
  console.log("obliterated", await queue.count());
  await Promise.all([flow.close(), events.close(), queue.close()]);
}

async function add(name) {
  const queue = new Queue("jobs", settings());
  const job = await queue.add(name, {});
  console.log("added", job.id);
  await queue.close();
}

async function wait(id) {
  const queue = new Queue("jobs", settings());
  const events = new QueueEvents("jobs", fromTheBeginning());
  const job = await queue.getJob(id);
  console.log("result", await job.waitUntilFinished(events));
  await Promise.all([events.close(), queue.close()]);
}

({ worker: work, producer: produce, add: () => add("hang"), wait: () => wait(process.argv[3]) })[role]()
  .then(() => role === "worker" || process.exit(0)); // the connections to a cluster are this program's own
