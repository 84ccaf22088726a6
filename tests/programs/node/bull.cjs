// Bull, the older brother of BullMQ: a producer and a worker in one, and the words for a worker that is killed.
const Queue = require("bull");

const connections = require("./connections.cjs");

const [role, ...words] = process.argv.slice(2);
// In a cluster all keys of a queue must have one slot: the prefix is a hash tag.
const place = process.env.CLUSTER
  ? { createClient: () => connections.ioredis({ enableReadyCheck: false }), prefix: "{bull}" }
  : { redis: { port: Number(process.env.PORT), host: "127.0.0.1" } };
const queue = new Queue("jobs", {
  ...place,
  settings: { lockDuration: 1000, stalledInterval: 500 },
});
queue.on("error", () => {});

function work() {
  queue.process("add", 3, async (job) => job.data.one + job.data.other);
  queue.process("third", async (job) => {
    if (job.attemptsMade < 2) throw new Error("not yet");
    return job.attemptsMade + 1;
  });
  queue.process("hang", async () => {
    if (!process.env.HANG) return "done";
    console.log("hanging");
    return new Promise(() => {});
  });
}

async function produce() {
  const early = await queue.addBulk(
    Array.from({ length: 50 }, (_, number) => ({ name: "add", data: { one: number, other: number } })),
  );
  work();
  console.log("sums", (await Promise.all(early.map((job) => job.finished()))).reduce((all, each) => all + each, 0));
  console.log("delayed", await (await queue.add("add", { one: 20, other: 22 }, { delay: 300 })).finished());
  console.log("third", await (await queue.add("third", {}, { attempts: 3, backoff: 50 })).finished());
  await queue.pause();
  const low = await queue.add("add", { one: 1, other: 1 }, { priority: 10 });
  const high = await queue.add("add", { one: 2, other: 2 }, { priority: 1 });
  console.log("waiting", (await queue.getWaiting()).length);
  await queue.resume();
  await Promise.all([low.finished(), high.finished()]);
  await queue.add("add", { one: 1, other: 1 }, { repeat: { every: 100, limit: 3 } });
  await new Promise((done) => {
    let ticks = 0;
    queue.on("global:completed", (id) => String(id).startsWith("repeat:") && ++ticks === 3 && done());
  });
  console.log("repeated", (await queue.getRepeatableJobs()).length);
  console.log("kept", (await queue.getJob(early[7].id)).returnvalue);
  await queue.obliterate({ force: true });
  console.log("obliterated", await queue.count());
  await queue.close();
}

const roles = {
  producer: produce,
  worker: async () => {
    work();
    await queue.isReady();
    console.log("ready");
    process.on("SIGTERM", () => process.exit(0));
  },
  add: async () => {
    console.log("added", (await queue.add("hang", {}, { attempts: 2 })).id);
    await queue.close();
  },
  wait: async () => {
    console.log("result", await (await queue.getJob(words[0])).finished());
    await queue.close();
  },
};
roles[role]().then(() => role === "worker" || process.exit(0)); // the connections to a cluster are this program's own
