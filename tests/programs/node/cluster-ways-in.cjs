// ioredis Cluster and node-redis createCluster with a password, or over TLS with certificates on both sides: what keys of
// all nodes hold.
const Redis = require("ioredis");
const { createCluster } = require("redis");
const fs = require("node:fs");

const { PORT, TLS_PORT, PASSWORD, CA, CERT, KEY } = process.env;
const numbers = Array.from({ length: 50 }, (_, number) => number);

async function sum(get) {
  return (await Promise.all(numbers.map((n) => get(`key:${n}`)))).reduce((all, one) => all + Number(one), 0);
}

async function read(host, port, ioredisOptions, nodeRedisOptions) {
  const ioredis = new Redis.Cluster([{ host, port: Number(port) }], ioredisOptions);
  console.log("ioredis", await sum((key) => ioredis.get(key)));
  const cluster = createCluster({ rootNodes: [{ socket: { host, port: Number(port) } }], defaults: nodeRedisOptions });
  cluster.on("error", (error) => console.log(error.message));
  await cluster.connect();
  console.log("node-redis", await sum((key) => cluster.get(key)));
}

async function main() {
  if (process.argv[2] === "password") {
    return read("127.0.0.1", PORT, { redisOptions: { password: PASSWORD } }, { password: PASSWORD });
  }
  const tls = { ca: fs.readFileSync(CA), cert: fs.readFileSync(CERT), key: fs.readFileSync(KEY) };
  return read("localhost", TLS_PORT, { redisOptions: { tls } }, { socket: { tls: true, ...tls } });
}

main().then(() => process.exit(0), (error) => {
  console.log(error.stack);
  process.exit(1);
});
