// rate-limiter-flexible, by ioredis and by node-redis.
const { RateLimiterRedis, BurstyRateLimiter } = require("rate-limiter-flexible");
const connections = require("./connections.cjs");
const { once } = require("node:events");

async function tried(limiter, key, times) {
  const outcomes = [];
  for (let number = 0; number < times; number++) {
    outcomes.push(await limiter.consume(key).then((answer) => answer.remainingPoints, () => "no"));
  }
  return outcomes.join(" ");
}

async function main() {
  const ioredis = connections.ioredis();
  const nodeRedis = await connections.nodeRedis();
  const limiters = {
    ioredis: new RateLimiterRedis({ storeClient: ioredis, keyPrefix: "a", points: 5, duration: 1000, blockDuration: 2000 }),
    nodeRedis: new RateLimiterRedis({
      storeClient: nodeRedis, useRedisPackage: true, keyPrefix: "b", points: 5, duration: 1000,
    }),
  };
  for (const [name, limiter] of Object.entries(limiters)) console.log(name, await tried(limiter, "ada", 7));
  const bursty = new BurstyRateLimiter(
    new RateLimiterRedis({ storeClient: ioredis, keyPrefix: "slow", points: 1, duration: 1000 }),
    new RateLimiterRedis({ storeClient: ioredis, keyPrefix: "burst", points: 2, duration: 1000 }),
  );
  console.log("bursty", (await tried(bursty, "ada", 4)).split(" ").filter((outcome) => outcome !== "no").length);
  console.log("now kill the server");
  await once(process.stdin, "data"); // it has been killed and started again
  for (const [name, limiter] of Object.entries(limiters)) {
    const found = await limiter.get("ada");
    console.log(name, "after", found.consumedPoints, found.msBeforeNext > 900000, await tried(limiter, "ada", 1));
    await limiter.reward("grace", 3);
    await limiter.penalty("grace", 4);
    console.log(name, "grace", (await limiter.get("grace")).consumedPoints, await limiter.delete("grace"));
  }
  process.exit(0);
}

main();
