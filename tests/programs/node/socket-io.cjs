// Two socket.io servers that share rooms by messages, with the client named by the first word.
const { createServer } = require("node:http");
const { once } = require("node:events");
const { Server } = require("socket.io");
const { io } = require("socket.io-client");
const { createAdapter, createShardedAdapter } = require("@socket.io/redis-adapter");
const connections = require("./connections.cjs");

async function serve(kind) {
  const connect = kind === "ioredis" ? connections.ioredis : connections.nodeRedis;
  const [pub, sub] = [await connect(), await connect()];
  const http = createServer();
  const adapter = kind === "sharded" ? createShardedAdapter(pub, sub) : createAdapter(pub, sub);
  const server = new Server(http, { adapter });
  server.on("connection", (socket) => {
    socket.on("join", (room, done) => {
      socket.join(room);
      done();
    });
  });
  http.listen(0, "127.0.0.1");
  await once(http, "listening");
  return [server, http.address().port];
}

async function main(kind) {
  const [[one, first], [other, second]] = [await serve(kind), await serve(kind)];
  const [ada, grace] = [first, second].map((port) => io(`http://127.0.0.1:${port}`, { transports: ["websocket"] }));
  await Promise.all([ada, grace].map((socket) => once(socket, "connect").catch(() => {})));
  await Promise.all([ada, grace].map((socket) => socket.emitWithAck("join", "room")));
  const untilBothAreKnown = async () => {
    while ((await one.in("room").fetchSockets().catch(() => [])).length < 2) await new Promise((done) => setTimeout(done, 20));
  };
  const socketsOf = async (server) => {
    for (;;) {
      const found = await server.fetchSockets().catch(() => null); // the other one had no turn for five seconds
      if (found !== null) return found.length;
    }
  };
  const said = async (word) => {
    const heard = Promise.all([ada, grace].map((socket) => new Promise((done) => socket.once("chat", done))));
    one.to("room").emit("chat", word);
    return (await heard).join(" ");
  };
  await untilBothAreKnown();
  console.log(await said("hello"));
  console.log("sockets", await socketsOf(other));
  console.log("now kill the server");
  await once(process.stdin, "data");
  await untilBothAreKnown();
  console.log(await said("again"));
  process.exit(0);
}

main(process.argv[2]);
