// ioredis and node-redis as programs use them: pipelines by themselves, own commands in Lua, transactions, messages.
const Redis = require("ioredis");
const { createClient } = require("redis");
const { once } = require("node:events");

const lua = "return redis.call('INCRBY', KEYS[1], redis.call('GET', KEYS[1]))";

async function main() {
  const ioredis = new Redis(process.env.PORT, { enableAutoPipelining: true, maxRetriesPerRequest: null });
  const subscriber = new Redis(process.env.PORT, { maxRetriesPerRequest: null });
  const nodeRedis = createClient({ url: process.env.URL, RESP: 3 });
  for (const client of [ioredis, subscriber, nodeRedis]) client.on("error", () => {}); // they connect again
  ioredis.defineCommand("double", { numberOfKeys: 1, lua });
  await nodeRedis.connect();
  await subscriber.subscribe("news");
  const heard = () => new Promise((done) => subscriber.once("message", (channel, message) => done(message)));

  const use = async () => {
    const many = await Promise.all(Array.from({ length: 500 }, (_, number) => ioredis.hset("hash", number, number)));
    console.log("ioredis", many.length, await ioredis.hlen("hash"), await ioredis.double("number"));
    await nodeRedis.hSet("fields", { a: "1", b: "2" });
    const [read, counted] = await nodeRedis.multi().hGetAll("fields").incr("visits").exec();
    console.log("node-redis", JSON.stringify(read), counted);
    const message = heard();
    await nodeRedis.publish("news", "x".repeat(100000));
    console.log("heard", (await message).length);
  };
  await ioredis.set("number", 21);
  await use();
  console.log("now kill the server");
  await once(process.stdin, "data");
  while ((await ioredis.pubsub("NUMSUB", "news"))[1] < 1) await new Promise((done) => setTimeout(done, 10));
  await use();
  process.exit(0);
}

main();
