// A load by ioredis or node-redis, as flin/testing/cluster/load.py has it: counts, appends and sets, alone and in MULTI,
// sent once each, until standard input says so. Each call is a line of the history (flin/testing/cluster/history.py).
const fs = require("node:fs");
const { once } = require("node:events");

const [kind, history] = process.argv.slice(2);
const nodes = process.env.ADDRESSES.split(",").map((address) => {
  const [host, port] = address.split(":");
  return { host, port: Number(port) };
});
const file = fs.openSync(history, "a");
const TASKS = 4;
const OBJECTS = 12;
const MAX_UNKNOWN = 5; // of an object, and calls: then another takes its place
const MAX_CALLS = 600;
const TIMEOUT_MS = 4000;
const REFUSED = /^(MOVED|CLUSTERDOWN|TRYAGAIN|READONLY|LOADING|EXECABORT|OOM)|Too many Cluster redirections|ECONNREFUSED/;
let over = false;
let done = 0;
let made = 0;

const pause = (ms) => new Promise((go) => setTimeout(go, ms));
const fresh = () => ({ name: `{${kind}:${made++}}`, unknown: 0, calls: 0 });
const objects = Array.from({ length: OBJECTS }, fresh);
const choice = (all) => all[Math.floor(Math.random() * all.length)];

function someCommands({ name, calls }) {
  const [count, text, register, other] = ["n", "t", "r", "m"].map((key) => name + key);
  const number = String(calls).padStart(5, "0");
  return choice([
    [["INCR", count]],
    [["INCR", count]],
    [["APPEND", text, `${number};`]],
    [["SET", register, number]],
    [["INCR", count], ["INCR", other]],
    [["APPEND", text, `${number};`], ["GETSET", register, number]],
    [["GET", choice([count, text, register, other])]],
    [["GET", count], ["GET", other]],
  ]);
}

// Each resolves to a function that performs commands and gives their replies.
async function ioredis() {
  const Redis = require("ioredis");
  const cluster = new Redis.Cluster(nodes, {
    retryDelayOnFailover: 0, retryDelayOnClusterDown: 0, // nothing is sent again
    clusterRetryStrategy: () => 100,
    slotsRefreshTimeout: 2000,
    redisOptions: {
      maxRetriesPerRequest: 0, autoResendUnfulfilledCommands: false, commandTimeout: TIMEOUT_MS, connectTimeout: 1000,
    },
  });
  cluster.on("error", () => {});
  return async (commands) => {
    if (commands.length === 1) return [await cluster.call(...commands[0])];
    const transaction = cluster.multi();
    for (const [name, ...words] of commands) transaction[name.toLowerCase()](...words);
    const replies = await transaction.exec();
    if (replies === null) throw new Error("EXECABORT");
    for (const [error] of replies) if (error) throw error;
    return replies.map(([, reply]) => reply);
  };
}

async function nodeRedis() {
  const { createCluster } = require("redis");
  const cluster = createCluster({
    rootNodes: nodes.map(({ host, port }) => ({ url: `redis://${host}:${port}` })),
    defaults: { socket: { socketTimeout: TIMEOUT_MS, connectTimeout: 1000 } },
  });
  cluster.on("error", () => {});
  cluster.on("node-error", () => {});
  await cluster.connect();
  return async (commands) => {
    if (commands.length === 1) return [await cluster.sendCommand(commands[0][1], false, commands[0])];
    const transaction = cluster.multi(commands[0][1]);
    for (const [name, key, ...words] of commands) transaction.addCommand(key, false, [name, key, ...words]);
    return transaction.exec();
  };
}

async function task(number, perform) {
  while (!over) {
    const place = Math.floor(Math.random() * OBJECTS);
    const object = objects[place];
    object.calls++;
    const commands = someCommands(object);
    const began = process.hrtime.bigint();
    let outcome = "done";
    let replies = [];
    try {
      replies = await perform(commands);
      done++;
    } catch (error) {
      const text = String(error.message);
      outcome = REFUSED.test(text) ? "refused" : "unknown";
      if (/^(ERR|WRONGTYPE|NOPERM|CROSSSLOT)/.test(text)) console.log("unexpected", text);
      object.unknown += outcome === "unknown";
    }
    const times = `"began":${began},"ended":${process.hrtime.bigint()}`; // more digits than a number holds
    const said = JSON.stringify({ client: `${kind} ${number}`, object: object.name, commands, outcome, replies });
    fs.writeSync(file, `${said.slice(0, -1)},${times}}\n`);
    if (object.unknown >= MAX_UNKNOWN || object.calls >= MAX_CALLS) {
      if (objects[place] === object) objects[place] = fresh();
    }
    if (outcome !== "done") await pause(20);
  }
}

async function main() {
  const perform = await { ioredis, "node-redis": nodeRedis }[kind]();
  const tasks = Array.from({ length: TASKS }, (_, number) => task(number, perform));
  const progress = setInterval(() => console.log("done", done), 100);
  console.log("begun");
  await once(process.stdin, "data");
  over = true;
  await Promise.all(tasks);
  clearInterval(progress);
  console.log("ended", done);
}

main().then(() => process.exit(0), (error) => {
  console.log(error.stack);
  process.exit(1);
});
