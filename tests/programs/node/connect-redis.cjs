// A site with sessions: each visitor has a count of visits. Prints the port that it listens on.
const express = require("express");
const session = require("express-session");
const { RedisStore } = require("connect-redis");
const connections = require("./connections.cjs");

async function main() {
  const client = await connections.nodeRedis();
  const app = express();
  const store = new RedisStore({ client, prefix: "site:", ttl: 1000 });
  app.use(session({ store, secret: "secret", resave: false, saveUninitialized: false }));
  app.get("/visits", (request, response) => {
    request.session.visits = (request.session.visits ?? 0) + 1;
    response.send(String(request.session.visits));
  });
  app.get("/all", async (request, response) => {
    const sessions = await new Promise((done, fail) => store.all((error, all) => (error ? fail(error) : done(all))));
    response.send(sessions.map((one) => one.visits).sort().join(" "));
  });
  app.get("/leave", (request, response) => request.session.destroy(() => response.send("left")));
  const server = app.listen(0, "127.0.0.1", () => console.log(`listening on ${server.address().port}`));
}

main();
