// ioredis and node-redis over TLS with a client certificate, and over a Unix socket; the server is killed in the middle.
const Redis = require("ioredis");
const { createClient } = require("redis");
const { readFileSync } = require("node:fs");
const { once } = require("node:events");

const { TLS_PORT, CA, CERT, KEY, SOCKET } = process.env;
const tls = { ca: readFileSync(CA), cert: readFileSync(CERT), key: readFileSync(KEY), servername: "localhost" };
const patient = { maxRetriesPerRequest: null, retryStrategy: () => 50 };

async function use(name, client) {
  client.on("error", () => {});
  const value = Buffer.alloc(5000000, name);
  await client.set(name, value);
  const whole = value.equals(await client.getBuffer(name));
  const pipeline = client.pipeline();
  for (let number = 0; number < 10000; number++) pipeline.incr(name + ":count");
  const replies = await pipeline.exec();
  console.log(name, whole, replies.length, replies.at(-1)[1]);
}

async function main() {
  const encrypted = new Redis({ ...patient, port: TLS_PORT, tls });
  const local = new Redis({ ...patient, path: SOCKET });
  await use("tls", encrypted);
  await use("socket", local);
  const other = createClient({ socket: { port: Number(TLS_PORT), tls: true, ...tls, reconnectStrategy: 50 } });
  other.on("error", () => {});
  await other.connect();
  console.log("node-redis", await other.get("tls:count"));
  const stranger = new Redis({ port: TLS_PORT, tls: { ca: tls.ca, servername: "localhost" }, retryStrategy: null, maxRetriesPerRequest: 0 });
  stranger.on("error", () => {});
  console.log("without a certificate", await stranger.ping().catch(() => "refused"));
  console.log("now kill the server");
  await once(process.stdin, "data");
  console.log("after", await encrypted.get("socket:count"), await local.get("tls:count"), await other.get("tls:count"));
  for (const client of [encrypted, local, other]) await client.quit();
  process.stdin.destroy();
}

main();
