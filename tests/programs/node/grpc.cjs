// All six calls of `flin grpc` by @grpc/grpc-js; the server behind the gateway is killed in the middle.
const grpc = require("@grpc/grpc-js");
const { loadSync } = require("@grpc/proto-loader");
const { once } = require("node:events");
const { promisify } = require("node:util");

const { PROTO, ADDRESS } = process.env;
const { flin } = grpc.loadPackageDefinition(loadSync(PROTO, { longs: Number, enums: String, oneofs: true }));
const kv = new flin.v1.KV(ADDRESS, grpc.credentials.createInsecure());
const ask = (name, request) => promisify(kv[name].bind(kv))(request);
const put = (key, value) => ({ put: { key: Buffer.from(key), value: Buffer.from(value) } });

async function main() {
  await ask("Put", { key: Buffer.from("a"), value: Buffer.from([0, 255]), ttlMs: 100000 });
  console.log("get", (await ask("Get", { key: Buffer.from("a") })).value.toString("hex"));
  console.log("absent", (await ask("Get", { key: Buffer.from("none") })).value ?? null);

  const watch = kv.Watch({ prefixes: [Buffer.from("k")] });
  watch.on("error", () => {});
  const [begun] = await once(watch, "data");
  console.log("watching", begun.events?.length ?? 0);
  const operations = Array.from({ length: 2500 }, (_, number) => put("k" + String(number).padStart(4, "0"), "v"));
  console.log("batch", (await ask("Batch", { operations })).results.length);
  let seen = 0;
  for await (const reply of watch) {
    seen += reply.events?.length ?? 0; // one without says how far the watch is
    if (seen === 2500) break;
  }
  console.log("watched", seen);

  let pairs = 0, pages = 0;
  for await (const page of kv.Range({ prefix: Buffer.from("k"), reverse: true })) {
    pages += 1;
    pairs += page.pairs.length;
  }
  console.log("range", pages, pairs);

  const compares = [{ key: Buffer.from("k0000"), value: Buffer.from("v"), relation: "EQUAL" }];
  const request = { compares, then: [put("k0000", "w")], otherwise: [{ get: { key: Buffer.from("k0000") } }] };
  console.log("txn", (await ask("Txn", request)).succeeded, (await ask("Txn", request)).results[0].get.value.toString());

  console.log("now kill the server");
  await once(process.stdin, "data");
  for (;;) {
    try {
      console.log("back", (await ask("Get", { key: Buffer.from("k0000") })).value.toString());
      break;
    } catch (error) {
      if (error.code !== grpc.status.UNAVAILABLE) throw error;
    }
  }
  kv.close();
  process.exit(0);
}

main().catch((error) => {
  console.error(error);
  process.exit(1);
});
