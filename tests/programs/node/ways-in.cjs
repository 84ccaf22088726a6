// ioredis and node-redis over TCP, TLS with a client's certificate, and a Unix socket.
const fs = require("node:fs");
const Redis = require("ioredis");
const { createClient } = require("redis");

const { PORT, TLS_PORT, SOCKET, CA, CERT, KEY } = process.env;
const tls = { ca: fs.readFileSync(CA), cert: fs.readFileSync(CERT), key: fs.readFileSync(KEY) };

async function withIoredis(name, options) {
  const client = new Redis({ ...options, enableAutoPipelining: true });
  client.defineCommand("double", { numberOfKeys: 1, lua: "return redis.call('INCRBY', KEYS[1], redis.call('GET', KEYS[1]))" });
  await client.set("number", 21);
  const doubled = await client.double("number");
  const many = await Promise.all(Array.from({ length: 500 }, (_, number) => client.hset("hash", number, number)));
  const subscriber = client.duplicate();
  await subscriber.subscribe("news");
  const heard = new Promise((done) => subscriber.on("message", (channel, message) => done(message)));
  await client.publish("news", "x".repeat(100000));
  console.log("ioredis", name, doubled, many.length, await client.hlen("hash"), (await heard).length);
  await client.del("hash");
  subscriber.disconnect();
  await client.quit();
}

async function withNodeRedis(name, socket) {
  const client = await createClient({ socket, RESP: 3 }).connect();
  await client.hSet("hash", { a: "1", b: "2" });
  const [read, counted] = await client.multi().hGetAll("hash").incr("visits").exec();
  console.log("node-redis", name, JSON.stringify(read), counted > 0);
  await client.del("hash");
  client.destroy();
}

async function main() {
  await withIoredis("tcp", { port: PORT });
  await withIoredis("tls", { port: TLS_PORT, host: "localhost", tls });
  await withIoredis("socket", { path: SOCKET });
  await withNodeRedis("tcp", { port: PORT });
  await withNodeRedis("tls", { port: TLS_PORT, host: "localhost", tls: true, ...tls });
  await withNodeRedis("socket", { path: SOCKET });
}

main();
