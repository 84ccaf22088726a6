// The connections of these programs: to the server, or with CLUSTER to all its nodes, as ioredis and node-redis come.
const Redis = require("ioredis");
const { createClient, createCluster } = require("redis");

const { PORT, URL, CLUSTER } = process.env;

function ioredis(options = {}) {
  const patient = { maxRetriesPerRequest: null, ...options };
  const client = CLUSTER
    ? new Redis.Cluster([{ host: "127.0.0.1", port: Number(PORT) }], { redisOptions: patient, ...options })
    : new Redis(PORT, patient);
  client.on("error", () => {}); // it connects again by itself
  return client;
}

async function nodeRedis() {
  const client = CLUSTER ? createCluster({ rootNodes: [{ url: URL }] }) : createClient({ url: URL });
  client.on("error", () => {});
  await client.connect();
  return client;
}

module.exports = { ioredis, nodeRedis };
