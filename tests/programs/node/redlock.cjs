// redlock: many writers, one at a time; a lock that outlives the server.
const connections = require("./connections.cjs");
const Redlock = require("redlock");
const { once } = require("node:events");

async function main() {
  const client = connections.ioredis();
  const redlock = new Redlock([client], { retryCount: -1, retryDelay: 5, retryJitter: 5 });
  let [inside, most, count] = [0, 0, 0];
  await Promise.all(
    Array.from({ length: 30 }, async () => {
      const lock = await redlock.lock("counter", 100000);
      most = Math.max(most, ++inside);
      const read = count;
      await client.ping();
      count = read + 1;
      inside--;
      await lock.unlock();
    }),
  );
  console.log("counted", count, "at most", most);
  const held = await redlock.lock("held", 1000000);
  console.log("now kill the server");
  await once(process.stdin, "data");
  const impatient = new Redlock([client], { retryCount: 0 });
  console.log("second", await impatient.lock("held", 1000).then(() => "got it", (error) => error.name));
  const extended = await held.extend(2000000);
  console.log("left", (await client.pttl("held")) > 1500000);
  await extended.unlock();
  console.log("again", await extended.unlock().then(() => "unlocked", (error) => error.name));
  process.exit(0);
}

main();
