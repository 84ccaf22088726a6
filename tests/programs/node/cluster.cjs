// ioredis Cluster and node-redis createCluster as programs use them: keys of all slots, pipelines, transactions, own
// commands in Lua, scans of all nodes, blocking pops, messages; before and after a node was killed.
const Redis = require("ioredis");
const { createCluster } = require("redis");
const { once } = require("node:events");

const host = "127.0.0.1";
const port = Number(process.env.PORT);
const lua = "return redis.call('INCRBY', KEYS[1], redis.call('GET', KEYS[1]))";
const many = Array.from({ length: 500 }, (_, number) => number);

// By ioredis.
async function useIoredis(cluster, visit) {
  const set = await Promise.all(many.map((n) => cluster.set(`key:${n}`, n)));
  const sum = (await Promise.all(many.map((n) => cluster.get(`key:${n}`)))).reduce((all, one) => all + Number(one), 0);
  console.log("keys", set.length, sum);
  const pipeline = cluster.pipeline(); // of one slot, as it wants
  for (const n of many) pipeline.hset("{one}:hash", n, n).rpush("{one}:list", n);
  console.log("pipeline", (await pipeline.exec()).length, await cluster.hlen("{one}:hash"));
  const replies = await cluster.multi().set("{t}:a", 1).incr("{t}:a").exec();
  console.log("transaction", JSON.stringify(replies));
  await cluster.set("number", 21 * visit);
  console.log("script", await cluster.double("number"));
  const sizes = await Promise.all(cluster.nodes("master").map((node) => node.dbsize()));
  console.log("nodes", sizes.length, sizes.every((size) => size > 100), await scanned(cluster));
  const blocked = cluster.duplicate();
  const popped = blocked.blpop("later", 0);
  await cluster.rpush("later", "come");
  console.log("popped", JSON.stringify(await popped));
  blocked.disconnect();
  await cluster.mset("{m}:1", "a", "{m}:2", "b");
  console.log("mget", await cluster.mget("{m}:1", "{m}:2"));
  console.log("several slots", await cluster.mget("key:1", "key:2").catch((error) => error.message.split(" ")[0]));
}

async function scanned(cluster) {
  const found = new Set();
  for (const node of cluster.nodes("master")) {
    for await (const keys of node.scanStream({ match: "key:*", count: 50 })) keys.forEach((key) => found.add(key));
  }
  return found.size;
}

// Shard messages go to the node that has the channel's slot.
async function hearIoredis() {
  const cluster = new Redis.Cluster([{ host, port }], { shardedSubscribers: true });
  await once(cluster, "ready");
  const channels = many.slice(0, 8).map((n) => `channel:${n}`);
  const heard = [];
  cluster.on("smessage", (channel, message) => heard.push(message));
  for (const channel of channels) await cluster.ssubscribe(channel);
  for (const channel of channels) await cluster.spublish(channel, channel);
  while (heard.length < channels.length) await new Promise((done) => setTimeout(done, 5));
  console.log("heard", heard.sort().join() === channels.join());
  cluster.disconnect();
}

async function ioredis() {
  const cluster = new Redis.Cluster([{ host, port }]);
  cluster.on("error", () => {});
  cluster.defineCommand("double", { numberOfKeys: 1, lua });
  await useIoredis(cluster, 1);
  await hearIoredis();
  console.log("now kill a node");
  await once(process.stdin, "data");
  await useIoredis(cluster, 2);
  await hearIoredis();
  const automatic = new Redis.Cluster([{ host, port }], { enableAutoPipelining: true });
  console.log("automatic pipelines", (await Promise.all(many.map((n) => automatic.incr(`count:${n}`)))).length);
}

// By node-redis.
async function useNodeRedis(cluster, visit) {
  const set = await Promise.all(many.map((n) => cluster.set(`key:${n}`, n)));
  const sum = (await Promise.all(many.map((n) => cluster.get(`key:${n}`)))).reduce((all, one) => all + Number(one), 0);
  console.log("keys", set.length, sum);
  await cluster.hSet("fields", { a: "1", b: "2" });
  console.log("hash", JSON.stringify(await cluster.hGetAll("fields")));
  const [read, counted] = await cluster.multi().set("{t}:a", visit).get("{t}:a").incr("{t}:b").exec().then((all) => all.slice(1));
  console.log("transaction", read, counted);
  console.log("script", await cluster.eval(lua, { keys: ["{t}:a"] }));
  let size = 0;
  const found = new Set();
  for (const { client } of cluster.masters.map((node) => ({ client: cluster.nodeClient(node) }))) {
    const node = await client;
    size += (await node.dbSize()) > 100 ? 1 : 0;
    for await (const keys of node.scanIterator({ MATCH: "key:*", COUNT: 50 })) keys.forEach((key) => found.add(key));
  }
  console.log("nodes", size, found.size);
  const heard = [];
  const channels = many.slice(0, 8).map((n) => `channel:${n}`);
  const listener = (message) => heard.push(message);
  for (const channel of channels) await cluster.sSubscribe(channel, listener);
  for (const channel of channels) await cluster.sPublish(channel, channel);
  while (heard.length < channels.length) await new Promise((done) => setTimeout(done, 5));
  console.log("heard", heard.sort().join() === channels.join());
  for (const channel of channels) await cluster.sUnsubscribe(channel, listener);
}

async function nodeRedis(protocol) {
  const cluster = createCluster({ rootNodes: [{ url: process.env.URL }], ...(protocol ? { RESP: protocol } : {}) });
  cluster.on("error", () => {});
  cluster.on("node-error", () => {});
  await cluster.connect();
  await useNodeRedis(cluster, 1);
  console.log("now kill a node");
  await once(process.stdin, "data");
  await useNodeRedis(cluster, 2);
}

const [role, protocol] = process.argv.slice(2);
({ ioredis, "node-redis": () => nodeRedis(Number(protocol)) })[role]().then(() => process.exit(0), (error) => {
  console.log(error.stack);
  process.exit(1);
});
